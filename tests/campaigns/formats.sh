#!/usr/bin/env bash
# The same log as Parquet, JSON lines and CSV, and every row of the text lakes read back by Python's json and csv.
#
# usage: PYTHON=python3 tests/campaigns/formats.sh [FRAMES=60000] [BIN=target/release]
# Needs: cargo build --release --workspace (or BIN=target/debug), and pip install -r tests/scripts/requirements.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
frames=${1:-60000} bin=${2:-target/release} python=${PYTHON:-python3}
[ -x "$bin/tapedeck" ] && [ -x "$bin/venue-sim" ] || { echo "build first: cargo build --workspace"; exit 1; }
dir=target/campaigns/formats
rm -rf "$dir"; mkdir -p "$dir"
"$bin/venue-sim" --generate BTCUSDT,ETHUSDT,SOLUSDT --venues binance-spot --rate 20000 --total "$frames" \
  --fault '[{"do":"garbage","what":"truncated_json","after_frames":500},{"do":"garbage","what":"binary","after_frames":900}]' \
  --start first --report "$dir/report.json" >"$dir/sim.json" 2>"$dir/sim.err" &
sim=$!
trap 'kill $sim 2>/dev/null || true' EXIT
until [ -s "$dir/sim.json" ]; do sleep 0.1; done
config() {
  $python - "$dir" "$1" <<'E2'
import json, sys
dir, format = sys.argv[1:]
urls = json.loads(open(f"{dir}/sim.json").readline())["venues"]["binance-spot"]
channels = ["trades", "agg_trades", "book_ticker", "depth", "depth_snapshot", "tickers"]
open(f"{dir}/{format}.toml", "w").write(
    f'[data]\ndir = "{dir}/data"\n[wal]\nretention_hours = 8760\n[klines.source]\nbinance-spot = "none"\n'
    f'[lake]\nformat = "{format}"\ndir = "{dir}/lake-{format}"\n'
    f'[venues.binance-spot]\nsymbols = ["*"]\nchannels = {json.dumps(channels)}\nconnect_stagger_ms = 50\n'
    f'rest_url = "{urls["rest_url"]}"\nws_url = "{urls["ws_url"]}"\n')
E2
}
for format in parquet jsonl csv; do config $format; done
"$bin/tapedeck" collector --config "$dir/parquet.toml" 2>"$dir/collector.err" &
collector=$!
last=-1
while :; do
  sleep 3
  size=$("$bin/wal-dump" stat "$dir/data/wal/binance-spot" 2>/dev/null | awk '/^committed/ {print $2}')
  [ -n "$size" ] && [ "$size" = "$last" ] && break
  last=$size
done
kill -TERM $collector; wait $collector
for format in parquet jsonl csv; do
  # Each lake begins at the beginning of the log.
  rm -rf "$dir/data/wal/binance-spot/acks"
  "$bin/tapedeck" compactor --drain --config "$dir/$format.toml"
  "$bin/tapedeck" replay --verify --config "$dir/$format.toml" | tail -1
done
$python tests/scripts/text_lakes.py "$dir/lake-parquet" "$dir/lake-jsonl" "$dir/lake-csv"
