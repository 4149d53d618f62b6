#!/usr/bin/env bash
# Builds the container images without a registry, from programs built on this machine:
#
#   images.sh [--programs FOLDER] [inference|operator|inference-cuda]...    without a name: the first two
#
#   target/images/NAME.tar       an OCI archive, named localhost/ocr-NAME:VERSION, so that no cluster that lacks it asks a
#                                registry for it
#   target/images/NAME.digest    its digest
#
#   --programs FOLDER   takes the programs from there and compiles none
#   BASE                image to build on; if it is not set, one is made of Debian's packages (images/base)
#   CUDA_BASE           the same for inference-cuda; what is made of Debian's packages has no CUDA, so its pods compute on
#                       the CPU and say why
#   REVISION            what the label "revision" says; if it is not set, the commit
#
# Uses buildah, else podman, else docker, else installs buildah. Equal sources give equal digests, in every folder, with
# buildah and podman; images/README.md says what that takes. A second run does nothing.
set -euo pipefail
# Sorts alike everywhere.
export LC_ALL=C

declare -A PACKAGES=([inference]="ocr-inference ocr-assets" [operator]="ocr-operator")
PACKAGES[inference-cuda]=${PACKAGES[inference]}
declare -A PROGRAM=([inference]=ocr [operator]=ocr-operator [inference-cuda]=ocr)
# Uncompressed, in MB: what a node keeps. CUDA and cuDNN have 3 GB.
declare -A LIMIT=([inference]=250 [operator]=40 [inference-cuda]=4500)

programs=
names=()
while (($#)); do
    case $1 in
    --programs)
        programs=$(realpath "${2:?--programs needs a folder}")
        shift
        ;;
    inference | operator | inference-cuda) names+=("$1") ;;
    *)
        echo "usage: $0 [--programs FOLDER] [inference|operator|inference-cuda]..." >&2
        exit 2
        ;;
    esac
    shift
done

