#!/usr/bin/env bash
# The test of the images:
#
#   check.sh                   builds them here and in a clone in another folder with caches of its own (a quarter of an
#                              hour), compares the digests, looks into them, does what README.md says to push and load
#                              them, and runs them
#   check.sh --quick FOLDER    the same, of the programs in the folder: nothing is compiled, and the clone takes models and
#                              libraries from here
#
# It needs root for its containers. The tools that it needs besides it unpacks from Debian's packages and does not install.
# Uncommitted changes are in both builds.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
quick=
case "$#:${1:-}" in
2:--quick) quick=$(realpath "$2") ;;
0:) ;;
*)
    echo "usage: $0 [--quick FOLDER]" >&2
    exit 2
    ;;
esac
out=$PWD/target/images
work=$(mktemp -d)
# Once for all builds: a commit that is made meanwhile is none of theirs.
REVISION=$(git rev-parse HEAD)
export REVISION
daemons=()
clean_up() {
    if ((${#daemons[@]})); then
        kill "${daemons[@]}" 2>/dev/null || true
        wait "${daemons[@]}" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT

passed=0 failed=0 skipped=0
# check NAME COMMAND...: a failing command anywhere in it fails it.
check() {
    local name=$1 status
    shift
    set +e
    (
        set -e
        "$@"
    ) >"$work/log" 2>&1
    status=$?
    set -e
    if ((status == 0)); then
        passed=$((passed + 1))
        echo "ok      $name"
    else
        failed=$((failed + 1))
        echo "FAILED  $name"
        sed 's/^/        /' "$work/log"
    fi
}
skip() {
    skipped=$((skipped + 1))
    echo "skipped $1: $2"
}

# The shell commands of README.md below the mark <!-- checked: NAME -->; it is a fault if there are none.
commands() {
    awk -v mark="<!-- checked: $1 -->" '
        $0 == mark { wanted = 1; next }
        wanted && /^```/ { if (inside) exit; inside = 1; next }
        inside' images/README.md | grep .
}

# --- Two builds

names=(inference operator)
# In the folder of a checkout.
build() { scripts/images.sh ${quick:+--programs "$quick"}; }

echo "==> images"
build

echo "==> the same from a clone in another folder"
other=$work/another/folder
git clone -q "$PWD" "$other"
find "$other" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard |
    tar -c --null --files-from=- --ignore-failed-read --warning=no-failed-read | tar -x -C "$other"
build_there() {
    cd "$other"
    if [ -n "$quick" ]; then
        cp -R "$OLDPWD/assets" .
        local tool
        for tool in target/{checked,release}/ocr-assets; do
            if [ -x "$OLDPWD/$tool" ]; then install -D "$OLDPWD/$tool" "$tool"; fi
        done
    else
        # The settings of cargo say where its registry is.
        mkdir -p "$work/cargo"
        cp "${CARGO_HOME:-$HOME/.cargo}"/config* "$work/cargo/" 2>/dev/null || true
        export CARGO_HOME=$work/cargo PIP_CACHE_DIR=$work/pip
    fi
    build
}
(build_there)
for name in "${names[@]}"; do
    check "$name: two clones, one digest" cmp "$out/$name.digest" "$other/target/images/$name.digest"
done

# --- What is in them

second_run_builds_nothing() {
    local before
    before=$(stat -c %Y.%i "$out"/*.tar)
    build
    [ "$before" = "$(stat -c %Y.%i "$out"/*.tar)" ]
}
labels() {
    images/archive.py config "$out/$1.tar" | python3 -c '
import json, sys
labels = json.load(sys.stdin)["config"]["Labels"]
expected = dict(pair.split("=", 1) for pair in sys.argv[1:])
wrong = {name: labels.get(name) for name in expected if labels.get(name) != expected[name]}
missing = [name for name in ("title", "description", "licenses") if not labels.get("org.opencontainers.image." + name)]
sys.exit(f"not as expected: {wrong}, missing: {missing}" if wrong or missing else 0)' "${@:2}"
}
version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
bundles=sha256:$(cd inference/bundles && sha256sum -- */model.yaml | sha256sum | cut -d ' ' -f 1)
says_the_version() { grep -qx "VERSION=$version" <(commands push); }
builds_with_our_toolchain() {
    local channel
    channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    grep -q "^ARG BUILDER=.*/rust:$channel-" "$1"
}

check "a second run builds nothing" second_run_builds_nothing
check "README.md has the version" says_the_version
for name in "${names[@]}"; do
    check "$name: the builder's Rust is that of rust-toolchain.toml" builds_with_our_toolchain "images/$name/Dockerfile"
done
check "inference: layers in order, nothing to write, nothing setuid" \
    images/archive.py check "$out/inference.tar" usr/share/ocr/bundles usr/share/ocr/lib usr/bin/ocr
check "operator: nothing to write, nothing setuid" \
    images/archive.py check "$out/operator.tar" etc/os-release usr/bin/ocr-operator
check "inference: labels" labels inference "org.opencontainers.image.version=$version" "dev.ocrpool.bundles.digest=$bundles"
check "operator: labels" labels operator "org.opencontainers.image.version=$version"

# --- As README.md says: into a registry and into containerd

tools=$out/tools
export PATH=$tools/usr/bin:$tools/usr/sbin:$PATH
bring_tool() {
    local package=$1
    if command -v "$2" >/dev/null; then return; fi
    mkdir -p "$tools/packages"
    (
        cd "$tools/packages"
        rm -f "$package"_*.deb
        apt-get download -q -o APT::Sandbox::User=root "$package" ||
            { apt-get update -q && apt-get download -q -o APT::Sandbox::User=root "$package"; }
        dpkg-deb -x "$package"_*.deb "$tools"
    ) >"$work/log" 2>&1 || return 1
}
wait_for() {
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    echo "in vain: $*" >&2
    return 1
}

start_registry() {
    # The port is free now and, on a machine for tests, a moment later.
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/certificate.pem" 2>"$work/log"
    cat >"$work/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port", tls: {certificate: $work/certificate.pem, key: $work/key.pem}}
END
    docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
    daemons+=($!)
    wait_for openssl s_client -connect "127.0.0.1:$port"
}
push() {
    local name commands
    commands=$(commands push)
    export SSL_CERT_FILE=$work/certificate.pem
    eval "${commands/REGISTRY=registry.example/REGISTRY=127.0.0.1:$port}"
    for name in "${names[@]}"; do
        skopeo inspect --format '{{.Digest}}' "docker://127.0.0.1:$port/ocr/ocr-$name:$version" |
            cmp - "$out/$name.digest"
    done
}

start_containerd() {
    mkdir -p "$work/containerd"
    cat >"$work/containerd.toml" <<END
version = 2
root = "$work/containerd/root"
state = "$work/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$work/containerd/socket"
END
    containerd --config "$work/containerd.toml" >"$work/containerd.log" 2>&1 &
    daemons+=($!)
    export CONTAINERD_ADDRESS=$work/containerd/socket CONTAINERD_NAMESPACE=k8s.io
    wait_for ctr version
}
load() {
    local name commands names_there
    commands=$(commands containerd)
    eval "$commands"
    names_there=$(ctr -n k8s.io images ls -q)
    for name in "${names[@]}"; do
        grep -qxF "localhost/ocr-$name:$version" <<<"$names_there"
        grep -qxF "localhost/ocr-$name@$(cat "$out/$name.digest")" <<<"$names_there"
    done
}

if [ "$(id -u)" != 0 ]; then
    skip "push, load and run" "needs root"
else
    if bring_tool skopeo skopeo && bring_tool docker-registry docker-registry && start_registry; then
        check "push to a registry" push
    else
        skip "push to a registry" "no skopeo or registry: $(tail -n 1 "$work/log")"
    fi
    if bring_tool runc runc && bring_tool containerd containerd && start_containerd; then
        containers=1
        check "load into containerd, by tag and by digest" load
    else
        skip "load and run" "no containerd: $(tail -n 1 "$work/log")"
    fi
fi

# --- In a container, as a pod of the strictest kind: no network, no right, nothing to write to

drop=()
for capability in CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE \
    SYS_CHROOT KILL AUDIT_WRITE; do
    drop+=(--cap-drop "CAP_$capability")
done
# in_container ID IMAGE [PROGRAM ARGUMENT...]: for ctr, a command is all of it, not what follows the entry point.
in_container() {
    local id=$1 name=$2
    shift 2
    ctr run --rm --read-only --seccomp "${drop[@]}" --env OCR_DRAIN_DELAY_SECONDS=0 \
        --mount "type=bind,src=$PWD/examples/documents,dst=/documents,options=rbind:ro" \
        "localhost/ocr-$name@$(cat "$out/$name.digest")" "$id" "$@"
}
phrase='regulations for the consular courts of the United States in Japan'
reads() { in_container read inference /usr/bin/ocr read /documents/senate-1871.jpg | grep -F "$phrase"; }
is_sandboxed() { in_container sandbox inference /usr/bin/ocr sandbox; }
operator_starts() { in_container operator operator /usr/bin/ocr-operator --version | grep -F "$version"; }
serves() {
    local server pid status
    in_container serve inference >"$work/serve.log" 2>&1 &
    server=$!
    wait_for eval 'ctr tasks ls | grep "^serve .*RUNNING"'
    pid=$(ctr tasks ls | awk '$1 == "serve" { print $2 }')
    # Uid; no capability, not even in the bounding set; no new privileges; seccomp with filters.
    grep -E '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr -s '\t ' ' ' | tee "$work/status"
    printf '%s\n' 'Uid: 65532 65532 65532 65532' 'Gid: 65532 65532 65532 65532' 'CapEff: 0000000000000000' \
        'CapBnd: 0000000000000000' 'NoNewPrivs: 1' 'Seccomp: 2' | diff - "$work/status"
    status=0
    nsenter --target "$pid" --net python3 - "$phrase" "$(sha256sum inference/bundles/pp-ocrv6-small/model.yaml)" <<'END' || status=$?
import json, sys, time, urllib.request

deadline = time.monotonic() + 120
while True:
    try:
        urllib.request.urlopen("http://127.0.0.1:8100/ready", timeout=5).read()
        break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"not ready: {error}")
        time.sleep(0.2)
with open("examples/documents/senate-1871.jpg", "rb") as scan:
    request = urllib.request.Request("http://127.0.0.1:8100/v1/ocr", data=scan.read(), method="POST")
answer = json.load(urllib.request.urlopen(request, timeout=300))
assert sys.argv[1] in answer["text"], answer["text"]
assert answer["model"]["digest"] == "sha256:" + sys.argv[2].split()[0], answer["model"]
assert b"ocr_build_info" in urllib.request.urlopen("http://127.0.0.1:8101/metrics", timeout=30).read()
END
    ctr tasks kill --signal SIGTERM serve
    wait "$server" || status=$?
    if ((status)); then cat "$work/serve.log"; fi
    return "$status"
}
if [ -n "${containers:-}" ]; then
    check "operator: starts" operator_starts
    check "inference: ocr read" reads
    check "inference: ocr sandbox" is_sandboxed
    check "inference: ocr serve, to its end" serves
fi

echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
