#!/usr/bin/env bash
# Starts what answers for Services, names and fake nodes, and waits until every component of the cluster is well.
# usage: lib/services.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source lib/common.sh
source lib/components.sh
need_cluster

render config/kube-proxy.yaml STATE="$STATE" >"$STATE/etc/kube-proxy.yaml"
render config/Corefile STATE="$STATE" NODE_ADDRESS="$NODE_ADDRESS" >"$STATE/etc/Corefile"
if [ "$SIZE" = control-plane ]; then
    render config/proxy-node.yaml NODE_ADDRESS="$NODE_ADDRESS" | kube create -f - >/dev/null
fi
start_component kube-proxy
start_component kwok
start_component coredns
for component in $(components_of "$SIZE"); do wait_for "$component" 40 "say that it is well" is_healthy "$component"; done
if [ "$SIZE" = control-plane ]; then
    kube delete node node-0 >/dev/null
else
    wait_for kubelet 60 "have its node ready" kube wait --for=condition=Ready node/node-0 --timeout=1s
fi
# Pods need it, and the controller makes it a moment after the namespace.
wait_for kube-controller-manager 20 "make the service account of the namespace default" kube get serviceaccount default
