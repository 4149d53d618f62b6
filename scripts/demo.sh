#!/usr/bin/env bash
# From a clean checkout to a pool on a Kubernetes cluster that reads a real scan and a real PDF. The cluster is kind's where
# Docker and kind are there, else one of our own on this machine (tests/cluster).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/steps.sh

SCAN=examples/documents/senate-1871.jpg
PDF=examples/documents/optical-character-recognition.pdf
# One phrase of each document: examples/documents/README.md.
SCAN_PHRASE='regulations for the consular courts of the United States in Japan'
PDF_PHRASE='Emanuel Goldberg developed a machine'
KIND=ocr-demo
PORT=18100

kind=
if command -v kind >/dev/null && docker info >/dev/null 2>&1; then kind=1; fi

kube() { PATH=$PWD/target/cluster/bin:$PATH KUBECONFIG=$PWD/target/cluster/kubeconfig "$@"; }

system() { scripts/setup.sh && { [ -n "$kind" ] || tests/cluster/lib/packages.sh; }; }
images() { scripts/images.sh; }
programs() { [ -n "$kind" ] || tests/cluster/build.sh; }
cluster() {
    if [ -z "$kind" ]; then
        tests/cluster/up.sh
        for name in inference operator; do tests/cluster/load-image.sh "target/images/$name.tar"; done
        return
    fi
    mkdir -p target/cluster
    kind get clusters | grep -qx "$KIND" || kind create cluster --name "$KIND" --wait 120s
    kind get kubeconfig --name "$KIND" >target/cluster/kubeconfig
    for name in inference operator; do kind load image-archive "target/images/$name.tar" --name "$KIND"; done
}
install() {
    kube helm upgrade --install ocr-operator charts/ocr-operator --namespace ocr-system --create-namespace \
        --set image.registry=localhost --wait --timeout 3m
}
pool() {
    kube kubectl apply -f examples/pools/smallest.yaml
    kube kubectl wait --for=condition=Ready ocrpool/ocr --timeout=3m
}
# send FILE: its text, through the pool's Service
send() {
    python3 - "http://127.0.0.1:$PORT/v1/ocr?format=text" "$1" <<'PYTHON'
import sys, urllib.request
url, file = sys.argv[1:]
with open(file, "rb") as body, urllib.request.urlopen(urllib.request.Request(url, body.read())) as answer:
    print(answer.read().decode())
PYTHON
}
read_documents() {
    local forward text phrase missing=0
    kube kubectl port-forward service/ocr "$PORT:80" >target/port-forward.log 2>&1 &
    forward=$!
    # shellcheck disable=SC2064 # the process of now
    trap "kill $forward 2>/dev/null || true" RETURN
    for _ in {1..50}; do
        if grep -q Forwarding target/port-forward.log; then break; fi
        sleep 0.2
    done
    text=$(send "$SCAN" && send "$PDF")
    printf '%s\n\n' "$text"
    for phrase in "$SCAN_PHRASE" "$PDF_PHRASE"; do
        if grep -qF "$phrase" <<<"$text"; then
            echo "read: $phrase"
        else
            echo "not read: $phrase" >&2
            missing=1
        fi
    done
    kube kubectl get ocrpools
    return "$missing"
}

plan "install what is missing=90" "images of the programs=700" "programs of a cluster=600" "a cluster=60" \
    "install the operator=60" "a pool of one pod=60" "read $SCAN and $PDF=15"
step system
step images
step programs
step cluster
step install
step pool
step read_documents
down='make cluster-down'
if [ -n "$kind" ]; then down="kind delete cluster --name $KIND"; fi
cat <<END

Next:
  export KUBECONFIG=$PWD/target/cluster/kubeconfig PATH=$PWD/target/cluster/bin:\$PATH
  kubectl get ocrpools; kubectl describe ocrpool ocr; kubectl explain ocrpool.spec
  kubectl port-forward service/ocr 8100:80 &
  curl --data-binary @$SCAN http://127.0.0.1:8100/v1/ocr?format=text
  $down    takes all of it away
  make read FILES="$SCAN"    the same without a cluster
END
