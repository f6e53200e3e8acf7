#!/usr/bin/env bash
# 1,024 streams of every venue with all repairs, beginnings of candles, nightly comparisons and `klines backfill` at once, against
# the simulator that enforces: no ban, no throttle, and the weight of every exchange stays below what it documents. Prints
# the figures. The suite runs the same test with a few streams for some seconds.
#
# usage: tests/campaigns/weights.sh [STREAMS=1024] [SECONDS=300]
set -euo pipefail
cd "$(dirname "$0")/../.."
TAPEDECK_STREAMS=${1:-1024} TAPEDECK_SECONDS=${2:-300} cargo test --test tests -- --nocapture --test-threads=1 capture::weights::
