#!/usr/bin/env bash
# Fourteen clients of the exchange that others wrote, pointed at Tapedeck by base URL alone: every public market-data method of each,
# over REST, streams and the WebSocket API, right or refused with a reason, never silently wrong.
#
# usage: [PYTHON=python3] [BIN=target/release] [CLIENTS="ccxt ccxt-js"] tests/campaigns/clients.sh
# Installs the clients from PyPI and npm, starts simulated exchanges, a collector and a compactor, waits until there are enough candles and
# trades, and runs tests/scripts/clients/drive.py and drive.mjs through recorder.py, which compares each answer with the simulator's own.
# Prints a table; the calls are in target/campaigns/clients/table.jsonl. Needs: cargo build --release --workspace, node and npm.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} bin=${BIN:-target/release}
[ -x "$bin/tapedeck" ] && [ -x "$bin/venue-sim" ] || { echo "build first: cargo build --release --workspace, or name the directory by BIN="; exit 1; }
dir=$PWD/target/campaigns/clients scripts=$PWD/tests/scripts/clients
rm -rf "$dir/data" "$dir/table.jsonl"; mkdir -p "$dir/node"
for env in "" -connectors; do
  [ -x "$dir/venv$env/bin/python" ] || "$python" -m venv "$dir/venv$env"
  "$dir/venv$env/bin/pip" install -q -r "$scripts/requirements$env.txt"
done
cp "$scripts/package.json" "$dir/node/"
(cd "$dir/node" && npm install --no-audit --no-fund --loglevel=error)

read -r sim api collector recorder < <("$python" - <<'P'
import socket
held = [socket.socket() for _ in range(4)]
for s in held: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
P
)
venue() {
  echo "[venues.$1]"
  echo 'symbols = ["BTCUSDT", "ETHUSDT"]'
  echo "channels = [\"$2\"]"
  echo "rest_url = \"http://127.0.0.1:$sim/$1\""
  echo "ws_url = \"ws://127.0.0.1:$sim/$1\""
}
{
  echo "[data]"; echo "dir = \"$dir/data\""
  echo "[api]"; echo "listen = \"127.0.0.1:$api\""; echo "weight_per_minute = 1000000"
  echo "[collector]"; echo "listen = \"127.0.0.1:$collector\""
  venue binance-spot trades; venue binance-usdm agg_trades
} >"$dir/tapedeck.toml"
started=()
end() { for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done; wait || true; }
trap end EXIT
start() { local out=$1; shift; "$@" >"$dir/$out.out" 2>"$dir/$out.err" & started+=($!); }
start sim "$bin/venue-sim" --generate BTCUSDT,ETHUSDT --venues binance-spot,binance-usdm --channels trades,agg_trades --rate "${RATE:-150}" --listen "127.0.0.1:$sim"
sleep 1
start compactor "$bin/tapedeck" compactor --config "$dir/tapedeck.toml"
start collector "$bin/tapedeck" collector --config "$dir/tapedeck.toml"
# Trades of more than what is kept, so that ranges can begin before it.
echo "recording for a while"
for _ in $(seq 600); do
  "$python" - "http://127.0.0.1:$api" 2>/dev/null <<'P' && break
import json, sys, urllib.request
get = lambda p: json.load(urllib.request.urlopen(sys.argv[1] + p, timeout=2))
whole = [len(get(f"/{p}/aggTrades?symbol={s}&limit=1000")) == 1000 for p in ("api/v3", "fapi/v1") for s in ("BTCUSDT", "ETHUSDT")]
bars = [len(get(f"/{p}/klines?symbol=BTCUSDT&interval=1m")) > 2 for p in ("api/v3", "fapi/v1")]
sys.exit(0 if all(whole + bars) else 1)
P
  sleep 0.5
done
start recorder "$dir/venv/bin/python" "$scripts/recorder.py" "$recorder" "http://127.0.0.1:$api" "http://127.0.0.1:$sim" "$dir/table.jsonl"
for _ in $(seq 100); do grep -q ready "$dir/recorder.out" && break; sleep 0.1; done

all="python-binance binance-connector binance-futures-connector binance-sdk-spot binance-sdk-usds-futures unicorn-binance-rest-api unicorn-binance-websocket-api \
ccxt ccxt.pro ccxt-js @binance/spot @binance/derivatives-trading-usds-futures node-binance-api binance-api-node"
for client in ${CLIENTS:-$all}; do
  case $client in
    *-connector) run=("$dir/venv-connectors/bin/python" "$scripts/drive.py") ;;
    ccxt-js | @* | node-* | *-node) run=(env "NODE_DIR=$dir/node" node "$scripts/drive.mjs") ;;
    *) run=("$dir/venv/bin/python" "$scripts/drive.py") ;;
  esac
  # A client that ends badly is a line of the table, not the end of the others.
  timeout 900 "${run[@]}" "$client" "http://127.0.0.1:$recorder" "http://127.0.0.1:$api" || echo "{\"client\":\"$client\",\"call\":\"(the driver)\",\"verdict\":\"WRONG\",\"why\":\"it ended badly\"}" >>"$dir/table.jsonl"
done
"$python" "$scripts/table.py" "$dir/table.jsonl"
