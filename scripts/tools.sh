#!/usr/bin/env bash
# Puts the tools of the checks into target/tools, by package name, version and digest (scripts/tools.txt).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/tools
if ! cmp -s scripts/tools.txt "$venv/installed.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r scripts/tools.txt
    cp scripts/tools.txt "$venv/installed.txt"
fi
