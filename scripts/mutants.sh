#!/usr/bin/env bash
# Puts faults into what chooses a way of computing and what decides where pods go, one at a time, and counts those that no
# test notices: at most a tenth of each. Unit tests come first; what they miss, random clusters are to notice.
# usage: mutants.sh [choosing|placing]... [-- OPTION OF cargo mutants...]; without a name, both
set -euo pipefail
cd "$(dirname "$0")/.."
version=27.1.0
tools=$PWD/target/mutants-tools
out=target/mutants
most_missed=10
parts=()
while (($#)) && [ "$1" != -- ]; do
    parts+=("$1")
    shift
done
options=("${@:2}")
((${#parts[@]})) || parts=(choosing placing)
if ! "$tools/bin/cargo-mutants" mutants --version 2>/dev/null | grep -qF "$version"; then
    cargo install --quiet --locked --root "$tools" --version "$version" cargo-mutants
fi
# Fewer clusters than cargo test simulates: each fault is a run of its own.
export OCR_PLACING_CLUSTERS=${OCR_PLACING_CLUSTERS:-400}

# try NAME PACKAGE TESTS FILE... : with ITERATE=--iterate only what the run before it missed. cargo mutants ends with 2 where
# a fault was missed and with 3 where one ran out of time, which is judged below.
try() {
    local name=$1 package=$2 tests=$3 pass=first status=0 file files=()
    shift 3
    for file in "$@"; do files+=(--file "$file"); done
    mkdir -p "$out/$name"
    # shellcheck disable=SC2086 # lists
    "$tools/bin/cargo-mutants" mutants --package "$package" --profile mutants --output "$out/$name" --colors never \
        "${files[@]}" --jobs 2 --timeout 180 --no-times ${ITERATE:-} "${options[@]}" -- $tests || status=$?
    [[ $status == [023] ]]
    [ -z "${ITERATE:-}" ] || pass=second
    cp "$out/$name/mutants.out/outcomes.json" "$out/$name/$pass.json"
}

rm -rf "$out"
choosing() { try choosing ocr-inference --lib 'inference/src/strategy/**'; }
placing() {
    local places=('operator/core/src/place/**' 'operator/core/src/rollout/**')
    try placing ocrpool-core --lib "${places[@]}"
    ITERATE=--iterate try placing ocrpool-core "--lib --test placing" "${places[@]}"
}
for part in "${parts[@]}"; do "$part"; done
python3 - "$most_missed" "${parts[@]/#/$out/}" <<'END'
import json, pathlib, sys
too_many = False
for folder in map(pathlib.Path, sys.argv[2:]):
    passes = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    # What took too long in the first is tried again in the second.
    noticed = sum(each["caught"] for each in passes) + passes[-1]["timeout"]
    missed, uncompiled = passes[-1]["missed"], passes[0]["unviable"]
    all_of_them = noticed + missed
    share = 100 * noticed / max(all_of_them, 1)
    print(f"{folder.name}: {noticed} of {all_of_them} faults are noticed: {share:.1f} %; {uncompiled} do not compile")
    too_many |= not all_of_them or 100 * missed > int(sys.argv[1]) * all_of_them
sys.exit(too_many)
END
