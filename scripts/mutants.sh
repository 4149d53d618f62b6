#!/usr/bin/env bash
# Puts faults into what chooses a way of computing and what decides where pods go, one at a time, and counts those that no
# test notices: at most a tenth.
# usage: mutants.sh [OPTION OF cargo mutants]...
set -euo pipefail
cd "$(dirname "$0")/.."
version=27.1.0
tools=$PWD/target/mutants-tools
out=target/mutants
most_missed=10
if ! "$tools/bin/cargo-mutants" --version 2>/dev/null | grep -qF "$version"; then
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
    "$tools/bin/cargo-mutants" mutants --package "$package" --profile checked --output "$out/$name" --colors never \
        "${files[@]}" --timeout 180 --no-times "${options[@]}" -- $tests || [ $? -eq 2 ]
}
options=("$@")
try choosing ocr-inference "--lib strategy" 'inference/src/strategy/**'
try placing ocrpool-core "--lib --test placing" 'operator/core/src/place/**' 'operator/core/src/rollout/**'
python3 - "$most_missed" "$out"/{choosing,placing}/mutants.out/outcomes.json <<'END'
import json, sys
all_noticed, all_missed = 0, 0
for path in sys.argv[2:]:
    outcomes = json.load(open(path))
    noticed, missed = outcomes["caught"] + outcomes["timeout"], outcomes["missed"]
    all_noticed, all_missed = all_noticed + noticed, all_missed + missed
    share = 100 * noticed / max(noticed + missed, 1)
    name = path.split("/")[-3]
    print(f"{name}: {noticed} of {noticed + missed} faults are noticed: {share:.1f} %; {outcomes['unviable']} do not compile")
sys.exit(100 * all_missed > int(sys.argv[1]) * (all_noticed + all_missed))
END
