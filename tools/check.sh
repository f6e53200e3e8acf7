#!/usr/bin/env bash
# The same checks as CI, for a working copy. Each line also works alone.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
cargo test --workspace
