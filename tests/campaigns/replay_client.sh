#!/usr/bin/env bash
# A client that others wrote on last Tuesday: python-binance, pointed at the replay server by base URLs alone.
#
# usage: [PYTHON=python3] [VENV=dir] [BIN=target/release] tests/campaigns/replay_client.sh
# Records the demo's Binance venues once, at twenty times their pace, serves that recording with `tapedeck replay --serve`, and drives
# tests/scripts/replay_client.py against it.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} bin=${BIN:-target/release}
[ -x "$bin/tapedeck" ] || { echo "build first: cargo build --release, or name the directory by BIN="; exit 1; }
dir=target/campaigns/replay_client
rm -rf "$dir/data"; mkdir -p "$dir"
if [ -z "${VENV:-}" ]; then
  VENV=$dir/venv
  [ -x "$VENV/bin/python" ] || "$python" -m venv "$VENV"
  "$VENV/bin/pip" install -q -r tests/scripts/clients/requirements.txt
fi
"$bin/tapedeck" demo --once --rate 20x --venues binance-spot,binance-usdm --data-dir "$dir/data" >"$dir/demo.out" 2>"$dir/demo.err"
config=$(find "$dir/data" -maxdepth 1 -name '*.toml' | head -1)
"$bin/tapedeck" replay --config "$config" --serve 127.0.0.1:0 --speed 1 --loop >"$dir/serve.out" 2>"$dir/serve.err" &
server=$!
trap 'kill -INT $server 2>/dev/null || true; wait $server 2>/dev/null || true' EXIT
for _ in $(seq 200); do
  base=$(grep -o 'http://[0-9.:]*' "$dir/serve.out" | head -1 || true)
  [ -n "$base" ] && break
  sleep 0.1
done
"$VENV/bin/python" tests/scripts/replay_client.py "$base"
