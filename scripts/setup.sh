#!/usr/bin/env bash
# Installs what building needs and a fresh Debian machine may lack: a C compiler (it links; the build scripts of some
# crates use it), Python with venv and pip (they bring the model weights and native libraries), rustup where the
# distribution has it, and the Rust toolchain that rust-toolchain.toml names. Says what it installs; installs nothing that
# is there.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v make >/dev/null || packages+=(make)
command -v git >/dev/null || packages+=(git)
# `venv --help` answers on Debian without ensurepip too; only ensurepip tells.
if ! command -v python3 >/dev/null || ! python3 -c 'import ensurepip, pip, venv' 2>/dev/null; then
    packages+=(python3 python3-venv python3-pip)
fi
# ONNX Runtime and PDFium are C++: they need its runtime library. (No grep -q: it would end ldconfig, and pipefail us.)
ldconfig -p 2>/dev/null | grep 'libstdc++\.so\.6' >/dev/null || packages+=(libstdc++6)
# Debian has rustup since version 13.
if ! command -v rustup >/dev/null && ! command -v cargo >/dev/null; then
    if [ -z "$(apt-cache madison rustup 2>/dev/null)" ]; then
        echo "needs Rust: install rustup (https://rustup.rs), open a new shell, then run this again" >&2
        exit 1
    fi
    packages+=(rustup)
fi

if ((${#packages[@]})); then scripts/install-packages.sh "${packages[@]}"; fi

channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
if ! cargo --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
    echo "installing the Rust toolchain $channel"
    # rustup itself is left as it is: a package manager may own it.
    rustup toolchain install "$channel" --no-self-update --profile minimal --component clippy --component rustfmt || {
        echo "could not install the Rust toolchain $channel: have $(rustup toolchain list | tr '\n' ' ')" >&2
        exit 1
    }
fi
echo "have: $(cargo --version), $(cc --version | head -n 1), $(python3 --version)"
