# shellcheck shell=bash
# Sourced by every script of the test cluster: where things are, what is known of the cluster of this checkout, and how to
# reach into it. Changes nothing on the machine.

SOURCES=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CHECKOUT=$(cd "$SOURCES/../.." && pwd -P)
STATE=$CHECKOUT/target/cluster
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/ocr-test-cluster
# What is known of the cluster that is up, or was when it crashed (lib/sandbox.sh writes it), and a copy that outlives
# `cargo clean`, beside those of the other checkouts.
RECORD=$STATE/cluster.env
ID=$(sha256sum <<<"$STATE" | cut -c 1-8)
SHARED=/run/ocr-test-cluster
COPY=$SHARED/clusters/$ID

NODE_ADDRESS=10.244.0.1
PAUSE_IMAGE=ocr.test/pause:1

die() {
    echo "error: $*" >&2
    exit 1
}

# Goes on as root, with what decides where things are. Call it before the folder is changed: need_root "$@"
need_root() {
    if [ "$(id -u)" = 0 ]; then return; fi
    sudo -n true 2>/dev/null || die "needs root: run 'sudo -v', then this again"
    exec sudo -nE env PATH="$PATH" HOME="$HOME" XDG_CACHE_HOME="${XDG_CACHE_HOME:-}" "$0" "$@"
}

# One up or down at a time. The folder itself is the lock, so that there is no other file to leave behind.
lock_state() {
    mkdir -p "$STATE"
    exec 9<"$STATE"
    flock -n 9 || die "another cluster-up or cluster-down is at work in this checkout; wait for it, then run this again"
}

# The folder of the programs, named for everything that decides what they are.
programs_folder() {
    local sources
    sources=$(cd "$SOURCES" && sha256sum build.sh lib/go.sh components/go.* components/coredns/*)
    echo "$CACHE/$(sha256sum <<<"$sources" | cut -c 1-16)"
}

# When process $1 started, in clock ticks since the machine did: with it a process is told from a later one of the same id.
start_time() {
    local fields
    { read -r fields <"/proc/$1/stat"; } 2>/dev/null || return
    # The name of the program, in brackets, may hold anything.
    read -ra fields <<<"${fields##*) }"
    echo "${fields[19]}"
}

# Sets what lib/sandbox.sh recorded: SIZE INIT INIT_START BOOT PID_NAMESPACE NET_NAMESPACE MOUNT_NAMESPACE LINK LINK_INDEX
# HOST_ADDRESS ADDRESS CGROUP ETCD_FSYNC PROGRAMS. False if there is no record.
load_record() {
    local record=$RECORD
    if [ ! -f "$record" ]; then record=$COPY; fi
    [ -f "$record" ] || return
    # shellcheck source=/dev/null
    source "$record"
}

# True if the recorded cluster runs. A record of another boot, or one whose process id went to another, is of a dead one.
cluster_runs() {
    load_record && [ "$BOOT" = "$(cat /proc/sys/kernel/random/boot_id)" ] && [ "$(start_time "$INIT")" = "$INIT_START" ]
}

need_cluster() { cluster_runs || die "no cluster is up in this checkout: make cluster-up"; }

# Runs a command in the namespaces of the cluster, with nothing of the caller's environment: a proxy set there would
# come between the components.
inside() { nsenter -t "$INIT" -m -n -p -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" 9<&-; }

# kubectl as the cluster's administrator, from the host. It would write its cache into the user's home.
kube() {
    env -i PATH="$PATH" KUBECACHEDIR="$STATE/lib/kubectl" "$PROGRAMS/kubectl" --kubeconfig "$STATE/kubeconfig" "$@"
}

# render FILE NAME=VALUE...: the file with each @NAME@ replaced
render() {
    local text pair
    text=$(cat "$1")
    for pair in "${@:2}"; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
    printf '%s\n' "$text"
}
