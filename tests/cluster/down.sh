#!/usr/bin/env bash
# Takes the cluster of this checkout down, also one that crashed, and fails if anything of it is left on the machine. Logs
# and the audit log stay until the next cluster-up.
# usage: down.sh
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
need_root "$@"
cd "$SOURCES"
source lib/remains.sh
lock_state

if ! load_record; then
    echo "no cluster is up in this checkout"
    exit 0
fi
started=$SECONDS
if ! cluster_runs; then echo "the cluster has ended by itself: cleaning up after it"; fi
remove_cluster
hand_over
echo "down in $((SECONDS - started)) s; nothing is left but the logs: $STATE/log and $STATE/audit.log"
