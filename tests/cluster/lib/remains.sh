# shellcheck shell=bash
# Sourced after common.sh: takes down the recorded cluster, whether it runs or crashed, and proves that nothing is left.

source lib/components.sh
source lib/host.sh

# Ends what runs. Everything that talks to the API server goes before it, or it would wait for them; it goes before etcd,
# because without etcd it hangs in its shutdown.
end_components() {
    stop_components 3 kubelet kube-proxy kwok coredns kube-scheduler kube-controller-manager
    # Every pod, at once and by force: nothing of them is wanted any more.
    if [ "$SIZE" = node ] && pid_of containerd >/dev/null; then
        inside timeout 5 bash -c 'ctr -n k8s.io tasks ls -q | xargs -r -n 1 timeout 2 ctr -n k8s.io tasks kill -s KILL' || true
        stop_components 3 containerd
    fi
    stop_components 5 kube-apiserver
    stop_components 3 etcd
}

# Lists those of the processes $1 ("ID STARTTIME" lines) that still run.
still_running() {
    local pid started
    while read -r pid started; do
        if [ -n "$pid" ] && [ "$(start_time "$pid")" = "$started" ]; then echo "$pid"; fi
    done <<<"$1"
}

# Says what is left of the cluster on the host, a line each.
leftovers() {
    local line
    for line in $(still_running "$1"); do echo "process $line: $(tr '\0' ' ' <"/proc/$line/cmdline")"; done
    if [ -e "/sys/class/net/$LINK" ]; then echo "link $LINK"; fi
    awk -v state="$STATE/" 'index($5 "/", state) == 1 {print "mount " $5}' /proc/self/mountinfo
    cgroup_folders | sed 's/^/cgroup /'
    if [ -f "$STATE/run/nft-tables" ]; then
        # Other programs of the host come and go too, but these names would be ours.
        nft list tables | grep -vxFf "$STATE/run/nft-tables" | grep -E 'kube|cni' | sed 's/^/nft /'
    fi
    if [ -e "$COPY" ]; then echo "note $COPY"; fi
    return 0
}

remove_cluster() {
    local processes deadline left
    processes=$(members)
    if cluster_runs; then
        end_components
        # The same processes, and what entered meanwhile.
        processes+=$'\n'$(members)
        kill -KILL "$INIT"
    fi
    # What only shares the network or the mounts, an open shell say, is not ended by the end of PID 1.
    deadline=$((SECONDS + 10))
    while left=$(still_running "$processes") && [ -n "$left" ] && ((SECONDS < deadline)); do
        xargs kill -KILL <<<"$left" 2>/dev/null || true
        sleep 0.1
    done
    # The kernel removes the link with the network namespace, a moment after its last process.
    while [ -e "/sys/class/net/$LINK" ] && ((SECONDS < deadline)); do
        if ((SECONDS > deadline - 5)); then ip link del "$LINK" 2>/dev/null || true; fi
        sleep 0.1
    done
    remove_cgroups
    with_shared restore_inotify

    left=$(leftovers "$processes")
    if [ -n "$left" ]; then
        printf 'error: this is left of the cluster:\n%s\n' "$left" >&2
        echo "its record is kept: end or remove what is named, then run this again" >&2
        return 1
    fi
    rm -rf --one-file-system "${STATE:?}"/{bin,etc,lib,pki,run,kubeconfig} "$RECORD"
}

# Gives what stays to the user whose checkout it is: `cargo clean` and a test that reads the audit log run without root.
hand_over() {
    local path
    chown --reference="$CHECKOUT" "$STATE"
    for path in "$STATE"/{bin,log,audit.log,kubeconfig}; do
        if [ -e "$path" ]; then chown -hR --reference="$CHECKOUT" "$path"; fi
    done
}
