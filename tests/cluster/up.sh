#!/usr/bin/env bash
# Brings up a Kubernetes cluster on this machine, in namespaces of its own, for tests. Says first what it does and needs;
# installs and builds what is missing. Does nothing if the cluster is up and well.
# usage: up.sh [--size node|control-plane]
#   node           (default) a real node: containerd, kubelet, pods that run; fake nodes beside it
#   control-plane  fake nodes only: for many pods, and for faults of the control plane
# CLUSTER_ETCD_FSYNC=1: etcd waits for the disk, as it would elsewhere.
set -euo pipefail
cd "$(dirname "$0")"
source ../../scripts/steps.sh
source lib/common.sh

size=node
case "${1:-} ${2:-}" in
    ' ') ;;
    '--size node' | '--size control-plane') size=$2 ;;
    *) die "usage: up.sh [--size node|control-plane]" ;;
esac

next() {
    cat <<END

Next:
  export KUBECONFIG=$STATE/kubeconfig PATH=$STATE/bin:\$PATH      then kubectl and helm as usual
  make cluster-status                                             what runs, and how it is
  make cluster-down                                               takes all of it away
END
}

if cluster_runs; then
    if [ "$SIZE" != "$size" ]; then die "a cluster of the size $SIZE is up: 'make cluster-down' first"; fi
    ./status.sh || die "the cluster that is up is not well (see above): 'make cluster-down', then this again"
    echo "nothing to do: it is up"
    next
    exit 0
fi

cat <<END
Brings up a Kubernetes cluster of the size $size.
  does:   programs are built once into $CACHE; everything runs in namespaces of its own
          (network, mounts, processes); state and logs are in $STATE
  needs:  root (asks sudo); Debian packages, installed if missing; Go, brought if missing; 1.5 GB of memory
  takes:  7 to 20 minutes and 6 GB of disk the first time on 2 cores, then half a minute
  on the host: one network link and, in the size node, cgroup folders, until 'make cluster-down'
END

# Made here, so that it belongs to the user.
mkdir -p "$STATE"
plan "install what is missing=60" "programs=600" "cluster=30"
step lib/packages.sh
step ./build.sh
step lib/start.sh "$size"
next
