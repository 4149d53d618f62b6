#!/usr/bin/env bash
# Starts etcd, the API server, the controllers and the scheduler, and waits until the API server answers the host.
# usage: lib/control-plane.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source lib/common.sh
source lib/components.sh
need_cluster

cp config/audit.yaml "$STATE/etc/audit.yaml"
render config/kube-scheduler.yaml STATE="$STATE" >"$STATE/etc/kube-scheduler.yaml"

start_component etcd
start_component kube-apiserver
wait_for kube-apiserver 60 "be ready, asked from the host at $ADDRESS" kube get --raw=/readyz
start_component kube-controller-manager
start_component kube-scheduler
