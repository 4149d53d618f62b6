#!/usr/bin/env bash
# Makes the namespaces of the cluster and its link to the host, and writes down what it made (the record of common.sh).
# usage: lib/sandbox.sh SIZE
set -euo pipefail
cd "$(dirname "$0")/.."
source lib/common.sh
source lib/host.sh

mkdir -p "$STATE"/{bin,etc/cni,lib,log/pods,pki,run}
chmod 700 "$STATE/pki"
# For pods that want no cluster DNS of their own, and for what enters the namespaces (enter.sh).
printf 'nameserver %s\nsearch svc.cluster.local cluster.local\n' "$NODE_ADDRESS" >"$STATE/etc/resolv.conf"

programs=$(programs_folder)
# What the host mounts or unmounts from here on is so in there too, or a disk could not be taken out while a cluster is up.
setsid unshare -m -n -p -f --propagation slave --mount-proc --kill-child "$SOURCES/lib/init.sh" "$STATE" "$CHECKOUT" "$programs" \
    </dev/null >"$STATE/log/init.log" 2>&1 9<&- &
unshared=$!
# Until the record is written nothing else could find it.
trap 'kill -KILL "$unshared" 2>/dev/null' EXIT

INIT=
deadline=$((SECONDS + 10))
until [ -n "$INIT" ] && [ -e "/proc/$INIT/root/run/cluster/made" ]; do
    if ((SECONDS >= deadline)) || ! kill -0 "$unshared" 2>/dev/null; then
        die "the namespaces could not be made: $(tail -n 3 "$STATE/log/init.log")"
    fi
    { read -r INIT <"/proc/$unshared/task/$unshared/children"; } 2>/dev/null || true
    sleep 0.05
done

namespace() { readlink "/proc/$INIT/ns/$1" | tr -dc 0-9; }
INIT_START=$(start_time "$INIT")
cat >"$RECORD.new" <<END
SIZE=$1
INIT=$INIT
INIT_START=$INIT_START
BOOT=$(cat /proc/sys/kernel/random/boot_id)
PID_NAMESPACE=$(namespace pid)
NET_NAMESPACE=$(namespace net)
MOUNT_NAMESPACE=$(namespace mnt)
LINK=ocr$ID
CGROUP=/ocr-cluster-$ID
ETCD_FSYNC=${CLUSTER_ETCD_FSYNC:-0}
PROGRAMS='$programs'
END
mv "$RECORD.new" "$RECORD"
trap - EXIT
load_record

# What the host has before, for the comparison at the end.
nft list tables >"$STATE/run/nft-tables"
share() {
    make_link
    raise_inotify
    cp "$RECORD" "$COPY"
}
with_shared share
if [ "$SIZE" = node ]; then make_cgroups; fi
