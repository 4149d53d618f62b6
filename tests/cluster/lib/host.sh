# shellcheck shell=bash
# Sourced after common.sh: what the cluster has on the host, and how it is taken away again: a link, cgroup folders and one
# setting. What several clusters of the machine share is noted below /run, under a lock.

# kubelet, containerd and a few pods use some 60 instances; Debian allows a user 128 in all.
INOTIFY=/proc/sys/fs/inotify/max_user_instances
INOTIFY_NEEDED=1024

# Runs a command while no other cluster of the machine runs one so.
with_shared() {
    (
        # The last cluster removes the folder, so it may be another one, or none, by the time the lock is had.
        while true; do
            mkdir -p "$SHARED/clusters"
            exec 8<"$SHARED" || continue
            flock -w 30 8 || die "another cluster has held $SHARED for 30 s"
            if [ "$SHARED" -ef /proc/self/fd/8 ]; then break; fi
        done
        "$@"
    )
}

# The value before the first cluster came is kept until the last one goes.
raise_inotify() {
    local value
    value=$(cat "$INOTIFY")
    if ((value < INOTIFY_NEEDED)); then
        echo "$value" >"$SHARED/inotify"
        echo "$INOTIFY_NEEDED" >"$INOTIFY"
    fi
}

restore_inotify() {
    local cluster
    rm -f "$COPY"
    for cluster in "$SHARED"/clusters/*; do
        [ -f "$cluster" ] || continue
        # shellcheck source=/dev/null
        if (source "$cluster" && [ "$(start_time "$INIT")" = "$INIT_START" ]); then return; fi
        # A crashed one: its own record is with it, and this is all that it would have to put back.
        rm -f "$cluster"
    done
    if [ -f "$SHARED/inotify" ]; then cat "$SHARED/inotify" >"$INOTIFY"; fi
    rm -rf "$SHARED"
}

# Prints four addresses, as 10.243.7.8, that no route of the host knows but the default one. Different checkouts start
# looking at different places.
free_addresses() {
    local try number network routes
    for ((try = 0; try < 64; try++)); do
        number=$(((16#${ID:0:4} + try * 251) % 16384))
        network=10.243.$((number / 64)).$((number % 64 * 4))
        # Those that hold all four, and those that hold some.
        routes=$(ip -o -4 route show table all match "$network/30" && ip -o -4 route show table all root "$network/30")
        if ! grep -v '^default' <<<"$routes" | grep . >/dev/null; then
            echo "$network"
            return
        fi
    done
    die "no free addresses below 10.243.0.0/16"
}

# Makes the link to the host and adds it to the record.
make_link() {
    local network last
    network=$(free_addresses)
    last=${network##*.}
    HOST_ADDRESS=${network%.*}.$((last + 1))
    ADDRESS=${network%.*}.$((last + 2))
    ip link add "$LINK" type veth peer name eth0 netns "$INIT"
    ip addr add "$HOST_ADDRESS/30" dev "$LINK"
    ip link set "$LINK" up
    inside ip addr add "$ADDRESS/30" dev eth0
    inside ip link set eth0 up
    printf '%s\n' "LINK_INDEX=$(cat "/sys/class/net/$LINK/ifindex")" "HOST_ADDRESS=$HOST_ADDRESS" "ADDRESS=$ADDRESS" >>"$RECORD"
}

# Every cgroup hierarchy of the machine; on version 2 there is one.
cgroup_hierarchies() { findmnt -rno TARGET -t cgroup,cgroup2; }

make_cgroups() {
    local hierarchy
    for hierarchy in $(cgroup_hierarchies); do
        if [ "$hierarchy" = /sys/fs/cgroup ]; then
            # kubelet turns on what it needs here, for the whole machine.
            cp "$hierarchy/cgroup.subtree_control" "$STATE/run/subtree_control"
        fi
        mkdir -p "$hierarchy$CGROUP"
    done
}

cgroup_folders() {
    local hierarchy
    for hierarchy in $(cgroup_hierarchies); do
        if [ -d "$hierarchy$CGROUP" ]; then find "$hierarchy$CGROUP" -depth -type d; fi
    done
}

# Empty folders only; the kernel takes a moment to empty those of processes that have just ended.
remove_cgroups() {
    local deadline=$((SECONDS + 10)) folders controller
    while folders=$(cgroup_folders) && [ -n "$folders" ] && ((SECONDS < deadline)); do
        xargs -d '\n' rmdir <<<"$folders" 2>/dev/null || sleep 0.1
    done
    [ -f "$STATE/run/subtree_control" ] || return 0
    for controller in $(</sys/fs/cgroup/cgroup.subtree_control); do
        if ! grep -qw "$controller" "$STATE/run/subtree_control"; then
            # Refused, and rightly, where someone else has come to use it.
            echo "-$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
        fi
    done
}

# Lists "ID STARTTIME" of every process of the cluster: in one of its namespaces, or in a cgroup of its pods. While PID 1
# lives or the link exists, the namespaces do, and no other can have their numbers.
members() {
    local file pid
    {
        if cluster_runs || { [ -n "${LINK_INDEX:-}" ] && [ "$(cat "/sys/class/net/$LINK/ifindex" 2>/dev/null)" = "$LINK_INDEX" ]; }; then
            find /proc -mindepth 3 -maxdepth 3 -path '/proc/[0-9]*/ns/*' \
                \( -lname "pid:\[$PID_NAMESPACE\]" -o -lname "net:\[$NET_NAMESPACE\]" -o -lname "mnt:\[$MOUNT_NAMESPACE\]" \) 2>/dev/null || true
        fi
        grep -l ":$CGROUP/" /proc/[0-9]*/cgroup 2>/dev/null || true
    } | cut -d / -f 3 | sort -un | while read -r pid; do
        file=$(start_time "$pid") && echo "$pid $file"
    done || true
}
