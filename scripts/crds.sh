#!/usr/bin/env bash
# Writes again what follows from the operator's types and the bundles' manifests: the definition of OcrPool, for kubectl and
# for the chart, and the chart's catalogue of bundles.
# usage: crds.sh PROGRAM, the operator as built from this checkout
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1
definition=crds/ocrpools.ocrpool.dev.yaml
chart=charts/ocr-operator/files

mkdir -p crds "$chart"
# By a file beside it: a program that fails leaves what was there.
write() {
    { echo "# Made by make crds. Do not edit." && "${@:2}"; } >"$1.new"
    mv "$1.new" "$1"
}
write "$definition" "$program" crd
cp "$definition" "$chart/"
write "$chart/bundles.yaml" "$program" catalogue inference/bundles/*
echo "$definition, $chart"
