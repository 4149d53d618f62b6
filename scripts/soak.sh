#!/usr/bin/env bash
# The suites that have a long form, in it, against the release build. The others are in `make test` whole.
set -uo pipefail
cd "$(dirname "$0")/.."
export OCR_TEST_LONG=1 OCR_BIN=${OCR_BIN:-$PWD/target/release/ocr}
status=0
for suite in soak hostile parity lifecycle; do
    cargo test --locked --profile checked --workspace --test "$suite" || status=1
done
exit "$status"
