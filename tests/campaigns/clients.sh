#!/usr/bin/env bash
# Clients of the exchange that others wrote, pointed at Tapedeck by base URL alone: python-binance and ccxt.
#
# usage: [PYTHON=python3] [BIN=target/release] tests/campaigns/clients.sh
# Makes a virtual environment, installs both from PyPI, runs the demo (simulated exchanges, collector, compactor) and
# drives tests/scripts/binance_clients.py against it. Needs: cargo build --release
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} bin=${BIN:-target/release}
[ -x "$bin/tapedeck" ] || { echo "build first: cargo build --release, or name the directory by BIN="; exit 1; }
dir=target/campaigns/clients
rm -rf "$dir/data"; mkdir -p "$dir"
if [ -z "${VENV:-}" ]; then
  VENV=$dir/venv
  [ -x "$VENV/bin/python" ] || "$python" -m venv "$VENV"
  "$VENV/bin/pip" install -q -r tests/scripts/requirements-clients.txt
fi
"$bin/tapedeck" demo --duration 600 --venues binance-spot,binance-usdm --data-dir "$dir/data" >"$dir/demo.out" 2>"$dir/demo.err" &
demo=$!
trap 'kill -INT $demo 2>/dev/null || true; wait $demo 2>/dev/null || true' EXIT
base=
for _ in $(seq 300); do
  base=$(grep -o 'http://[0-9.:]*' "$dir/demo.err" | head -1 || true)
  # Candles of a few minutes' worth of trades, not only the first.
  if [ -n "$base" ] && "$VENV/bin/python" - "$base" 2>/dev/null <<'E2'
import json, sys, urllib.request
get = lambda p: json.load(urllib.request.urlopen(sys.argv[1] + p, timeout=2))
ok = all(len(get(f"/{p}/klines?symbol=BTCUSDT&interval=1m")) > 1 for p in ("api/v3", "fapi/v1"))
sys.exit(0 if ok else 1)
E2
  then break; fi
  sleep 0.5
done
"$VENV/bin/python" tests/scripts/binance_clients.py "$base"
