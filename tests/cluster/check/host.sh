# shellcheck shell=bash
# Sourced by check.sh after common.sh: all of the host that a cluster could have changed, as text, to compare. Clusters of
# other checkouts may come and go meanwhile: what is theirs is left out.

# host_without_clusters STATE...: of the clusters with these state folders nothing may be left
host_without_clusters() {
    local state own=()
    for state in "$@"; do own+=("$(sha256sum <<<"$state" | cut -c 1-8)"); done
    echo "== processes"
    host_processes "$@"
    echo "== links, addresses, routes, rules"
    {
        ip -o link | cut -d ' ' -f 2
        ip -o addr | awk '{print $2, $4}'
        ip route show table all
    } | without_others 'ocr'
    nft list ruleset
    echo "== mounts"
    cut -d ' ' -f 4- /proc/self/mountinfo | grep -E 'cluster|kubelet|containerd|netns' || true
    echo "== settings"
    grep -r . /proc/sys/vm/{overcommit_memory,panic_on_oom} /proc/sys/kernel/{panic,panic_on_oops,keys} \
        /proc/sys/net/ipv4/{ip_forward,conf/all}
    grep -r . /proc/sys/fs/inotify | grep -v max_user_instances
    # What the last cluster will put back, where another one is up.
    cat "$SHARED/inotify" 2>/dev/null || cat /proc/sys/fs/inotify/max_user_instances
    echo "== cgroups"
    find /sys/fs/cgroup \( -name '*kubepods*' -o -name 'ocr-cluster*' \) | without_others 'ocr-cluster-'
    cat /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    echo "== files"
    find /run /var/lib /var/log /opt /etc /usr/libexec -mindepth 1 -maxdepth 1 ! -path "$SHARED"
    find "$SHARED" -mindepth 1 ! -path "$SHARED/inotify" 2>/dev/null | without_others 'clusters/' | grep -v '/clusters$' || true
    find /var/lib/{kubelet,cni,containerd} /run/{containerd,netns} /var/log/{pods,containers} 2>/dev/null || true
}

# Passes on the lines that do not name a cluster, by $1 and its id, that is none of `own` (of the caller).
without_others() {
    # shellcheck disable=SC2154 # the caller's
    awk -v prefix="$1" -v own="${own[*]}" '
        BEGIN { split(own, list, " "); for (i in list) ours[list[i]] = 1 }
        !match($0, prefix "[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]") { print; next }
        substr($0, RSTART + length(prefix), 8) in ours'
}

# host_processes STATE...: those that name one of the folders, are in a cgroup of one, or run in namespaces of nobody's.
host_processes() {
    local pid command cgroups pattern others=' ' record
    pattern=$(printf '|%s' "$@" "${own[@]/#/ocr-cluster-}")
    pattern=${pattern#|}
    for record in "$SHARED"/clusters/*; do
        if [ -f "$record" ] && [[ " ${own[*]} " != *" ${record##*/} "* ]]; then
            others+="mnt:[$(sed -n 's/^MOUNT_NAMESPACE=//p' "$record")] "
        fi
    done
    others+="$(readlink /proc/self/ns/mnt) "
    for pid in /proc/[0-9]*; do
        { command=$(tr '\0' ' ' <"$pid/cmdline") && cgroups=$(cat "$pid/cgroup"); } 2>/dev/null || continue
        if [[ $command$cgroups =~ $pattern ]]; then
            echo "$command"
        elif [[ $(readlink "$pid/exe") == "$CACHE"/* || $command == *"-namespace k8s.io "* ]] &&
            [[ $others != *" $(readlink "$pid/ns/mnt") "* ]]; then
            echo "$command"
        fi
    done
}
