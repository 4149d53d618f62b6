#!/usr/bin/env bash
# PID 1 of the cluster's namespaces: makes there what the components need and the host must not have, then buries the dead.
# When it ends, the kernel ends every process of the cluster, and mounts, links and rules go with the namespaces.
# usage: lib/init.sh STATE FOLDER...      the folders stay as the host has them, wherever they are
set -euo pipefail
state=$1
keep=("${@:2}")

# Shared among the mount namespaces below this one, as kubelet wants it; nothing comes out to the host (lib/sandbox.sh).
mount --make-rshared /

# Sockets, locks and network namespaces of containerd and the CNI programs: never those of a containerd of the host.
# Without -n, mount would make a folder for its notes in the host's /run first.
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/cluster/sysctl
for index in "${!keep[@]}"; do
    mkdir -p "/run/cluster/keep/$index"
    mount --rbind "${keep[index]}" "/run/cluster/keep/$index"
done

# kubelet and the CNI programs write to fixed places here, whatever their settings say. What they write stays in memory.
for folder in /var/lib /var/log; do
    mkdir -p "/run/cluster/upper$folder" "/run/cluster/work$folder"
    mount -t overlay -o "lowerdir=$folder,upperdir=/run/cluster/upper$folder,workdir=/run/cluster/work$folder" overlay "$folder"
done
# CI users often live in /var/lib.
for index in "${!keep[@]}"; do
    mkdir -p "${keep[index]}"
    mount --rbind "/run/cluster/keep/$index" "${keep[index]}"
done

# kubelet sets these, and they are the whole machine's. It finds what it wants here and so leaves the machine alone.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    key=${setting%=*}
    [ -e "/proc/sys/$key" ] || continue
    echo "${setting#*=}" >"/run/cluster/sysctl/${key//\//.}"
    mount --bind "/run/cluster/sysctl/${key//\//.}" "/proc/sys/$key"
done

# Programs that enter resolve the cluster's names. Where the host's file is a link into /run, its target is made anew.
resolver=$(readlink -m /etc/resolv.conf)
if [[ $resolver == /run/* ]]; then mkdir -p "${resolver%/*}" && touch "$resolver"; fi
if [ -f "$resolver" ]; then mount --bind "$state/etc/resolv.conf" "$resolver"; fi

# This one is of the network namespace, not the machine's.
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
ip link add cni0 type bridge
ip addr add 10.244.0.1/24 dev cni0
ip link set cni0 up
# There is no default route, so a pod that asks for the internet is told at once. kube-proxy redirects what is sent to a
# Service, but the kernel wants to know a way to it first.
ip route add 10.96.0.0/16 dev cni0
# One process bound to 0.0.0.0 in here answers for every fake pod.
ip route add local 10.245.0.0/16 dev lo

touch /run/cluster/made
while true; do
    sleep infinity &
    wait "$!" || true
done
