#!/usr/bin/env bash
# Proves what README.md promises of the test cluster, on this machine: both sizes, a crash, two clusters at once, and that
# the host is as it was after each. Two minutes once the programs are built. A cluster that is up in this checkout is refused;
# those of other checkouts are left alone.
# usage: check.sh [--quick]
#   --quick  half a minute: both sizes and what runs on them, one crash
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
need_root "$@"
cd "$SOURCES"
source check/host.sh
case "$*" in
    '') quick=false ;;
    --quick) quick=true ;;
    *) die "usage: check.sh [--quick]" ;;
esac
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
# says TEXT COMMAND...: its output has the text; else it is shown
says() {
    local output
    output=$("${@:2}")
    grep -q -- "$1" <<<"$output" && return
    printf 'not in what it says: %s\n%s\n' "$1" "$output"
    return 1
}

host() { host_without_clusters "$STATE" "$work/other/target/cluster"; }
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
    for name in sh httpd wget nslookup timeout; do ln -sf busybox "$root/bin/$name"; done
    ./oci-image.py ocr.test/web:1 "$root" "$work/web.tar" httpd -f -v -p 8080 -h /www
}
kubectl() { "$STATE/bin/kubectl" "$@"; }
in_pod() { kubectl -n check exec deployment/web -- "$@"; }
# kubectl with the rights of a service account, which are none.
as_account() {
    local token server
    token=$(kubectl -n check create token default)
    server=$(kubectl config view -o 'jsonpath={.clusters[0].cluster.server}')
    kubectl --kubeconfig /dev/null --server "$server" --certificate-authority "$STATE/pki/ca.crt" --token "$token" "$@"
}
has_no_nodes() { [ -z "$(kubectl get nodes -o name)" ]; }
# in_audit_log TEXT...: a line has all of these, in this order
in_audit_log() {
    local pattern
    pattern=$(printf '.*%s' "$@")
    grep -q -- "$pattern" "$STATE/audit.log"
}
crash() {
    load_record
    kill -KILL "$INIT"
    sleep 1
}
# timed NAME COMMAND...: sets the variable to the seconds that it takes
timed() {
    local name=$1 started=$SECONDS
    shift
    "$@"
    printf -v "$name" %d $((SECONDS - started))
}
# busybox's wget has a limit of its own, but Debian 12's crashes on it: -T is never used here.
fetches() { says "the page" "${@:2}" wget -qO- "$1"; }

pods_run() {
    local address
    check "an image is built without a registry" make_image
    check "and loaded" ./load-image.sh "$work/web.tar"
    check "kubectl works from the host" kubectl apply -f check/web.yaml
    check "two pods run" kubectl -n check wait --for=condition=Available deployment/web --timeout=60s
    check "a privileged pod is refused" refuses kubectl apply -f check/privileged.yaml
    address=$(kubectl -n check get service web -o 'jsonpath={.spec.clusterIP}')
    check "the Service answers a pod by its address" soon fetches "http://$address/" in_pod timeout 2
    check "and by its name" soon fetches http://web/ in_pod timeout 2
    check "and what enters the namespaces" fetches http://web.check.svc.cluster.local/ ./enter.sh timeout 2 busybox
}

details_of_pods() {
    check "a pod finds the API server by its name" says 10.96.0.1 in_pod nslookup kubernetes.default.svc.cluster.local
    check "the internet is refused at once" says unreachable in_pod sh -c 'timeout 2 wget http://192.0.2.1/ 2>&1'
    check "logs can be read" says response:200 kubectl -n check logs --prefix -l app=web
    check "helm works from the host" says v3.22.0 "$STATE/bin/helm" version
    check "and lists releases" "$STATE/bin/helm" list
}

