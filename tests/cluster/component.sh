#!/usr/bin/env bash
# Stops, kills or starts one component of the cluster, for tests of what happens then. `stop` asks it to end and waits for 30 s,
# which the API server needs; `kill` does not ask; `start` returns when it says that it is well.
# usage: component.sh stop|kill|start NAME      status.sh lists the names
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
need_root "$@"
cd "$SOURCES"
source lib/components.sh
need_cluster
if (($# != 2)); then die "usage: component.sh stop|kill|start NAME"; fi
if [[ " $(components_of "$SIZE" | tr '\n' ' ') " != *" $2 "* ]]; then die "the size $SIZE has no component $2"; fi

case $1 in
    stop) stop_components 30 "$2" ;;
    kill)
        pid_of "$2" >/dev/null || die "$2 does not run"
        stop_components 0 "$2"
        ;;
    start)
        if pid_of "$2" >/dev/null; then die "$2 runs already"; fi
        start_component "$2"
        wait_for "$2" 60 "say that it is well" is_healthy "$2"
        ;;
    *) die "usage: component.sh stop|kill|start NAME" ;;
esac
