#!/usr/bin/env bash
# What a full disk looks like: at start (plain refusal) and while running (the log stops with its reason, nothing that
# was appended is lost, and it goes on when there is space again). Needs root: mounts a small tmpfs.
#
# usage: tests/campaigns/disk_full.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=target/release/tapedeck
[ -x "$bin" ] && [ -x target/release/venue-sim ] || { echo "build first: cargo build --release --workspace"; exit 1; }
mnt=$(mktemp -d)
mount -t tmpfs -o size=96m tmpfs "$mnt"
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; umount "$mnt"; rmdir "$mnt"' EXIT
cat >"$mnt/tape.toml" <<E2
[data]
dir = "$mnt/data"
[venues.binance-spot]
symbols = ["BTCUSDT"]
channels = ["trades"]
rest_url = "http://127.0.0.1:9"
ws_url = "ws://127.0.0.1:9"
E2
echo "== a 96 MiB disk and 128 MiB segments: refused at start"
set +e
"$bin" collector --config "$mnt/tape.toml"
echo "exit code $?"
set -e
find "$mnt/data" -type f | sort
