#!/usr/bin/env bash
# Puts faults into what chooses a way of computing and what decides where pods go, one at a time, and counts those that no
# test notices: at most a tenth of each.
# usage: mutants.sh [OPTION OF cargo mutants]...
set -euo pipefail
cd "$(dirname "$0")/.."
version=27.1.0
tools=$PWD/target/mutants-tools
out=target/mutants
most_missed=10
if ! "$tools/bin/cargo-mutants" mutants --version 2>/dev/null | grep -qF "$version"; then
    cargo install --quiet --locked --root "$tools" --version "$version" cargo-mutants
fi
# Fewer clusters than cargo test simulates: each fault is a run of its own.
export OCR_PLACING_CLUSTERS=${OCR_PLACING_CLUSTERS:-400}

# try NAME PACKAGE TESTS FILE...: it ends with 2 where a fault was missed, which is judged below
try() {
    local name=$1 package=$2 tests=$3 file files=()
    shift 3
    for file in "$@"; do files+=(--file "$file"); done
    mkdir -p "$out/$name"
    # shellcheck disable=SC2086 # a list
    "$tools/bin/cargo-mutants" mutants --package "$package" --profile mutants --output "$out/$name" --colors never \
        "${files[@]}" --timeout 180 --no-times "${options[@]}" -- $tests || [ $? -eq 2 ]
}
options=("$@")
try choosing ocr-inference "--lib strategy" 'inference/src/strategy/**'
try placing ocrpool-core "--lib --test placing" 'operator/core/src/place/**' 'operator/core/src/rollout/**'
python3 - "$most_missed" "$out"/{choosing,placing}/mutants.out/outcomes.json <<'END'
import json, sys
too_many = False
for path in sys.argv[2:]:
    outcomes = json.load(open(path))
    noticed, missed = outcomes["caught"] + outcomes["timeout"], outcomes["missed"]
    all_of_them = noticed + missed
    name = path.split("/")[-3]
    share = 100 * noticed / max(all_of_them, 1)
    print(f"{name}: {noticed} of {all_of_them} faults are noticed: {share:.1f} %; {outcomes['unviable']} do not compile")
    too_many |= not all_of_them or 100 * missed > int(sys.argv[1]) * all_of_them
sys.exit(too_many)
END
