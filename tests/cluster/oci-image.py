#!/usr/bin/env python3
"""Writes a folder as an image of one layer into an OCI archive, which load-image.sh can load.

usage: oci-image.py NAME ROOT ARCHIVE ENTRYPOINT...     for example: oci-image.py ocr.test/web:1 root web.tar httpd -f

The same folder gives the same bytes. The program runs as user 65532.
"""

import gzip
import hashlib
import io
import json
import platform
import sys
import tarfile

LAYOUT = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def main(name: str, root: str, archive: str, entrypoint: list[str]) -> None:
    layer = layer_of(root)
    packed_layer = gzip.compress(layer, compresslevel=1, mtime=0)
    config = to_json({
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": "65532:65532", "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    })
    manifest = to_json({
        "schemaVersion": 2,
        "mediaType": f"{LAYOUT}.manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar+gzip", packed_layer)],
    })
    # containerd takes the name from here.
    named = descriptor("manifest.v1+json", manifest) | {"annotations": {"io.containerd.image.name": name}}
    with tarfile.open(archive, "w") as tar:
        add(tar, "oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))
        add(tar, "index.json", to_json({"schemaVersion": 2, "manifests": [named]}))
        for blob in (config, manifest, packed_layer):
            add(tar, "blobs/" + digest(blob).replace(":", "/"), blob)


def layer_of(root: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(root, arcname=".", filter=without_circumstances)
    return buffer.getvalue()


def without_circumstances(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who packed it and when does not belong to the content."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def descriptor(kind: str, content: bytes) -> dict:
    return {"mediaType": f"{LAYOUT}.{kind}", "digest": digest(content), "size": len(content)}


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def to_json(value: dict) -> bytes:
    return json.dumps(value).encode()


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
