#!/bin/sh
# Backs up beside the notebook server, periodically and once more when the pod ends (see last.sh).
# A backup that fails is told, and never ends the loop.
# shellcheck source=components/rendering/files/colab/common.sh
. "${0%/*}/common.sh"

HERE=${0%/*}
ending=
trap 'ending=yes' TERM INT

# pause: a second, or until the signal.
pause() {
	sleep 1 &
	wait "$!"
}

rm -f "$RUN/ending" "$RUN/check.pid"
printf '%s\n' "$$" >"$RUN/keep.pid"
while [ -z "$ending" ]; do
	sh "$HERE/backup.sh" periodic &
	until_done "$!"

	if [ -n "$ending" ]; then break; fi
	sh "$HERE/check.sh" &
	checking=$!
	while [ -z "$ending" ] && kill -0 "$checking" 2>/dev/null; do pause; done

	left=$LLM_ENDPOINT_BACKUP_SECONDS
	while [ -z "$ending" ] && [ "$left" -gt 0 ]; do
		pause
		left=$((left - 1))
	done
done
sh "$HERE/last.sh" "the last one, since the notebook server has ended"
exit 0
