#!/bin/sh
# lay-out.sh PROGRAM ASSETS OUT [CUDA]: lays the files of the image out below OUT, with their modes in the image. Run at the root
# of a checkout, by scripts/images.sh and by the Dockerfile's stage `build`: what the image gets besides its base stands
# here.
set -eu
program=$1 assets=$2 out=$3 cuda=${4:-}
lib=lib/$(uname -m)

# A folder for each layer, in the order of the layers.
models=$out/models/usr/share/ocr
libraries=$out/libraries/usr/share/ocr
bin=$out/program/usr/bin
mkdir -p "$models/bundles" "$libraries/$lib" "$libraries/licenses/ocr" "$bin"

# The bundles of this checkout and the files that their manifests name: an old folder of assets may hold more.
for manifest in inference/bundles/*/model.yaml; do
    bundle=bundles/$(basename "$(dirname "$manifest")")
    mkdir "$models/$bundle"
    for file in model.yaml $(sed -n 's/^ *file: //p' "$manifest"); do
        cp "$assets/$bundle/$file" "$models/$bundle/"
    done
done
cp -R "$assets/fonts" "$libraries/"
cp -R "$assets/licenses/." "$libraries/licenses/"
cp LICENSE "$libraries/licenses/ocr/"
cp "$assets/$lib/libonnxruntime.so" "$assets/$lib/libpdfium.so" "$libraries/$lib/"
if [ -n "$cuda" ]; then cp "$cuda/$lib/"*.so "$libraries/$lib/"; fi
cp "$program" "$bin/ocr"

# Whatever the umask was: everybody reads, nobody writes.
find "$out" -type d -exec chmod 0755 {} +
find "$out" -type f -exec chmod 0644 {} +
chmod 0755 "$bin/ocr"
# The files' times get into the image's history, and with it into its digest.
find "$out" -exec touch -h -d @0 {} +
