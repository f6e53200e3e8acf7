#!/usr/bin/env bash
# What a full disk looks like: at start (plain refusal), and while recording with a spill directory on another disk: the
# log goes on there, the compactor empties both, and every frame that was sent is in the lake. Needs root: mounts a small
# tmpfs. The other disk is the one below target/.
#
# usage: tests/campaigns/disk_full.sh [SECONDS=60] [FRAMES_PER_SECOND=20000]
# Needs: cargo build --release --workspace. From the environment: BIN.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60} rate=${2:-20000}
bin=${BIN:-target/release}
[ -x "$bin/tapedeck" ] && [ -x "$bin/venue-sim" ] && [ -x "$bin/wal-dump" ] || { echo "build first: cargo build --release --workspace"; exit 1; }
other=$(realpath -m target/campaigns/disk_full)
rm -rf "$other"; mkdir -p "$other"
mnt=$(mktemp -d)
mount -t tmpfs -o size=48m tmpfs "$mnt"
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; umount "$mnt"; rmdir "$mnt"' EXIT
{ printf '[data]\ndir = "%s/data"\n' "$mnt"; python3 tests/scripts/rig.py 9 binance-usdm; } >"$mnt/tape.toml"
echo "== a 48 MiB disk and 128 MiB segments: refused at start"
! "$bin/tapedeck" collector --config "$mnt/tape.toml" || exit 1
[ ! -e "$mnt/data" ] || exit 1

echo "== 4 MiB segments, the compactor stopped until the end, a spill directory on another disk"
symbols=$(seq -s, -f 'SYM%02gUSDT' 50)
"$bin/venue-sim" --generate "$symbols" --venues binance-usdm --rate "$rate" --total $((seconds * rate)) --channels trades,book_ticker,depth --no-extra-symbols \
  --listen 127.0.0.1:0 --report "$other/report.json" >"$other/sim.out" 2>"$other/sim.err" & sim=$!
for _ in $(seq 100); do port=$(grep -ohE '127\.0\.0\.1:[0-9]+' "$other/sim.out" "$other/sim.err" | head -1 | sed 's/.*://') && [ -n "$port" ] && break; sleep 0.2; done
{
  printf '[data]\ndir = "%s/data"\n[wal]\nsegment_mib = 4\nspill_dirs = ["%s/spill"]\n' "$mnt" "$other"
  printf '[lake]\ndir = "%s/data/lake"\n[klines]\ndatabase = "sqlite:%s/klines.db"\n' "$other" "$other"
  printf '[api]\nlisten = "127.0.0.1:0"\n[collector]\nlisten = "127.0.0.1:0"\n'
  python3 tests/scripts/rig.py "$port" binance-usdm
} >"$mnt/tape.toml"
"$bin/tapedeck" config check --config "$mnt/tape.toml"
"$bin/tapedeck" collector --config "$mnt/tape.toml" >"$other/collector.log" 2>&1 & c=$!
sleep "$seconds"
"$bin/tapedeck" status --brief --config "$mnt/tape.toml"
df -h "$mnt" | tail -1
kill -INT $c; wait $c
kill -INT $sim; wait $sim || true
spilled=$("$bin/wal-dump" ls --json "$mnt/data/wal/binance-usdm" | { grep -c '"spilled":"/' || true; })
echo "$spilled segments in the spill directory, $(du -sh "$other/spill" | cut -f1)"
[ "$spilled" -gt 0 ] || { echo "the disk was never full: raise SECONDS or FRAMES_PER_SECOND"; exit 1; }
"$bin/tapedeck" compactor --drain --config "$mnt/tape.toml"
python3 - "$other" <<'E2'
import sys
sys.path.insert(0, "tests/scripts")
import rig
other = sys.argv[1]
bad = rig.books(other, ["binance-usdm"])
for what in ("lost", "gaps"):
    n = sum(len(m[what]) for m in rig.manifests(other))
    print(f"{what}: {n}")
    bad += n
sys.exit(bad != 0)
E2
left=$(find "$other/spill" -type f | wc -l)
echo "left in the spill directory when everything was read: $left"
[ "$left" -le 3 ] || exit 1
echo "the full disk cost nothing"
