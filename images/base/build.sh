#!/usr/bin/env bash
# Makes target/images/base/base.tar, the root file system under the binaries: the C and C++ libraries that they and the
# native libraries are linked against, an account without rights, licences. No shell, no package manager, no folder that
# anybody but root can write to.
#
#   build.sh             takes the packages of packages.lock. Debian's mirrors drop a version when its security update
#                        comes, and images must be built that day too: a newer version is taken with a warning, and the
#                        digests are then not those that the lock file stands for
#   build.sh --locked    refuses what is not in packages.lock
#   build.sh --update    takes the newest versions and writes them to packages.lock; commit it
set -euo pipefail
cd "$(dirname "$0")/../.."
lock=images/base/packages.lock
out=target/images/base
mode=${1:-}
case "$mode" in
"" | --locked | --update) ;;
*)
    echo "usage: $0 [--locked|--update]" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "the base is made of Debian's packages, and this machine has no apt-get: set BASE to an image that has the C++" \
        "runtime library, such as the one that the Dockerfiles name" >&2
    exit 1
fi
arch=$(dpkg --print-architecture)
mkdir -p "$out/packages"
out=$(cd "$out" && pwd)

# The sandbox user of apt cannot write below a home folder; the digests are compared here.
download() { (cd "$1" && apt-get download -q -o APT::Sandbox::User="$(id -un)" "$2" >>"$out/apt.log" 2>&1); }

# Package lists may be old, or, in a fresh container, absent.
updated=
update_lists() {
    if [ -n "$updated" ]; then return 1; fi
    updated=1
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "not root: the lists of packages are left as they are ('sudo apt-get update' renews them)" >&2
            return 1
        fi
        as_root=(sudo -n)
    fi
    "${as_root[@]}" apt-get update -q >>"$out/apt.log" 2>&1
}

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

# Brings one package to packages/NAME.deb. The version and digest are "-" where anything will do.
bring() {
    local name=$1 version=$2 digest=$3 deb="$out/packages/$1.deb" folder found
    if [ -f "$deb" ] && [ "$(sha256 "$deb")" = "$digest" ]; then return; fi
    folder=$(mktemp -d -p "$out")
    if [ "$version" != - ]; then
        download "$folder" "$name=$version" || { update_lists && download "$folder" "$name=$version"; } || true
    fi
    if [ -z "$(ls "$folder")" ]; then
        if [ "$mode" = --locked ]; then
            echo "$name $version ($arch) of $lock is not to be had any more: 'images/base/build.sh --update' takes what" \
                "there is; commit $lock then" >&2
            exit 1
        fi
        update_lists || true
        if ! download "$folder" "$name"; then
            echo "could not download the package $name:" >&2
            tail -n 5 "$out/apt.log" >&2
            exit 1
        fi
    fi
    mv "$folder"/*.deb "$deb"
    rmdir "$folder"
    found=$(dpkg-deb -f "$deb" Version)
    if [ "$found" = "$version" ] && [ "$(sha256 "$deb")" != "$digest" ]; then
        echo "$name $version ($arch) is not the file that $lock names: its SHA-256 is $(sha256 "$deb")" >&2
        rm "$deb"
        exit 1
    fi
    if [ "$mode" != --update ] && [ "$found" != "$version" ]; then
        echo "warning: the base gets $name $found, $lock has $version: the digests of the images will not be those of" \
            "the lock file ('images/base/build.sh --update' renews it)" >&2
    fi
}

# Another architecture than those of the lock file has the same packages.
names=$(awk '!/^#/ && NF { print $1 }' "$lock" | sort -u)
: >"$out/apt.log"
for name in $names; do
    row=$(awk -v name="$name" -v arch="$arch" '$1 == name && $2 == arch { print $3, $4 }' "$lock")
    if [ "$mode" = --update ]; then row=; fi
    read -r version digest <<<"${row:-- -}"
    bring "$name" "$version" "$digest"
done

if [ "$mode" = --update ]; then
    {
        grep '^#' "$lock"
        {
            awk -v arch="$arch" '!/^#/ && NF && $2 != arch' "$lock"
            for name in $names; do
                deb="$out/packages/$name.deb"
                echo "$name $arch $(dpkg-deb -f "$deb" Version) $(sha256 "$deb")"
            done
        } | sort -k 2,2 -k 1,1
    } >"$lock.new"
    mv "$lock.new" "$lock"
    echo "wrote $lock"
fi

inputs=$({ cat images/base/build.sh && for name in $names; do sha256 "$out/packages/$name.deb"; done; } | sha256sum)
if [ -f "$out/base.tar" ] && [ "$inputs" = "$(cat "$out/inputs" 2>/dev/null)" ]; then exit; fi

rm -rf "$out/unpacked" "$out/root"
mkdir -p "$out/unpacked" "$out/root/etc" "$out/root/var/lib/dpkg/status.d"
for name in $names; do
    dpkg-deb -x "$out/packages/$name.deb" "$out/unpacked"
    # Where scanners for known faults look in images without a package manager.
    dpkg-deb -f "$out/packages/$name.deb" >"$out/root/var/lib/dpkg/status.d/$name"
done
(
    cd "$out/unpacked"
    shopt -s nullglob
    # The libraries, less those for character sets and for tracing that nothing here loads (8 of 16 MB).
    rm -rf usr/lib/*/gconv usr/lib/*/audit
    tar -c lib lib64 usr/lib64 usr/lib/*-linux-gnu usr/lib/os-release etc/os-release etc/debian_version \
        usr/share/doc/*/copyright usr/share/common-licenses --ignore-failed-read 2>/dev/null
) | tar -x -C "$out/root"
cat >"$out/root/etc/passwd" <<'END'
root:x:0:0:root:/:/usr/sbin/nologin
nonroot:x:65532:65532:nonroot:/:/usr/sbin/nologin
END
cat >"$out/root/etc/group" <<'END'
root:x:0:
nonroot:x:65532:
END
cat >"$out/root/etc/nsswitch.conf" <<'END'
passwd: files
group: files
hosts: files dns
END
find "$out/root" -type d -exec chmod 0755 {} +
find "$out/root/etc" "$out/root/var" -type f -exec chmod 0644 {} +
tar -c --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$out/root" -f "$out/base.tar" .
rm -rf "$out/unpacked" "$out/root"
echo "$inputs" >"$out/inputs"
