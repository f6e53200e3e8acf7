#!/usr/bin/env bash
# All seven venues at a mixed rate with faults on: connections end at random (announced, closed, cut, in the middle of
# a frame), on one line and on two. At the end every missing id must be told, memory must be flat.
#
# usage: tests/campaigns/soak.sh [SECONDS=1800] [FRAMES_PER_SECOND=30000] [CLOSES_PER_VENUE=60]
# From the environment: VENUES (all seven; a list with blanks), SYMBOLS (25 on each venue), STREAMS (on a connection, 40),
# ARCHIVE (none; with zstd the whole recording stays, and is replayed and compared at the end), BIN, DIR.
# The long one of issue 6: SYMBOLS=450 VENUES="binance-usdm kucoin-spot gate-spot" STREAMS=200 ARCHIVE=zstd soak.sh 6600 9000 20
# Needs: cargo build --release --workspace; python3 with pyarrow and numpy. Writes below target/campaigns/soak.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-1800} rate=${2:-30000} closes=${3:-60}
bin=${BIN:-target/release}
[ -x $bin/tapedeck ] && [ -x $bin/venue-sim ] || { echo "build first: cargo build --release --workspace"; exit 1; }
dir=${DIR:-target/campaigns/soak}
rm -rf "$dir"; mkdir -p "$dir"
read -ra venues <<<"${VENUES:-binance-spot binance-spot-sbe binance-usdm kucoin-spot kucoin-futures gate-spot gate-futures}"
joined=$(IFS=,; echo "${venues[*]}")
symbols=$(python3 -c 'import sys; print(",".join(f"SYM{i:02}_USDT" for i in range(int(sys.argv[1]) - 1)) + ",币安人生_USDT")' "${SYMBOLS:-25}")
over=$(((seconds - 60) * 1000))
[ "$over" -gt 0 ] || over=$((seconds * 500))
faults=$(python3 - "$closes" "$over" "${venues[@]}" <<'E2'
import json, sys
closes, over = int(sys.argv[1]), int(sys.argv[2])
print(json.dumps([{"do": "random_closes", "venue": v, "count": closes, "over_ms": over, "notice_share": 0.3,
                   "notice_ms": 3000, "seed": 7 + i, "after_ms": 20000} for i, v in enumerate(sys.argv[3:])]))
E2
)
"$bin/venue-sim" --generate "$symbols" --venues "$joined" --rate "$rate" --start settled --settle-ms 4000 \
  --channels trades,agg_trades,book_ticker,depth,mark_price,liquidations --no-extra-symbols --listen 127.0.0.1:0 \
  --fault "$faults" --report "$dir/report.json" >"$dir/sim.out" 2>"$dir/sim.err" &
sim=$!
trap 'kill $sim ${c:-} ${k:-} 2>/dev/null || true' EXIT
for _ in $(seq 100); do port=$(grep -oE '127\.0\.0\.1:[0-9]+' "$dir/sim.out" "$dir/sim.err" | head -1 | sed 's/.*://') && [ -n "$port" ] && break; sleep 0.2; done
[ -n "${port:-}" ] || { cat "$dir/sim.err"; exit 1; }
python3 - "$dir" "$port" "${ARCHIVE:-none}" "${STREAMS:-40}" "${venues[@]}" <<'E2'
import os, sys
sys.path.insert(0, "tests/scripts")
import rig
dir, port, archive, streams, venues = os.path.abspath(sys.argv[1]), *sys.argv[2:5], sys.argv[5:]
text = f'[data]\ndir = "{dir}/data"\n[wal]\narchive = "{archive}"\n[api]\nlisten = "127.0.0.1:0"\n[collector]\nlisten = "127.0.0.1:0"\n[lake]\nack_interval_s = 60\n[klines]\nflush_interval_s = 5\n'
for i, v in enumerate(venues):
    channels = ["trades", "book_ticker", "depth", "depth_snapshot"]
    if v in ("binance-spot", "binance-usdm"): channels.append("agg_trades")
    if v == "binance-usdm": channels += ["mark_price", "liquidations"]
    # Every other venue on two lines.
    text += rig.venues(port, [v], channels=channels, connect_stagger_ms=50, streams_per_connection=int(streams), lines=1 + i % 2)
open(f"{dir}/soak.toml", "w").write(text)
E2
export CAMPAIGN_KEY=any
"$bin/tapedeck" collector --config "$dir/soak.toml" >"$dir/collector.log" 2>&1 & c=$!
"$bin/tapedeck" compactor --config "$dir/soak.toml" >"$dir/compactor.log" 2>&1 & k=$!
python3 tests/scripts/soak_sample.py "$dir" "$seconds" $c $k || { tail -5 "$dir"/*.log; exit 1; }
"$bin/tapedeck" status --brief --config "$dir/soak.toml" >"$dir/status.txt" 2>&1 || true
kill -INT $c; wait $c
sleep 20 # repairs of the last holes
kill -INT $k; wait $k
kill -INT $sim; wait $sim || true
"$bin/tapedeck" compactor --drain --config "$dir/soak.toml" >>"$dir/compactor.log" 2>&1
trap - EXIT
if [ "${ARCHIVE:-none}" != none ]; then "$bin/tapedeck" replay --verify --config "$dir/soak.toml" | tail -12; fi
python3 tests/scripts/soak_check.py "$dir"
