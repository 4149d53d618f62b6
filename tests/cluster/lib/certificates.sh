#!/usr/bin/env bash
# Makes the certificates and kubeconfigs: one authority, one identity a component, so that the audit log tells who did what.
# usage: lib/certificates.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source lib/common.sh
need_cluster
pki=$STATE/pki

# request NAME SECTION SUBJECT [OPTION...]: a key and a certificate of it
request() {
    openssl req -x509 -config config/openssl.cnf -extensions "$2" -subj "$3" -days 365 \
        -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/$1.key" -out "$pki/$1.crt" "${@:4}" 2>"$pki/error" ||
        die "no certificate for $1: $(cat "$pki/error")"
}
signed() { request "$@" -CA "$pki/ca.crt" -CAkey "$pki/ca.key"; }

# kubeconfig NAME SERVER: for the identity of that name
kubeconfig() {
    render config/kubeconfig.yaml SERVER="$2" USER="$1" AUTHORITY="$(base64 -w 0 "$pki/ca.crt")" \
        CERTIFICATE="$(base64 -w 0 "$pki/$1.crt")" KEY="$(base64 -w 0 "$pki/$1.key")"
}

umask 077
request ca authority /CN=ocr-test-cluster
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost
signed apiserver server /CN=kube-apiserver \
    -addext "subjectAltName=$names,IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_ADDRESS,IP:$ADDRESS"
signed kubelet-server server /CN=node-0 -addext "subjectAltName=DNS:node-0,IP:127.0.0.1,IP:$NODE_ADDRESS"
# As whom the API server asks API servers that extend it.
signed aggregator client /CN=aggregator
signed admin client /O=system:masters/CN=admin
# The API server asks kubelets, kwok and CoreDNS ask the API server: with all rights, for which a cluster of somebody's
# would have a role each. The group `components` has no rights: the audit policy knows them by it.
for name in apiserver-client kwok coredns; do signed "$name" client "/O=system:masters/O=components/CN=$name"; done
for name in kube-controller-manager kube-scheduler kube-proxy; do signed "$name" client "/O=components/CN=system:$name"; done
signed kubelet client /O=system:nodes/CN=system:node:node-0
openssl ecparam -name prime256v1 -genkey -noout -out "$pki/service-accounts.key"

for name in kube-controller-manager kube-scheduler kube-proxy kubelet kwok coredns; do
    kubeconfig "$name" https://127.0.0.1:6443 >"$STATE/etc/$name.kubeconfig"
done
kubeconfig admin "https://$ADDRESS:6443" >"$STATE/kubeconfig"
