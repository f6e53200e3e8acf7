#!/usr/bin/env bash
# Everything that CI checks, in the order of what it costs. Each line also works alone.
#
#   tools/check.sh           all of it
#   tools/check.sh --quick   without the tests
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

echo "== tools/arrows.py"
python3 tools/arrows.py
echo "== tools/lake_files.py"
python3 tools/lake_files.py
echo "== tools/growth.py --check"
python3 tools/growth.py --check
echo "== cargo fmt --check"
cargo fmt --all --check
echo "== cargo clippy"
cargo clippy --workspace --all-targets -- -D warnings
echo "== cargo doc"
# Pages of this tree are read in the tree: links to what is private are right there.
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --quiet --workspace --no-deps
[ "${1:-}" = --quick ] && exit 0
echo "== cargo test --workspace"
cargo test --workspace
# A workspace of its own: why, in its README.
committer=(--manifest-path tools/committer/Cargo.toml)
echo "== tools/committer"
cargo fmt "${committer[@]}" --check
cargo clippy "${committer[@]}" --all-targets -- -D warnings
cargo test "${committer[@]}"
