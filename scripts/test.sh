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
# Each with its budget in minutes, which is said when it is exceeded: all of this stays below 65 minutes for ever (47 cold, 30 warm, on 2 cores).
SUITES=(decode=1 decode_deaths=1 serve_process=1 cli=2 http=2 accuracy=2 precision=1 stability=1 hostile=2 sandbox=1 lifecycle=2 forwarding=1
    hardware=1 profiles=2 soak=2 parity=1 bench=1 crd=1 placing=1 scaling=1 chart=1)

system() {
    if [ -e target/cluster/cluster.env ]; then
        echo "a cluster of this checkout is up or has crashed, and the suites start one: make cluster-down, then this again" >&2
        return 1
    fi
    scripts/setup.sh
}
format() { cargo fmt --all -- --check; }
lints() { cargo clippy "${CARGO_ARGS[@]}" --all-targets -- -D warnings; }
licences() { make --no-print-directory deny; }
build() { cargo build "${CARGO_ARGS[@]}" --bins --tests; }
assets() { make --no-print-directory assets PROFILE=checked; }
units() { cargo test "${CARGO_ARGS[@]}" --lib --bins 2>&1 | tee -a "$LOG"; }
peers() { scripts/peers.sh rapidocr; }
cluster_programs() { tests/cluster/lib/packages.sh && tests/cluster/build.sh; }
cluster() { within 2 cluster tests/cluster/check.sh --quick; }
e2e() { within 8 e2e scripts/e2e.sh e2e; }
# Of the programs that the suite before it ran.
images() { within 2 images images/check.sh --quick target/e2e; }
control_plane() { within 8 control_plane scripts/e2e.sh control_plane; }
suites() {
    local entry status=0
    for entry in "${SUITES[@]}"; do
        within "${entry#*=}" "${entry%=*}" cargo test "${CARGO_ARGS[@]}" --test "${entry%=*}" || status=1
    done
    return "$status"
}
# within MINUTES NAME COMMAND...: keeps its output, and says when it took longer
within() {
    local minutes=$1 name=$2 started=$SECONDS status=0
    shift 2
    "$@" 2>&1 | tee -a "$LOG" || status=1
    if ((SECONDS - started > minutes * 60)); then
        echo "note: $name took $((SECONDS - started)) s, its budget is $minutes min: make it shorter" >&2
    fi
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
        # The checks in shell.
        /^[0-9]+ passed, [0-9]+ failed/ { passed += $1; failed += $3; ignored += $5 }
        END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$LOG"
}

mkdir -p target && : >"$LOG"
plan "install what is missing=60" "format=5" "lints=180" "licences and bans=20" "build programs and tests=300" \
    "bring models and native libraries=90" "unit tests=20" "the program to compare with=60" "programs of the test cluster=600" \
    "suites=720" "the test cluster=60" "on a real node=480" "container images=90" "against a control plane=420"
step system && step format && step lints && step licences && step build && step assets && step units && step peers &&
    step cluster_programs && step suites && step cluster && step e2e && step images && step control_plane
status=$?
if ((status)); then echo "see above for what failed; all output of the tests is in $LOG" >&2; fi
summary
exit "$status"
