#!/usr/bin/env bash
# Both services together in one memory cgroup, many symbols over all seven venues, bursts, and in the middle a squeeze:
# another process takes the rest of the memory until the level is critical, and gives it back. No process may be
# killed, no frame lost, both levels must be seen, and normal again afterwards. Prints the curve.
#
# usage: tests/campaigns/small_memory.sh [SECONDS=900] [LIMIT_MIB=512] [FRAMES_PER_SECOND=30000] [SYMBOLS=1000]
# A burst is what the simulator owes after it was stopped for 2.5 s: 75,000 frames at once at the default rate.
# Needs: root (a cgroup of version 1 or 2), python3, cargo build --release --workspace. BIN=target/debug runs others.
# Writes below target/campaigns/small_memory.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BIN:-target/release}
[ -x "$bin/tapedeck" ] && [ -x "$bin/venue-sim" ] || { echo "build first: cargo build --release --workspace"; exit 1; }
dir=target/campaigns/small_memory
rm -rf "$dir"; mkdir -p "$dir"
exec python3 tests/scripts/small_memory.py "$bin" "$dir" "${1:-900}" "${2:-512}" "${3:-30000}" "${4:-1000}"
