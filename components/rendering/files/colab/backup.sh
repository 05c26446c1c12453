#!/bin/sh
# backup.sh WHY: backs up both disks once, incrementally, and takes up an earlier one that was cut
# off. Exit status: restic's, 0 if all is there.
# shellcheck source=components/rendering/files/colab/common.sh
. "${0%/*}/common.sh"

BACKUP_SECONDS=3600
NO_REPOSITORY=10
LOCKED=11
UNREADABLE=3

save() {
	bounded "$BACKUP_SECONDS" backup --no-scan --skip-if-unchanged \
		--exclude "$LLM_ENDPOINT_DATA/$OWN" --exclude "$LLM_ENDPOINT_LIBRARIES/$OWN" \
		--exclude "$LLM_ENDPOINT_DATA/lost+found" --exclude "$LLM_ENDPOINT_LIBRARIES/lost+found" \
		--exclude .cache \
		"$LLM_ENDPOINT_DATA" "$LLM_ENDPOINT_LIBRARIES"
}

alone || exit 1
mend
: >"$UNFINISHED"
tell backup running "$1"
save
status=$?
if [ "$status" = "$NO_REPOSITORY" ]; then
	tell backup running "$1: makes the repository"
	bounded 600 --quiet init && save
	status=$?
fi
case $status in
0)
	rm -f "$UNFINISHED"
	tell backup "done" "$1: all files are in the backup"
	;;
"$UNREADABLE")
	rm -f "$UNFINISHED"
	tell backup "done" "$1: all files are in the backup but those named above, which could not be read"
	;;
"$LOCKED")
	# Nothing was written, and the lock is somebody else's.
	rm -f "$UNFINISHED"
	tell backup retrying "$1: another program holds the repository; restic unlock drops a lock that was left over"
	;;
*)
	tell backup retrying "$1: not finished (status $status), for the reason above; the next one goes on"
	;;
esac
exit "$status"
