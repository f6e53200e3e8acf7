#!/usr/bin/env bash
# A compactor that was stopped for half an hour at the peak: nothing is lost, and once it runs again it catches up while
# the collector goes on appending. Prints how many times faster than the ingest it compacted, and the 99th percentile of
# an append before, while it was stopped, while it caught up, and afterwards.
#
# usage: tests/campaigns/backlog.sh [STOPPED_SECONDS=1800] [FRAMES_PER_SECOND=20000] [SYMBOLS=450] [AROUND_SECONDS=240]
# SYMBOLS are spread over three exchanges. AROUND is how long it runs before and afterwards.
# Needs: cargo build --release --workspace; python3; room for the frames (about 300 B each). BIN, DIR from the environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BIN:-target/release} dir=${DIR:-target/campaigns/backlog}
[ -x "$bin/tapedeck" ] && [ -x "$bin/venue-sim" ] || { echo "build first: cargo build --release --workspace"; exit 1; }
rm -rf "$dir"; mkdir -p "$dir"
exec python3 tests/scripts/backlog.py "$bin" "$dir" "${1:-1800}" "${2:-20000}" "${3:-450}" "${4:-240}"
