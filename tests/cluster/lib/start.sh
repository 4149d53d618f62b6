#!/usr/bin/env bash
# Starts the cluster; the programs are there. What fails, or is interrupted, is taken down again and leaves its logs.
# usage: lib/start.sh SIZE
set -euo pipefail
source "$(dirname "$0")/common.sh"
need_root "$@"
cd "$SOURCES"
source ../../scripts/steps.sh
source lib/remains.sh
lock_state

if cluster_runs; then die "another cluster-up has just brought the cluster up: make cluster-status"; fi
if load_record; then
    echo "the last cluster ended without cluster-down: cleaning up after it"
    remove_cluster
fi
rm -rf "$STATE/log" "$STATE/audit.log"

started=$SECONDS
ended() {
    local status=$?
    trap - EXIT INT TERM
    if ((status)); then
        echo "taking down what was started; logs stay in $STATE/log" >&2
        if load_record; then remove_cluster; fi
    fi
    hand_over
    exit "$status"
}
trap ended EXIT
trap 'exit 130' INT TERM

plan "namespaces and the link to the host=3" "certificates=2" "control plane=15"
if [ "$1" = node ]; then plan "node=10"; fi
plan "Services, names, fake nodes; all of it well=15"
step lib/sandbox.sh "$1"
load_record
ln -sfn "$PROGRAMS/kubectl" "$PROGRAMS/helm" "$STATE/bin/"
step lib/certificates.sh
step lib/control-plane.sh
if [ "$1" = node ]; then step lib/node.sh; fi
step lib/services.sh
echo
echo "up in $((SECONDS - started)) s: size $SIZE, API server at https://$ADDRESS:6443"
