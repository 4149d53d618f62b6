#!/usr/bin/env bash
# Says whether the cluster is up, how each component is, and its nodes. Exit code 0 only if all is well.
# usage: status.sh
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
need_root "$@"
cd "$SOURCES"
source lib/components.sh

if ! load_record; then
    echo "no cluster is up in this checkout"
    exit 1
fi
if ! cluster_runs; then
    echo "the cluster has ended without cluster-down: 'make cluster-down' cleans up after it; logs: $STATE/log"
    exit 1
fi

status=0
echo "size $SIZE, API server at https://$ADDRESS:6443, programs in $PROGRAMS"
for component in $(components_of "$SIZE"); do
    memory=
    if ! pid=$(pid_of "$component"); then
        state="does not run: $(log_of "$component")"
        status=1
    else
        memory=$(memory_of "$pid")
        state=well
        if ! is_healthy "$component"; then
            state="runs and is not well: $(log_of "$component")"
            status=1
        fi
    fi
    printf '  %-24s %8s  %s\n' "$component" "$memory" "$state"
done
if kube get --raw=/readyz --request-timeout=5s >/dev/null 2>&1; then
    nodes=$(kube get nodes -o wide --request-timeout=5s | cut -c 1-150) || status=1
    # There may be hundreds of fake ones.
    sed -n 1,10p <<<"$nodes"
    count=$(wc -l <<<"$nodes")
    if ((count > 10)); then echo "and $((count - 10)) more"; fi
    if [ "$SIZE" = node ] && ! kube wait --for=condition=Ready node/node-0 --timeout=1s >/dev/null 2>&1; then
        echo "node-0 is not ready"
        status=1
    fi
else
    echo "the API server does not answer the host"
    status=1
fi
exit "$status"
