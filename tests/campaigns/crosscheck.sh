#!/usr/bin/env bash
# Every pair of recorded trades and official candles through the real binaries: simulator, collector, log, compactor,
# REST. Prints each candle with `equal` or `DIFFERENT`; nine fields as text. The suite runs the same tests with fewer
# prefixes of the recording that has its candles in it.
#
# usage: tests/campaigns/crosscheck.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
TAPEDECK_RUNS=100 cargo test --test tests -- --nocapture --test-threads=1 klines::crosscheck
