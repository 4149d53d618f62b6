#!/usr/bin/env bash
# Generated files are compared with what their sources make now.
set -euo pipefail
cd "$(dirname "$0")/.."
# docs/settings.md and docs/errors.md are compared by unit tests, so that `make test` cannot miss them.
cargo test --locked --profile checked --workspace --lib -- generated
