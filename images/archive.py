#!/usr/bin/env python3
"""Looks into an image archive (OCI, or that of `docker save`), without any of the tools that made it.

  archive.py digest ARCHIVE        the manifest's digest, by which a registry and a cluster know the image
  archive.py size ARCHIVE          bytes of its layers, uncompressed
  archive.py config ARCHIVE        its configuration, as JSON
  archive.py extract ARCHIVE DIR   its root file system, with owners and modes (as root)
  archive.py check ARCHIVE [PATH...]
                                   that user 65532 can write nothing in it and no program changes its user; each layer
                                   that has a PATH must come after the layers with the PATHs before it
"""
import gzip
import io
import json
import sys
import tarfile

USER = 65532


class Archive:
    def __init__(self, path):
        self.tar = tarfile.open(path)
        names = {name.removeprefix("./"): name for name in self.tar.getnames()}
        self.read = lambda name: self.tar.extractfile(names[name]).read()
        blob = lambda digest: "blobs/" + digest.replace(":", "/")
        if "index.json" in names:
            (entry,) = json.loads(self.read("index.json"))["manifests"]
            manifest = json.loads(self.read(blob(entry["digest"])))
            self.digest = entry["digest"]
            self.config = json.loads(self.read(blob(manifest["config"]["digest"])))
            self.layers = [blob(layer["digest"]) for layer in manifest["layers"]]
        else:
            # Docker before version 25 knows no manifest until it pushes: the image's identifier has to do.
            (entry,) = json.loads(self.read("manifest.json"))
            self.digest = "sha256:" + entry["Config"].removesuffix(".json").rsplit("/", 1)[-1]
            self.config = json.loads(self.read(entry["Config"]))
            self.layers = entry["Layers"]

    def layer(self, name):
        data = self.read(name)
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

    def trees(self):
        for name in self.layers:
            yield tarfile.open(fileobj=io.BytesIO(self.layer(name)))


def path_of(member):
    return member.name.removeprefix("./").strip("/")


def writable(member):
    """Whether the user may change it; root, who else owns things, is not the user."""
    if member.issym():
        return False
    return bool(member.mode & 0o002 or member.uid == USER or (member.gid == USER and member.mode & 0o020))


def check(archive, ordered):
    faults = []
    first_layer = {}
    for number, tree in enumerate(archive.trees()):
        for member in tree:
            path = path_of(member)
            first_layer.setdefault(path, number)
            if writable(member):
                faults.append(f"/{path} can be written to by user {USER}: mode {member.mode:o}, owner {member.uid}:{member.gid}")
            if member.isfile() and member.mode & 0o6000:
                faults.append(f"/{path} changes its user or group: mode {member.mode:o}")
            if member.ischr() or member.isblk():
                faults.append(f"/{path} is a device")
    for path in ordered:
        if path not in first_layer:
            faults.append(f"/{path} is not there")
    numbers = [first_layer[path] for path in ordered if path in first_layer]
    if any(later <= earlier for earlier, later in zip(numbers, numbers[1:])):
        faults.append("layers are not in this order: " + ", ".join(f"/{path} in {first_layer.get(path)}" for path in ordered))
    user = archive.config["config"].get("User")
    if user != f"{USER}:{USER}":
        faults.append(f"the user is {user!r}")
    return faults


def main():
    command, path, *rest = sys.argv[1:]
    archive = Archive(path)
    if command == "digest":
        print(archive.digest)
    elif command == "size":
        print(sum(len(archive.layer(name)) for name in archive.layers))
    elif command == "config":
        print(json.dumps(archive.config))
    elif command == "extract":
        for tree in archive.trees():
            for member in tree:
                if path_of(member).rsplit("/", 1)[-1].startswith(".wh."):
                    sys.exit(f"{path} removes files of its lower layers, which is not supported here")
            tree.extractall(rest[0], numeric_owner=True)
    elif command == "check":
        faults = check(archive, rest)
        print("\n".join(faults), end="\n" if faults else "")
        sys.exit(1 if faults else 0)
    else:
        sys.exit(__doc__)


main()
