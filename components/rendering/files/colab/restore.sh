#!/bin/sh
# Brings the files of the last backup onto disks that are new. Runs before the notebook server, each
# time that a pod begins, and does nothing where a disk has its files.
#
# One that was cut off goes on where it was: restic leaves out files that are there with their size
# and time, which it sets last. Exit status: 0, or 1 where the storage does not answer or what is in
# it is damaged; the kubelet then runs this again.
# shellcheck source=components/rendering/files/colab/common.sh
. "${0%/*}/common.sh"

# How long a try to find the repository may take, and one to restore a disk: 100 GB at 30 MB/s.
FIND_SECONDS=60
RESTORE_SECONDS=3600
NO_REPOSITORY=10

# is_new DISK: whether it has no file yet. One that has, and no mark, was begun without backups.
is_new() {
	for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
		case $entry in
		"$1/lost+found" | "$1/$OWN") ;;
		*) if [ -e "$entry" ] || [ -L "$entry" ]; then return 1; fi ;;
		esac
	done
}

# mark DISK WORD: what became of it, whole or not at all, and not before the files that it speaks of:
# a node that vanishes loses what it has not written yet, for half a minute and more.
mark() {
	mkdir -p "$1/$OWN" &&
		printf '%s\n' "$2" >"$1/$OWN/restore.new" &&
		sync &&
		mv "$1/$OWN/restore.new" "$1/$OWN/restore"
}

marked() {
	if [ -f "$1/$OWN/restore" ]; then cat "$1/$OWN/restore"; fi
}

# has_backup: prints `yes` where there is one; fails where nobody tells.
# Without locks, here and below: nothing is written before this has ended, and a lock that a killed
# pod left must not keep the next one from its files.
has_backup() {
	found=$(bounded "$FIND_SECONDS" --no-lock --quiet snapshots --json --host "$RESTIC_HOST" 2>&1)
	status=$?
	case $status in
	0) case $found in *'"id":'*) echo yes ;; esac ;;
	"$NO_REPOSITORY") ;;
	*)
		printf '%s\n' "$found" >&2
		return 1
		;;
	esac
}

# restore DISK: but for the powers that a file would give to whoever runs it, which this container
# may not set: a restore would fail on one for good.
restore() {
	tell restore running "restores $1 from the last backup"
	if ! bounded "$RESTORE_SECONDS" --no-lock restore "latest:$1" --host "$RESTIC_HOST" \
		--target "$1" --overwrite if-changed --verify --exclude-xattr "security.*"; then
		tell restore failed "$1 could not be restored, for the reason above; tried again, it goes on with what is missing. Where the backup is damaged: repair index, then repair snapshots --forget (each restic --insecure-no-password -r $RESTIC_REPOSITORY …, from your machine) leave out what is lost. Leave runtime_backup as it is: a bucket that was made for it goes with another value, and all backups with it"
		return 1
	fi
	mark "$1" restored && tell restore "done" "$1 has the files of the last backup, each one checked"
}

wanted=
for disk in "$LLM_ENDPOINT_DATA" "$LLM_ENDPOINT_LIBRARIES"; do
	case $(marked "$disk") in
	begun) wanted="$wanted $disk" ;;
	'')
		if is_new "$disk"; then
			wanted="$wanted $disk"
		else
			mark "$disk" kept || exit 1
			tell restore "done" "$disk has files, which stay as they are"
		fi
		;;
	*) tell restore "done" "$disk has its files" ;;
	esac
done
if [ -z "$wanted" ]; then exit 0; fi

tell restore running "looks for a backup"
if ! there_is_one=$(has_backup); then
	tell restore failed "the storage of backups does not answer, for the reason above"
	exit 1
fi
for disk in $wanted; do
	if [ -z "$there_is_one" ]; then
		mark "$disk" empty || exit 1
		tell restore "done" "$disk is new, and there is no backup yet"
	else
		mark "$disk" begun && restore "$disk" || exit 1
	fi
done
