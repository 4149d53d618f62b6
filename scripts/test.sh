#!/usr/bin/env bash
# Every check, from cheap to dear. Stops at the first step that fails before the suites; the suites all run, so that one
# run shows all that is broken. The last line sums them up.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/steps.sh

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
LOG=target/test.log
# The whole workspace, programs and tests at once: with less of it cargo would choose other features of the dependencies,
# and build twice.
CARGO_ARGS=(--locked --profile checked --workspace)
SUITES=(decode decode_deaths serve_process cli http accuracy stability hostile sandbox lifecycle soak parity bench crd chart)

system() { scripts/setup.sh; }
format() { cargo fmt --all -- --check; }
lints() { cargo clippy "${CARGO_ARGS[@]}" --all-targets -- -D warnings; }
licences() { make --no-print-directory deny; }
build() { cargo build "${CARGO_ARGS[@]}" --bins --tests; }
assets() { make --no-print-directory assets PROFILE=checked; }
units() { cargo test "${CARGO_ARGS[@]}" --lib --bins 2>&1 | tee -a "$LOG"; }
peers() { scripts/peers.sh rapidocr; }
cluster_programs() { tests/cluster/lib/packages.sh && tests/cluster/build.sh; }
cluster() { tests/cluster/check.sh --quick; }
e2e() { scripts/e2e.sh e2e 2>&1 | tee -a "$LOG"; }
control_plane() { scripts/e2e.sh control_plane 2>&1 | tee -a "$LOG"; }
suites() {
    local suite status=0
    for suite in "${SUITES[@]}"; do
        cargo test "${CARGO_ARGS[@]}" --test "$suite" 2>&1 | tee -a "$LOG" || status=1
    done
    return "$status"
}

# Prints one line that sums what every test program said of itself.
summary() {
    awk '/^test result: / {
            for (field = 1; field <= NF; field++) {
                if ($field == "passed;") passed += $(field - 1)
                if ($field == "failed;") failed += $(field - 1)
                if ($field == "ignored;") ignored += $(field - 1)
            }
        }
        END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$LOG"
}

mkdir -p target && : >"$LOG"
plan "install what is missing=60" "format=5" "lints=120" "licences and bans=20" "build programs and tests=240" \
    "bring models and native libraries=90" "unit tests=20" "the program to compare with=60" "programs of the test cluster=1200" \
    "suites=420" "the test cluster=60" "on a real node=600" "against a control plane=300"
step system && step format && step lints && step licences && step build && step assets && step units && step peers &&
    step cluster_programs && step suites && step cluster && step e2e && step control_plane
status=$?
if ((status)); then echo "see above for what failed; all output of the tests is in $LOG" >&2; fi
summary
exit "$status"
