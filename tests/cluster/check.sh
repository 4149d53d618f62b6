#!/usr/bin/env bash
# Proves what README.md promises of the test cluster, on this machine: both sizes, a crash, two clusters at once, and that
# the host is as it was after each. Two minutes once the programs are built. A cluster that is up in this checkout is refused.
# usage: check.sh
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
need_root "$@"
cd "$SOURCES"
if load_record; then die "a cluster is up, or has crashed, in this checkout: 'make cluster-down' first"; fi

work=$(mktemp -d)
passed=0
finish() {
    local status=$?
    trap - EXIT
    ./down.sh >/dev/null || status=1
    if [ -d "$work/other" ]; then "$work/other/tests/cluster/down.sh" >/dev/null || status=1; fi
    rm -rf "$work"
    echo "$passed passed, $((status != 0)) failed"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# check WHAT COMMAND...: the command succeeds
check() {
    local what=$1
    shift
    if ! "$@" >"$work/output" 2>&1; then
        printf 'FAILED  %s\n' "$what" >&2
        tail -n 30 "$work/output" | sed 's/^/    /' >&2
        exit 1
    fi
    passed=$((passed + 1))
    printf 'ok  %4d s  %s\n' "$SECONDS" "$what"
}
refuses() { ! "$@"; }
# soon COMMAND...: the command succeeds within 20 s
soon() {
    local deadline=$((SECONDS + 20))
    until "$@"; do
        if ((SECONDS >= deadline)); then return 1; fi
        sleep 0.2
    done
}
says() { grep -q -- "$1" <<<"$("${@:2}")"; }

# All of the host that a cluster could have changed, as text.
host() {
    local pid command
    echo "== processes"
    for pid in /proc/[0-9]*; do
        command=$(tr '\0' ' ' 2>/dev/null <"$pid/cmdline") || continue
        if [[ $(readlink "$pid/exe") == "$CACHE"/* || $command == *"/target/cluster"* || $command == *"-namespace k8s.io "* ]] ||
            grep -q ocr-cluster "$pid/cgroup" 2>/dev/null; then
            echo "$command"
        fi
    done
    echo "== links, addresses, routes, rules"
    ip -o link | cut -d ' ' -f 2
    ip -o addr | awk '{print $2, $4}'
    ip route show table all
    nft list ruleset
    echo "== mounts"
    cut -d ' ' -f 4- /proc/self/mountinfo | grep -E 'cluster|kubelet|containerd|netns' || true
    echo "== settings"
    grep -r . /proc/sys/vm/{overcommit_memory,panic_on_oom} /proc/sys/kernel/{panic,panic_on_oops,keys} \
        /proc/sys/fs/inotify /proc/sys/net/ipv4/{ip_forward,conf/all}
    echo "== cgroups"
    find /sys/fs/cgroup \( -name '*kubepods*' -o -name 'ocr-cluster*' \)
    cat /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    echo "== files"
    find /run /var/lib /var/log /opt /etc /usr/libexec -mindepth 1 -maxdepth 1
    find /var/lib/{kubelet,cni,containerd} /run/{containerd,netns} /var/log/{pods,containers} 2>/dev/null || true
}
as_before() {
    host | sort >"$work/after"
    diff "$work/before" "$work/after"
}

# A page, a server for it and what a shell wants.
make_image() {
    local root=$work/root name
    mkdir -p "$root/bin" "$root/www"
    echo "the page" >"$root/www/index.html"
    cp "$(command -v busybox)" "$root/bin/busybox"
    for name in sh httpd wget nslookup; do ln -sf busybox "$root/bin/$name"; done
    ./oci-image.py ocr.test/web:1 "$root" "$work/web.tar" httpd -f -v -p 8080 -h /www
}
in_pod() { "$STATE/bin/kubectl" -n check exec deployment/web -- "$@"; }
kubectl() { "$STATE/bin/kubectl" "$@"; }
has_no_nodes() { [ -z "$(kubectl get nodes -o name)" ]; }
crash() {
    load_record
    kill -KILL "$INIT"
    sleep 1
}
# From here on kubectl and helm are what a user of the host would run.
export KUBECONFIG=$STATE/kubeconfig KUBECACHEDIR=$work/kubectl HELM_CACHE_HOME=$work/helm

./lib/packages.sh
./build.sh | tail -n 1
host | sort >"$work/before"
printf 'load of the machine: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"

started=$SECONDS
check "the size node comes up" ./up.sh
up_node=$((SECONDS - started))
check "status says that all is well" ./status.sh
cp "$work/output" "$work/memory"
check "a second up has nothing to do" ./up.sh
check "another size is refused" refuses ./up.sh --size control-plane
check "an image is built without a registry" make_image
check "and loaded" ./load-image.sh "$work/web.tar"
check "kubectl works from the host" kubectl apply -f check/web.yaml
check "two pods run" kubectl -n check wait --for=condition=Available deployment/web --timeout=60s
check "a privileged pod is refused" refuses kubectl apply -f check/privileged.yaml
address=$(kubectl -n check get service web -o 'jsonpath={.spec.clusterIP}')
check "the Service answers a pod by its address" soon says "the page" in_pod wget -qO- -T 2 "http://$address/"
check "and by its name" soon says "the page" in_pod wget -qO- -T 2 http://web/
check "and what enters the namespaces" says "the page" ./enter.sh busybox wget -qO- -T 2 http://web.check.svc.cluster.local/
check "a pod finds the API server by its name" says 10.96.0.1 in_pod nslookup kubernetes.default.svc.cluster.local
check "the internet is refused at once" refuses in_pod wget -T 2 http://192.0.2.1/
check "logs can be read" says "url:/" kubectl -n check logs --prefix -l app=web
check "helm works from the host" says v3.22.0 "$STATE/bin/helm" version
check "and lists releases" "$STATE/bin/helm" list
check "the audit log names what was done" grep -q '"verb":"create","user":{"username":"admin".*"resource":"deployments".*"name":"web"' "$STATE/audit.log"
check "a component is killed" ./component.sh kill etcd
check "status says so" refuses ./status.sh
check "and started again" ./component.sh start etcd
check "the API server has its data" soon kubectl -n check get deployment web

crash
check "after a crash status says so" refuses ./status.sh
check "and down cleans up" ./down.sh
check "the host is as it was" as_before
check "the cluster comes up again" ./up.sh
crash
check "up cleans up after a crash" ./up.sh
started=$SECONDS
check "down takes a running cluster down" ./down.sh
down_node=$((SECONDS - started))
check "the host is as it was" as_before

started=$SECONDS
check "the size control-plane comes up" ./up.sh --size control-plane
up_control_plane=$((SECONDS - started))
check "without nodes" has_no_nodes
check "three fake nodes and five pods are made" kubectl apply -f check/fake.yaml
check "the nodes become ready" kubectl wait --for=condition=Ready node -l type=fake --timeout=30s
check "the pods become ready" kubectl wait --for=condition=Available deployment/fake --timeout=30s
mkdir -p "$work/page" && echo "the page" >"$work/page/index.html"
check "one process answers for all fake pods" ./enter.sh busybox httpd -p 0.0.0.0:8080 -h "$work/page"
address=$(kubectl get service fake -o 'jsonpath={.spec.clusterIP}')
check "through their Service" soon says "the page" ./enter.sh busybox wget -qO- -T 2 "http://$address/"

mkdir -p "$work/other/tests"
cp -r . "$work/other/tests/cluster"
cp -r ../../scripts "$work/other/scripts"
check "a cluster of another checkout comes up beside it" "$work/other/tests/cluster/up.sh"
check "both are well" sh -c "./status.sh && '$work/other/tests/cluster/status.sh'"
check "the other one goes" "$work/other/tests/cluster/down.sh"
check "and this one is well" ./status.sh
check "down takes it down" ./down.sh
check "the host is as it was" as_before
rm -rf "$work/other"

printf '\nseconds: up node %d, up control-plane %d, down node %d; the size node:\n' "$up_node" "$up_control_plane" "$down_node"
sed -n '/^  /p' "$work/memory"
