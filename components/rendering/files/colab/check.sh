#!/bin/sh
# Once a day: drops backups that are old, and reads a part of the others back. Told to end, it has
# restic end, and gives way. Status 0 if it was not due, or all was sound.
# shellcheck source=components/rendering/files/colab/common.sh
. "${0%/*}/common.sh"

CHECK_SECONDS=3600
DAY_SECONDS=86400
# All is read back in so many days, a part on each.
READ_DAYS=14
CHECKED=$STATE/checked

child=
ending=

# shellcheck disable=SC2329
on_term() {
	ending=yes
	if [ -n "$child" ]; then kill "$child" 2>/dev/null; fi
}

# step ARGUMENTS…: restic, which ends when this is told to.
step() {
	timeout -k 10 "$CHECK_SECONDS" restic --insecure-no-password --quiet "$@" &
	child=$!
	# It may have been told before it was known whom to pass it on to.
	if [ -n "$ending" ]; then on_term; fi
	wait "$child"
	step_status=$?
	until_done "$child"
	child=
	return "$step_status"
}

now=$(date +%s)
before=0
if [ -f "$CHECKED" ]; then before=$(cat "$CHECKED"); fi
if [ "$((now - before))" -lt "$DAY_SECONDS" ]; then exit 0; fi

trap on_term TERM
printf '%s\n' "$$" >"$RUN/check.pid"
trap 'rm -f "$RUN/check.pid"' EXIT
alone || exit 1
if [ -e "$RUN/ending" ]; then exit 0; fi
mend
: >"$UNFINISHED"
tell check running "drops backups that are old, and reads a part of the others"
step forget --group-by host --keep-last 12 --keep-daily 14 --prune &&
	step check --with-cache --read-data-subset "$((now / DAY_SECONDS % READ_DAYS + 1))/$READ_DAYS"
status=$?
if [ -n "$ending" ]; then
	tell check retrying "it gave way to the last backup"
elif [ "$status" = 0 ]; then
	rm -f "$UNFINISHED"
	printf '%s\n' "$now" >"$CHECKED"
	tell check "done" "the backup is sound, as far as it was read today"
else
	tell check retrying "the backup was not found sound (status $status), for the reason above; it is looked at again after the next one, which stores what is lost again as far as the disks have it"
fi
exit "$status"
