#!/usr/bin/env bash
# Memory of collector and compactor during a long play: samples RSS, prints a table and the slope after warm-up.
#
# usage: tests/campaigns/memory.sh [SECONDS=600] [FRAMES_PER_SECOND=50000]
# Needs: cargo build --release --workspace. Writes below target/campaigns/memory.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-600} rate=${2:-50000}
bin=target/release/tapedeck
[ -x "$bin" ] || { echo "build first: cargo build --release --workspace"; exit 1; }
dir=target/campaigns/memory
rm -rf "$dir"; mkdir -p "$(dirname "$dir")"
"$bin" demo --duration "$seconds" --rate "$rate" --data-dir "$dir" >"$dir.out" 2>"$dir.err" &
demo=$!
trap 'kill -INT $demo 2>/dev/null || true' INT TERM
echo "second collector_kib compactor_kib" >"$dir.rss"
start=$(date +%s)
while kill -0 "$demo" 2>/dev/null; do
  # The demo's children: found by their arguments, which name this run's own configuration file.
  c=$(pgrep -f "tapedeck collector --config .*$dir/demo.toml" | head -1 || true)
  k=$(pgrep -f "tapedeck compactor --config .*$dir/demo.toml" | head -1 || true)
  if [ -n "$c" ] && [ -n "$k" ]; then
    rc=$(awk '/^RssAnon|^RssShmem/ {s+=$2} END {print s+0}' "/proc/$c/status" 2>/dev/null || echo)
    fc=$(awk '/^VmRSS/ {print $2}' "/proc/$c/status" 2>/dev/null || echo)
    rk=$(awk '/^RssAnon|^RssShmem/ {s+=$2} END {print s+0}' "/proc/$k/status" 2>/dev/null || echo)
    fk=$(awk '/^VmRSS/ {print $2}' "/proc/$k/status" 2>/dev/null || echo)
    [ -n "$rc" ] && [ -n "$rk" ] && echo "$(($(date +%s) - start)) $rc $rk $fc $fk" >>"$dir.rss"
  fi
  sleep 1
done
wait "$demo" || { tail -20 "$dir.err"; exit 1; }
cat "$dir.out"
python3 - "$dir.rss" <<'E2'
import sys
rows = [list(map(int, l.split())) for l in open(sys.argv[1]).read().splitlines()[1:]]
if len(rows) < 20:
    sys.exit("too few samples")
print("\nsecond   collector own  (with mapped log)   compactor own  (with mapped log)   MiB")
step = max(1, len(rows) // 15)
for r in rows[::step]:
    print(f"{r[0]:6}   {r[1]/1024:13.1f}  ({r[3]/1024:15.1f})   {r[2]/1024:13.1f}  ({r[4]/1024:15.1f})")
half = rows[len(rows) // 3:]
for name, col in (("collector own", 1), ("collector RSS", 3), ("compactor own", 2), ("compactor RSS", 4)):
    n = len(half); mx = sum(r[0] for r in half) / n; my = sum(r[col] for r in half) / n
    slope = sum((r[0] - mx) * (r[col] - my) for r in half) / sum((r[0] - mx) ** 2 for r in half)
    print(f"{name}: min {min(r[col] for r in half)/1024:.1f} max {max(r[col] for r in half)/1024:.1f} MiB, slope {slope*60/1024:+.3f} MiB per minute after warm-up")
E2
