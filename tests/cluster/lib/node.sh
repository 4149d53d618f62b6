#!/usr/bin/env bash
# Starts the real node: containerd, the bridge of its pods, kubelet. Waits until the node is registered; it becomes ready
# while the rest starts.
# usage: lib/node.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source lib/common.sh
source lib/components.sh
need_cluster

# Debian has them in the first folder, other distributions in the second.
for programs in /usr/lib/cni /opt/cni/bin; do
    if [ -x "$programs/bridge" ]; then break; fi
done
render config/containerd.toml STATE="$STATE" PAUSE_IMAGE="$PAUSE_IMAGE" CNI_PROGRAMS="$programs" >"$STATE/etc/containerd.toml"
render config/bridge.conflist STATE="$STATE" >"$STATE/etc/cni/bridge.conflist"
limit=$(ulimit -Hn)
if [ "$limit" = unlimited ] || ((limit > 1000000)); then limit=1000000; fi
render config/kubelet.yaml STATE="$STATE" CGROUP="$CGROUP" NODE_ADDRESS="$NODE_ADDRESS" MAX_OPEN_FILES="$limit" \
    >"$STATE/etc/kubelet.yaml"

# What holds the namespaces of a pod has only to sleep.
pause=$STATE/lib/pause
mkdir -p "$pause/bin"
cp "$(command -v busybox)" "$pause/bin/sleep"
./oci-image.py "$PAUSE_IMAGE" "$pause" "$STATE/lib/pause.tar" sleep 2147483647

start_component containerd
wait_for containerd 20 "answer" is_healthy containerd
./load-image.sh "$STATE/lib/pause.tar" >/dev/null
start_component kubelet
wait_for kubelet 30 "register its node" kube get node node-0
