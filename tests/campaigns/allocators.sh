#!/usr/bin/env bash
# Which allocator: one simulator, and for every allocator a collector and a compactor of their own that receive the same
# frames at the same time for hours. The binaries must be built without jemalloc, which nothing can be put before; then
# they use the C library's, and others are put before that (LD_PRELOAD), jemalloc as .cargo/config.toml sets it too.
# Prints own memory (least, most, end), processor time and the regression of each.
#
# usage: tests/campaigns/allocators.sh [SECONDS=6000] [FRAMES_PER_SECOND=3000] [SYMBOLS=150]
# Needs: cargo build --release -p tapedeck -p venue-sim --no-default-features; python3 with numpy; libjemalloc2 and libmimalloc2.0 (Debian). Writes below
# target/campaigns/allocators. From the environment: BIN, DIR, LIBRARIES (where the two are; Debian's place).
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-6000} rate=${2:-3000} symbols=${3:-150}
bin=${BIN:-target/release} dir=${DIR:-target/campaigns/allocators} libraries=${LIBRARIES:-/usr/lib/$(uname -m)-linux-gnu}
[ -x "$bin/tapedeck" ] && [ -x "$bin/venue-sim" ] || { echo "build first: cargo build --release --workspace"; exit 1; }
! grep -q jemalloc_bg_thd "$bin/tapedeck" || { echo "$bin/tapedeck is built with jemalloc: build it with --no-default-features"; exit 1; }
rm -rf "$dir"; mkdir -p "$dir"
venues="binance-usdm kucoin-spot gate-spot"
names=$(python3 -c 'import sys; print(",".join(f"SYM{i:03}_USDT" for i in range(int(sys.argv[1]))))' "$symbols")
"$bin/venue-sim" --generate "$names" --venues "${venues// /,}" --rate "$rate" --channels trades,book_ticker,depth --no-extra-symbols \
  --listen 127.0.0.1:0 >"$dir/sim.out" 2>"$dir/sim.err" &
sim=$! running=()
trap 'kill $sim "${running[@]}" 2>/dev/null || true' EXIT
for _ in $(seq 100); do port=$(grep -oE '127\.0\.0\.1:[0-9]+' "$dir/sim.out" "$dir/sim.err" | head -1 | sed 's/.*://') && [ -n "$port" ] && break; sleep 0.2; done
[ -n "${port:-}" ] || { cat "$dir/sim.err"; exit 1; }
samplers=()
stack() { # name, then what stands before the program: VARIABLE=value
  local name=$1 at="$dir/$1"
  shift
  mkdir -p "$at"
  {
    echo "[data]"; echo "dir = \"$(realpath "$at")/data\""
    printf '[api]\nlisten = "127.0.0.1:0"\n[collector]\nlisten = "127.0.0.1:0"\n[lake]\nack_interval_s = 60\n[klines]\nflush_interval_s = 5\n'
    python3 tests/scripts/rig.py "$port" $venues
  } >"$at/tape.toml"
  env "$@" "$bin/tapedeck" collector --config "$at/tape.toml" >"$at/collector.log" 2>&1 & local c=$!
  env "$@" "$bin/tapedeck" compactor --config "$at/tape.toml" >"$at/compactor.log" 2>&1 & local k=$!
  running+=($c $k)
  python3 tests/scripts/soak_sample.py "$at" "$seconds" $c $k & samplers+=($!)
}
stack glibc MALLOC_CHECK_=
stack glibc-two-arenas MALLOC_ARENA_MAX=2
stack jemalloc LD_PRELOAD="$libraries/libjemalloc.so.2"
stack jemalloc-as-set LD_PRELOAD="$libraries/libjemalloc.so.2" MALLOC_CONF="$(sed -n 's/^JEMALLOC_SYS_WITH_MALLOC_CONF = "\(.*\)"$/\1/p' .cargo/config.toml)"
stack mimalloc LD_PRELOAD="$libraries/libmimalloc.so.2"
for s in "${samplers[@]}"; do wait "$s"; done
ticks=$(getconf CLK_TCK) i=0
for name in glibc glibc-two-arenas jemalloc jemalloc-as-set mimalloc; do
  echo "== $name"
  for who in collector compactor; do
    awk -v who=$who -v t="$ticks" '{printf "%s: %.1f s of processor time\n", who, ($14 + $15) / t}' "/proc/${running[$i]}/stat"; i=$((i + 1))
  done
  python3 tests/scripts/soak_check.py --memory "$dir/$name/samples"
done
kill -INT "${running[@]}"; wait "${running[@]}" || true
