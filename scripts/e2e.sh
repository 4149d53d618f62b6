#!/usr/bin/env bash
# Runs a suite against a real cluster on this machine: brings it up, loads images of the programs in target/checked, runs
# the suite inside its namespaces, and takes it down again.
# usage: e2e.sh e2e|control_plane [CASE]
#   OCR_PROGRAMS=target/release  the programs under test from there
#   KEEP=1                       leaves the cluster up
#   KUBECONFIG_UNDER_TEST=FILE   another cluster, which has the images of target/images; to be run where its Services and
#                                pods can be reached, such as on a node
set -euo pipefail
cd "$(dirname "$0")/.."
suite=${1:?usage: e2e.sh e2e|control_plane [CASE]}
declare -A SIZE=([e2e]=node [control_plane]=control-plane)
work=target/e2e
export OCR_PROGRAMS=${OCR_PROGRAMS:-target/checked}
fake=localhost/fake-pod:1

run() { cargo test --locked --profile checked --workspace --test "$suite" -- "$@"; }
if [ -n "${KUBECONFIG_UNDER_TEST:-}" ]; then
    run "${@:2}"
    exit
fi
tests/cluster/up.sh --size "${SIZE[$suite]}"
if [ -z "${KEEP:-}" ]; then trap tests/cluster/down.sh EXIT; fi

mkdir -p "$work"
for program in ocr ocr-operator; do strip -o "$work/$program" "$OCR_PROGRAMS/$program"; done
scripts/images.sh --programs "$work"
if [ "$suite" = e2e ]; then
    for name in inference operator; do tests/cluster/load-image.sh "target/images/$name.tar"; done
    # The program with the libraries that it is linked to.
    rm -rf "$work/root"
    install -D target/checked/fake-pod "$work/root/fake-pod"
    ldd target/checked/fake-pod | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "$work/root$library"
    done
    tests/cluster/oci-image.py "$fake" "$work/root" "$work/fake-pod.tar" /fake-pod
    tests/cluster/load-image.sh "$work/fake-pod.tar"
fi

# Services and pods can be reached only inside; cargo runs the suite's program through this.
triple=$(rustc -vV | sed -n 's/^host: //p')
export "CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$triple")_RUNNER=$PWD/tests/cluster/enter.sh"
run "${@:2}"
