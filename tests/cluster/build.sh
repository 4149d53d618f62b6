#!/usr/bin/env bash
# Builds the programs of the test cluster from pinned Go modules, once, into a folder of the user's cache that is named
# for their sources; does nothing where that folder exists. Prints the folder last. Cold: 7 minutes on 2 free cores.
# An interrupted build leaves no half set: what is built appears under its name when all of it is there, and Go's own
# cache makes the next try go on where this one stopped.
# usage: build.sh
set -euo pipefail
cd "$(dirname "$0")"
source ../../scripts/steps.sh
source lib/common.sh
source lib/go.sh

programs=$(programs_folder)
if [ -d "$programs" ]; then
    echo "$programs"
    exit 0
fi
mkdir -p "$CACHE"
exec 9>"$CACHE/build.lock"
flock -n 9 || die "another build is at work in $CACHE; wait for it, then run this again"
unfinished=$CACHE/unfinished
rm -rf "$unfinished"
mkdir "$unfinished"

find_go
version() { (cd components && "$GO" list -m -f '{{.Version}}' "$1"); }

# compile NAME PACKAGE [FOLDER OF GO.MOD]
compile() { (cd "${3:-components}" && "$GO" build -ldflags "$flags" -o "$unfinished/$1" "$2"); }

# The stages that make KWOK's nodes and pods ready at once come with its module.
stages() {
    local folder name
    folder=$(cd components && "$GO" list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage || return
    for name in node/fast/node-initialize node/heartbeat/node-heartbeat pod/fast/pod-{ready,complete,delete}; do
        { cat "$folder/$name.yaml" && echo ---; } >>"$unfinished/stages.yaml" || return
    done
}

modules() { (cd components && "$GO" mod download) && (cd components/coredns && "$GO" mod download); }

kubernetes=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
plan "download modules=120" etcd=80 kube-apiserver=420 kube-controller-manager=155 kube-scheduler=10 kubelet=45 \
    kube-proxy=20 kubectl=55 kwok=30 helm=40 coredns=60 "stages of KWOK=1"
step modules
# A program of Kubernetes knows its version from the linker alone, and the API server refuses what it cannot parse.
kubernetes_version=$(version k8s.io/kubernetes)
flags="-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes_version"
flags+=" -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes_version"
flags+=" -X helm.sh/helm/v3/internal/version.version=$(version helm.sh/helm/v3)"
# What helm takes for the cluster's version where it does not ask one.
IFS=. read -r major minor _ <<<"${kubernetes_version#v}"
flags+=" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=$major"
flags+=" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$minor"
flags+=" -X sigs.k8s.io/kwok/pkg/consts.Version=$(version sigs.k8s.io/kwok)"
step compile etcd go.etcd.io/etcd/server/v3
for name in "${kubernetes[@]}"; do step compile "$name" "k8s.io/kubernetes/cmd/$name"; done
step compile kwok sigs.k8s.io/kwok/cmd/kwok
step compile helm helm.sh/helm/v3/cmd/helm
step compile coredns . components/coredns
step stages
mv "$unfinished" "$programs"
echo "$programs"
