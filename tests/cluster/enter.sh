#!/usr/bin/env bash
# Runs a command (a shell if none is given) inside the cluster's namespaces: its Services, pods and names can be reached
# there, and ctr, nft and ip show what is the cluster's.
# usage: enter.sh [COMMAND...]      for example: enter.sh nft list ruleset
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
need_root "$@"
need_cluster
if (($# == 0)); then set -- bash; fi
export KUBECONFIG=$STATE/kubeconfig PATH=$STATE/bin:$PATH:/usr/sbin:/sbin
# Entering a mount namespace ends in its root folder.
# shellcheck disable=SC2016 # the inner shell expands them
exec nsenter -t "$INIT" -m -n -p -- bash -c 'cd "$1" 2>/dev/null; shift; exec "$@"' - "$PWD" "$@"
