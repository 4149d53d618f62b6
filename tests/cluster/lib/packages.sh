#!/usr/bin/env bash
# Installs the Debian packages that the test cluster needs and the machine lacks. Asks for programs, not for packages: where
# Docker's containerd is installed, Debian's would replace it.
# usage: lib/packages.sh
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

packages=()
needs() {
    command -v "$1" >/dev/null || packages+=("$2")
}
needs containerd containerd
needs runc runc
if [ ! -x /usr/lib/cni/bridge ] && [ ! -x /opt/cni/bin/bridge ]; then packages+=(containernetworking-plugins); fi
needs iptables iptables
needs nft nftables
needs ip iproute2
needs openssl openssl
needs findmnt util-linux
needs flock util-linux
# It runs in images that hold nothing else, so the libraries of the host are not there.
if ! command -v busybox >/dev/null || ldd "$(command -v busybox)" >/dev/null 2>&1; then packages+=(busybox-static); fi
# pip brings Go where it is missing (lib/go.sh).
if ! command -v python3 >/dev/null || ! python3 -c 'import ensurepip, pip, venv' 2>/dev/null; then
    packages+=(python3 python3-venv python3-pip)
fi
if ((${#packages[@]} == 0)); then exit 0; fi

"$(dirname "$0")/../../../scripts/install-packages.sh" "${packages[@]}"
if [[ " ${packages[*]} " == *" containerd "* ]] && [ -d /run/systemd/system ]; then
    echo "Debian's containerd came with a service, which is not used here: 'systemctl disable --now containerd' if nobody else needs it"
fi
