#!/usr/bin/env bash
# The long form of every suite, against the release build.
set -uo pipefail
cd "$(dirname "$0")/.."
export OCR_TEST_LONG=1 OCR_BIN=${OCR_BIN:-$PWD/target/release/ocr}
status=0
for suite in soak hostile stability accuracy parity lifecycle sandbox http cli; do
    cargo test --locked --profile checked --workspace --test "$suite" || status=1
done
exit "$status"
