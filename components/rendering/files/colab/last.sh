#!/bin/sh
# last.sh WHY: the backup that a pod makes because it is to end. A check that is at it ends at once:
# it can be made later.
#
# By the kubelet (v1.34, pkg/kubelet/kuberuntime/kuberuntime_container.go, killContainer) the
# preStop hooks of all containers begin at once, this one among them, whatever the others do with
# their signal. This container gets its own only after they have ended (kuberuntime_termination_order
# .go), in what is left of the grace period; keep.sh then runs this once more, and no file changes.
# shellcheck source=components/rendering/files/colab/common.sh
. "${0%/*}/common.sh"

# What a hook prints is in no log. Tried first: a shell ends whose output can't be opened.
log=/proc/$(cat "$RUN/keep.pid" 2>/dev/null)/fd/1
if (: >>"$log") 2>/dev/null; then exec >>"$log" 2>&1; fi
# One that is just beginning sees this; one that has begun is told.
: >"$RUN/ending"
if [ -f "$RUN/check.pid" ]; then
	kill "$(cat "$RUN/check.pid")" 2>/dev/null
fi
exec sh "${0%/*}/backup.sh" "$1"
