#!/usr/bin/env bash
# Runs a command and keeps its output in docs/proof/NAME.txt, with the commit and the machine that it ran on.
# usage: proof.sh NAME COMMAND...
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
shift
proof=docs/proof/$name.txt
dirty=
git diff --quiet HEAD -- . ":(exclude)docs/proof" || dirty=' with changes that are not committed'
{
    echo "command: make $name"
    echo "commit: $(git rev-parse HEAD)$dirty"
    echo "date: $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    echo "machine: $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(free -g | awk '/^Mem:/ { print $2 }') GiB, Linux $(uname -r)"
    echo
} >"$proof.part"
status=0
# Where it ran is nobody's matter.
"$@" 2>&1 | sed -u "s#$PWD#.#g; s#$HOME#~#g" | tee -a "$proof.part" || status=$?
mv "$proof.part" "$proof"
echo "written to $proof"
exit "$status"
