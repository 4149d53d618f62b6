#!/usr/bin/env bash
# Puts faults into what decides where pods go, one at a time, and counts those that no test notices: at most a tenth.
set -euo pipefail
cd "$(dirname "$0")/.."
version=27.1.0
tools=$PWD/target/mutants-tools
out=target/mutants
most_missed=10
if ! "$tools/bin/cargo-mutants" --version 2>/dev/null | grep -qF "$version"; then
    cargo install --quiet --locked --root "$tools" --version "$version" cargo-mutants
fi
mkdir -p "$out"
# Fewer clusters than cargo test simulates: each fault is a run of its own.
export OCR_PLACING_CLUSTERS=${OCR_PLACING_CLUSTERS:-400}
# It ends with 2 where one was missed, which is judged below.
"$tools/bin/cargo-mutants" mutants --package ocrpool-core --profile checked --output "$out" --colors never \
    --file 'operator/core/src/place/**' --file 'operator/core/src/rollout/**' \
    --timeout 180 --no-times "$@" -- --lib --test placing || [ $? -eq 2 ]
python3 - "$out/mutants.out/outcomes.json" "$most_missed" <<'END'
import json, sys
outcomes, most = json.load(open(sys.argv[1])), int(sys.argv[2])
noticed, missed = outcomes["caught"] + outcomes["timeout"], outcomes["missed"]
share = 100 * noticed / max(noticed + missed, 1)
print(f"{noticed} of {noticed + missed} faults are noticed: {share:.1f} %; {outcomes['unviable']} do not compile")
sys.exit(100 - share > most)
END