cd "$(dirname "$0")/.."
out=$PWD/target/images
rust=$out/rust
if ((!${#names[@]})); then
    names=(inference operator)
fi

say() { printf '==> %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        echo "not root: run 'sudo $*', then this again" >&2
        return 1
    fi
}

# --- What builds images

engine=
choose_engine() {
    local candidate
    for candidate in buildah podman; do
        if command -v "$candidate" >/dev/null; then
            engine=$candidate
            return
        fi
    done
    # A client alone builds nothing.
    if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
        engine=docker
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "needs buildah, podman or docker: install one of them, then run this again" >&2
        exit 1
    fi
    echo "needs the Debian package buildah"
    if [ -z "$(apt-cache madison buildah 2>/dev/null)" ]; then as_root apt-get update -q; fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends buildah
    engine=buildah
}

# The images lie in a storage of their own, which is there only while they are built: what the user has is left alone.
# Its driver copies every layer; the faster one is not allowed in every container, and leaves mounts behind.
storage=()
run=
open_storage() {
    if [ "$engine" = docker ]; then return; fi
    # Of a run that was killed.
    close_storage
    # podman takes no long path for what it keeps at run time.
    run=$(mktemp -d)
    trap close_storage EXIT
    storage=("--root=$out/storage" "--runroot=$run" --storage-driver=vfs)
}

close_storage() {
    local as_owner=()
    # Without root, the files belong to users of the engine's namespace.
    if [ "$(id -u)" != 0 ]; then as_owner=("$engine" unshare); fi
    "${as_owner[@]}" rm -rf "$out/storage"
    if [ -n "$run" ]; then rm -rf "$run"; fi
}

# build_image TAG DOCKERFILE CONTEXT TARGET ARGUMENT...: without a target, the last stage
build_image() {
    local tag=$1 dockerfile=$2 context=$3 argument arguments=()
    if [ -n "$4" ]; then arguments=(--target "$4"); fi
    shift 4
    for argument in "$@"; do arguments+=(--build-arg "$argument"); done
    if [ "$engine" = docker ]; then
        DOCKER_BUILDKIT=1 SOURCE_DATE_EPOCH=0 docker build -q --build-arg SOURCE_DATE_EPOCH=0 "${arguments[@]}" \
            -t "$tag" -f "$dockerfile" "$context" >/dev/null
        return
    fi
    # The time is the same for all versions, so that a layer whose files are the same has the same digest: a node that
    # has the models does not bring them again. The identity label would hold the tool's version.
    "$engine" "${storage[@]}" build --quiet --isolation chroot --layers --format oci --identity-label=false \
        --timestamp 0 --pull=false "${arguments[@]}" -t "$tag" -f "$dockerfile" "$context" >/dev/null
}

# save_image TAG ARCHIVE
save_image() {
    rm -f "$2"
    if [ "$engine" = docker ]; then
        docker save -o "$2" "$1"
    else
        "$engine" "${storage[@]}" push --quiet "$1" "oci-archive:$2:$1"
    fi
}

# --- The programs

# The same program from every folder: no path of this machine may get into it. Line tables would be three quarters of it;
# they are for profilers. Each image has a build of its own, since cargo unites the features of packages that it builds
# together.
build_programs() {
    local sysroot commit flags folder packages package
    cargo fetch --quiet --locked --target "$(rustc -vV | sed -n 's/^host: //p')"
    sysroot=$(rustc --print sysroot)
    commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
    flags="--remap-path-prefix=$PWD=/src"
    # Where the standard library's sources are installed, their place comes in instead of this, the usual one.
    flags+=$'\x1f'"--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$commit"
    # The folder's name has a hash of the registry's address: that of a mirror is another.
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
        flags+=$'\x1f'"--remap-path-prefix=${folder%/}=/cargo"
    done
    packages=()
    for package in "$@"; do packages+=(-p "$package"); done
    CARGO_ENCODED_RUSTFLAGS=$flags CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=symbols \
        CARGO_INCREMENTAL=0 cargo build --locked --release --target-dir "$rust" "${packages[@]}"
}

bring_assets() {
    local tool
    # The newest: an old one does not know the manifests of today.
    tool=$({ ls -t "$rust/release/ocr-assets" target/{release,checked}/ocr-assets 2>/dev/null || true; } | sed -n 1p)
    if [ -z "$tool" ]; then
        build_programs ocr-assets
        tool=$rust/release/ocr-assets
    fi
    "$tool" fetch
    "$tool" bundles
    if [[ " ${names[*]} " == *" inference-cuda "* ]]; then
        "$tool" fetch --lock inference/assets/cuda.lock.yaml --out assets/cuda
    fi
}

# --- The images

digest_of() { sha256sum "$@" | sha256sum | cut -d ' ' -f 1; }

lay_out() {
    local name=$1 program=$2 files=$3
    rm -rf "$files"
    case $name in
    inference) images/inference/lay-out.sh "$program" assets "$files" ;;
    inference-cuda) images/inference/lay-out.sh "$program" assets "$files" assets/cuda ;;
    *)
        install -D -m 0755 "$program" "$files/program/usr/bin/${PROGRAM[$name]}"
        find "$files" -type d -exec chmod 0755 {} +
        find "$files" -exec touch -h -d @0 {} +
        ;;
    esac
}

version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
# What is not committed and gets into an image; other files do not matter.
sources=(Cargo.toml Cargo.lock rust-toolchain.toml LICENSE inference operator images scripts/images.sh)
revision=${REVISION:-}
if [ -z "$revision" ]; then
    revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    if [ -n "$(git status --porcelain -- "${sources[@]}" 2>/dev/null)" ]; then revision+=-dirty; fi
fi
# As images/inference/Dockerfile explains it.
bundles_digest=sha256:$(cd inference/bundles && sha256sum -- */model.yaml | sha256sum | cut -d ' ' -f 1)