audit_log_is_of_use() {
    check "the audit log names what was done" \
        in_audit_log '"verb":"create"' '"username":"admin"' '"resource":"deployments"' '"name":"web"' '"code":201'
    check "a service account's request is refused" refuses as_account get configmaps --namespace check
    check "and is in the audit log" in_audit_log '"stage":"ResponseComplete"' '"verb":"list"' \
        '"username":"system:serviceaccount:check:default"' '"userAgent":"kubectl/' '"resource":"configmaps"' '"code":403'
    check "so is a watch" refuses as_account get --raw '/api/v1/namespaces/check/configmaps?watch=1'
    check "which is there from when it begins" in_audit_log '"stage":"ResponseStarted"' '"verb":"watch"' \
        '"username":"system:serviceaccount:check:default"' '"resource":"configmaps"' '"code":403'
    check "heartbeats and events are not" refuses grep -qE '"resource":"(leases|events)"' "$STATE/audit.log"
}

fake_nodes_work() {
    local address
    check "three fake nodes and five pods are made" kubectl apply -f check/fake.yaml
    check "the nodes become ready" kubectl wait --for=condition=Ready node -l type=fake --timeout=30s
    check "the pods become ready" kubectl wait --for=condition=Available deployment/fake --timeout=30s
    mkdir -p "$work/page"
    echo "the page" >"$work/page/index.html"
    check "one process answers for all fake pods" ./enter.sh busybox httpd -p 0.0.0.0:8080 -h "$work/page"
    address=$(kubectl get service fake -o 'jsonpath={.spec.clusterIP}')
    check "through their Service" soon fetches "http://$address/" ./enter.sh timeout 2 busybox
}

crash_leaves_nothing() {
    crash
    check "after a crash status says so" refuses ./status.sh
    check "and down cleans up" ./down.sh
    check "the host is as it was" as_before
}

components_fail() {
    local name names
    check "etcd is killed" ./component.sh kill etcd
    check "status says so" refuses ./status.sh
    check "and started again" ./component.sh start etcd
    check "the API server has its data" soon kubectl -n check get deployment web
    mapfile -t names < <(sed -n 's/^  \([^ ]*\).*/\1/p' "$work/memory")
    for name in "${names[@]}"; do
        check "$name is killed and started again" sh -c "./component.sh kill $name && ./component.sh start $name"
    done
    check "all is well again" soon ./status.sh
}

two_at_once() {
    mkdir -p "$work/other/tests"
    cp -r . "$work/other/tests/cluster"
    cp -r ../../scripts "$work/other/scripts"
    check "a cluster of another checkout comes up beside it" "$work/other/tests/cluster/up.sh"
    check "both are well" sh -c "./status.sh && '$work/other/tests/cluster/status.sh'"
    check "the other one goes" "$work/other/tests/cluster/down.sh"
    rm -rf "$work/other"
    check "and this one is well" ./status.sh
}

# From here on kubectl and helm are what a user of the host would run.
export KUBECONFIG=$STATE/kubeconfig KUBECACHEDIR=$work/kubectl HELM_CACHE_HOME=$work/helm

./lib/packages.sh
./build.sh | tail -n 1
host | sort >"$work/before"
printf 'load of the machine: %s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"

timed up_node check "the size node comes up" ./up.sh
check "status says that all is well" ./status.sh
cp "$work/output" "$work/memory"
pods_run
audit_log_is_of_use
if ! $quick; then
    check "a second up has nothing to do" ./up.sh
    check "another size is refused" refuses ./up.sh --size control-plane
    details_of_pods
    components_fail
fi
crash_leaves_nothing
if ! $quick; then
    check "the cluster comes up again" ./up.sh
    crash
    check "up cleans up after a crash" ./up.sh
    timed down_node check "down takes a running cluster down" ./down.sh
    check "the host is as it was" as_before
fi

timed up_control_plane check "the size control-plane comes up" ./up.sh --size control-plane
check "without nodes" has_no_nodes
fake_nodes_work
if ! $quick; then two_at_once; fi
timed down_control_plane check "down takes it down" ./down.sh
check "the host is as it was" as_before

# shellcheck disable=SC2154 # timed sets them
printf '\nseconds: node up %d%s; control-plane up %d, down %d; the size node:\n' \
    "$up_node" "${down_node:+, down $down_node}" "$up_control_plane" "$down_control_plane"
sed -n '/^  /p' "$work/memory"
