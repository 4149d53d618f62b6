#!/usr/bin/env bash
# Writes the chart's values.schema.json and README.md again, from the comments of its values.yaml, and notes of what they
# were made, so that the suite `chart` sees without these tools whether they are up to date.
#
# The tools are those of most public charts, pinned as Go modules in scripts/chart/go.mod: they read the comments that chart
# authors know. A generator of our own would be a third of their size to keep, and a dialect to learn. Go is found, or
# brought, as for the test cluster; `make test` needs none of it.
set -euo pipefail
cd "$(dirname "$0")/../tests/cluster"
source lib/common.sh
source lib/go.sh
find_go
cd "$CHECKOUT/scripts/chart"
chart=../../charts/ocr-operator
# Draft 7: older helm reads no newer one.
"$GO" tool helm-values-schema-json --values "$chart/values.yaml" --output "$chart/values.schema.json" --draft 7 --indent 2 \
    --use-helm-docs --no-additional-properties
"$GO" tool helm-docs --chart-search-root "$chart" --sort-values-order file --log-level warning
cd "$CHECKOUT"
sha256sum scripts/chart/go.mod charts/ocr-operator/{Chart.yaml,values.yaml,README.md.gotmpl,values.schema.json,README.md} \
    >scripts/chart/generated.sha256
