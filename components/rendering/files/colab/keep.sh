#!/bin/sh
# Backs up beside the notebook server, periodically and once more when the pod ends (see last.sh).
# A backup that fails is told, and never ends the loop.
# shellcheck source=components/rendering/files/colab/common.sh
. "${0%/*}/common.sh"

HERE=${0%/*}
ending=
# What need not come to its end: a check, or the pause.
idle=

# shellcheck disable=SC2329
on_term() {
	ending=yes
	if [ -n "$idle" ]; then kill "$idle" 2>/dev/null; fi
}
trap on_term TERM INT

# idly COMMAND…: waits for it, or for the signal, which ends it.
idly() {
	"$@" &
	idle=$!
	# The signal may have come before it was known what to end.
	if [ -n "$ending" ]; then on_term; fi
	until_done "$idle"
	idle=
}

printf '%s\n' "$$" >"$RUN/keep.pid"
while [ -z "$ending" ]; do
	sh "$HERE/backup.sh" periodic &
	until_done "$!"
	if [ -n "$ending" ]; then break; fi

	idly sh "$HERE/check.sh"
	if [ -n "$ending" ]; then break; fi
	idly sleep "$LLM_ENDPOINT_BACKUP_SECONDS"
done
sh "$HERE/last.sh" "the last one, since the notebook server has ended"
exit 0