# The image for GPUs is another build of the same one.
tag_of() {
    case $1 in
    *-cuda) echo "localhost/ocr-${1%-cuda}:$version-cuda" ;;
    *) echo "localhost/ocr-$1:$version" ;;
    esac
}

# What an image is made of, in one digest: the program, what is copied beside it (the lock file and the manifests have the
# digests of all of that), the way it is put together, the base, the labels and the name.
inputs_of() {
    local name=$1 program=$2 tag=$3
    digest_of "$program" "images/${name%-cuda}/"* scripts/images.sh LICENSE inference/assets/*.lock.yaml \
        inference/bundles/*/model.yaml <(echo "$base" "${CUDA_BASE:-}" "$engine" "$revision" "$version" "$tag")
}

make_image() {
    local name=$1 program=$2 tag=$3 files=$out/files/$1
    lay_out "$name" "$program" "$files"
    if [ -z "${storage_open:-}" ]; then
        open_storage
        storage_open=1
        if [ -z "${BASE:-}" ]; then
            mkdir -p "$out/files/base"
            cp "$out/base/base.tar" "$out/files/base/"
            build_image localhost/ocr-base images/base/Dockerfile "$out/files/base" ""
        fi
    fi
    local own=${BASE:-localhost/ocr-base} target=
    local arguments=("BASE=$own" "CUDA_BASE=${CUDA_BASE:-$own}" FILES=host "VERSION=$version" "REVISION=$revision")
    case $name in
    inference) arguments+=("BUNDLES_DIGEST=$bundles_digest") ;;
    inference-cuda)
        arguments+=("BUNDLES_DIGEST=$bundles_digest")
        target=cuda
        ;;
    esac
    build_image "$tag" "images/${name%-cuda}/Dockerfile" "$files" "$target" "${arguments[@]}"
    save_image "$tag" "$out/$name.tar"
    images/archive.py digest "$out/$name.tar" >"$out/$name.digest"
    images/archive.py size "$out/$name.tar" >"$out/$name.size"
    rm -rf "$out/files"
}

mkdir -p "$out"
if [ -z "$programs" ]; then scripts/setup.sh; fi
choose_engine
if [ -z "$programs" ]; then
    for name in "${names[@]}"; do
        say "programs of the image $name, in $rust (minutes, the first time)"
        # shellcheck disable=SC2086 # a list
        build_programs ${PACKAGES[$name]}
    done
    programs=$rust/release
fi
if [[ " ${names[*]} " == *" inference"* ]]; then
    say "models and native libraries"
    bring_assets
fi
if [ -n "${BASE:-}" ]; then
    base=$BASE
else
    say "base"
    images/base/build.sh
    base=$(digest_of "$out/base/base.tar" images/base/Dockerfile)
fi

failed=0
for name in "${names[@]}"; do
    program=$programs/${PROGRAM[$name]}
    tag=$(tag_of "$name")
    inputs=$(inputs_of "$name" "$program" "$tag")
    if [ ! -f "$out/$name.tar" ] || [ "$inputs" != "$(cat "$out/$name.inputs" 2>/dev/null)" ]; then
        say "image $name, with $engine"
        rm -f "$out/$name".{inputs,digest,size,tar}
        make_image "$name" "$program" "$tag"
        echo "$inputs" >"$out/$name.inputs"
    fi
done
for name in "${names[@]}"; do
    size=$(cat "$out/$name.size")
    printf '%s: target/images/%s.tar\n    %d MB uncompressed, %s\n' "$(tag_of "$name")" "$name" \
        "$(((size + 999999) / 1000000))" "$(cat "$out/$name.digest")"
    if ((size > LIMIT[$name] * 1000000)); then
        echo "    TOO LARGE: at most ${LIMIT[$name]} MB" >&2
        failed=1
    fi
done
exit "$failed"
