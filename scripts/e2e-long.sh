#!/usr/bin/env bash
# The suites of a real cluster in their long form, against the release build.
set -uo pipefail
cd "$(dirname "$0")/.."
export OCR_TEST_LONG=1 OCR_PROGRAMS=target/release
status=0
for suite in e2e control_plane; do
    scripts/e2e.sh "$suite" || status=1
done
exit "$status"
