#!/usr/bin/env bash
# Imports an image from an OCI or Docker archive into the node, so that pods with `imagePullPolicy: IfNotPresent` run it.
# Prints each image by name and by name and digest; both can be used in a pod.
# usage: load-image.sh ARCHIVE [NAME]
#   NAME  instead of the one that the archive gives; needed where it gives a tag alone. A full one: host/name:tag
set -euo pipefail
source "$(dirname "$0")/lib/common.sh"
need_root "$@"
need_cluster
if (($# < 1 || $# > 2)); then die "usage: load-image.sh ARCHIVE [NAME]"; fi
if [ "$SIZE" != node ]; then die "the size $SIZE has no containerd: its pods run nothing"; fi

images() { inside ctr -n k8s.io images "$@"; }
# A line an image: "unpacking NAME (DIGEST)...done"
imported=$(images import - <"$1" | sed -n 's/^unpacking \([^ ]*\) (\(sha256:[0-9a-f]*\)).*/\1 \2/p')
[ -n "$imported" ] || die "no image was found in $1"
while read -r name digest; do
    if [ -n "${2:-}" ] && [ "$name" != "$2" ]; then
        images tag --force "$name" "$2" >/dev/null
        images rm "$name" >/dev/null
        name=$2
    fi
    # The import gives it the name alone, and a pod may ask for the digest.
    by_digest=${name%:*}@$digest
    images tag --force "$name" "$by_digest" >/dev/null
    printf '%s\n%s\n' "$name" "$by_digest"
done <<<"$imported"
