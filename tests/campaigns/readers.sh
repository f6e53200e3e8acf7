#!/usr/bin/env bash
# DuckDB, Polars and pyarrow on a lake that has every table: a generated market of many symbols over both venues,
# garbage frames included, once with doubles and once with decimals.
#
# usage: PYTHON=python3 tests/campaigns/readers.sh [SYMBOLS=100] [FRAMES=400000]
# Needs: cargo build --release --workspace, and pip install -r tests/scripts/requirements.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
symbols=${1:-100} frames=${2:-400000} python=${PYTHON:-python3}
bin=target/release
[ -x $bin/tapedeck ] && [ -x $bin/venue-sim ] || { echo "build first: cargo build --release --workspace"; exit 1; }
names=$(for i in $(seq 1 "$symbols"); do printf 'COIN%03dUSDT,' "$i"; done)
for numeric in double decimal; do
  dir=target/campaigns/readers-$numeric
  rm -rf "$dir"; mkdir -p "$dir"
  $bin/venue-sim --generate "${names%,}" --venues binance-spot,binance-usdm --rate 60000 --total "$frames" \
    --fault '[{"do":"garbage","what":"truncated_json","after_frames":500},{"do":"garbage","what":"binary","after_frames":900},{"do":"garbage","what":"unknown_event","after_frames":1000}]' \
    --start first --report "$dir/report.json" >"$dir/sim.json" 2>"$dir/sim.err" &
  sim=$!
  trap 'kill $sim 2>/dev/null || true' EXIT
  until [ -s "$dir/sim.json" ]; do sleep 0.1; done
  $python - "$dir" "$numeric" <<'E2'
import json, sys
dir, numeric = sys.argv[1:]
line = json.loads(open(f"{dir}/sim.json").readline())
text = f'[data]\ndir = "{dir}/data"\n[lake]\nnumeric = "{numeric}"\n'
for venue in ("binance-spot", "binance-usdm"):
    urls = line["venues"][venue]
    channels = ["trades", "agg_trades", "book_ticker", "depth", "depth_snapshot", "tickers", "venue_klines"]
    if venue == "binance-usdm":
        channels += ["mark_price", "liquidations"]
    text += (f'[venues.{venue}]\nsymbols = ["COIN*"]\nchannels = {json.dumps(channels)}\nconnect_stagger_ms = 50\n'
             f'rest_url = "{urls["rest_url"]}"\nws_url = "{urls["ws_url"]}"\n')
open(f"{dir}/tape.toml", "w").write(text)
E2
  $bin/tapedeck collector --config "$dir/tape.toml" 2>"$dir/collector.err" &
  collector=$!
  # Until the market is played and the log is quiet.
  last=-1
  while :; do
    sleep 3
    size=$($bin/wal-dump stat "$dir/data/wal/binance-usdm" 2>/dev/null | awk '/^committed/ {print $2}')
    [ "$size" = "$last" ] && break
    last=$size
  done
  kill -TERM $collector; wait $collector
  $bin/tapedeck compactor --drain --config "$dir/tape.toml"
  kill -TERM $sim; wait $sim || true
  echo "== numeric = $numeric"
  $python tests/scripts/readers.py "$dir/data/lake"
done
