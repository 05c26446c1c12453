# shellcheck shell=sh disable=SC2034
# What the other scripts here have in common; they source it. All are for busybox's shell, in
# restic's own image, and have their settings from variables:
#
# LLM_ENDPOINT_DATA, LLM_ENDPOINT_LIBRARIES   where the two disks are mounted
# LLM_ENDPOINT_BACKUP_SECONDS                 how often they are backed up
# RESTIC_REPOSITORY, RESTIC_HOST, …           what restic reads itself

set -u

# restic asks by SIGHUP whether the process that left a lock still lives, by its number alone
# (restic 0.18.1, internal/restic/lock_unix.go): it may be one of ours.
trap '' HUP

# Of each disk, and in no backup.
OWN=.llm-endpoint
# What outlives the pod: marks, and restic's cache.
STATE=$LLM_ENDPOINT_DATA/$OWN
# Set while the repository is written to: whoever finds it comes after one that was cut off.
UNFINISHED=$STATE/unfinished
# What does not outlive it: which processes of ours there are.
RUN=${TMPDIR:-/tmp}

# tell STAGE STATE MESSAGE: one record as machines and other pods tell theirs (machine/status.py).
tell() {
	printf 'llm-endpoint: {"stage": "%s", "state": "%s", "message": "%s", "time": "%s", "boot": ""}\n' \
		"$1" "$2" "$3" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}

# bounded SECONDS ARGUMENTS…: restic, for so long; then it is told to end, which takes moments.
# There is no password: nobody else can read the storage, and a password that is lost loses all.
bounded() {
	bounded_seconds=$1
	shift
	timeout -k 10 "$bounded_seconds" restic --insecure-no-password "$@"
}

# until_done NUMBER: waits for a process. A signal ends the shell's wait, and not what is waited for.
until_done() {
	while kill -0 "$1" 2>/dev/null; do wait "$1"; done
}

# alone: waits until no other script of ours works on the repository, and keeps others waiting. It is
# the kernel's lock, which goes with its holders.
alone() {
	mkdir -p "$STATE" && exec 9>"$STATE/lock" && flock 9
}

# mend: takes up what was cut off. Its locks may go: one pod at a time has the disks, and one script
# at a time gets here. What it has sent is in no index, and would be sent again.
mend() {
	if [ ! -e "$UNFINISHED" ]; then return 0; fi
	tell backup running "an earlier one was cut off: what it has sent is kept"
	if bounded 600 --quiet unlock --remove-all && bounded 600 --quiet repair index; then
		rm -f "$UNFINISHED"
	else
		tell backup retrying "what was cut off could not be mended, for the reason above"
	fi
}
