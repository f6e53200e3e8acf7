#!/usr/bin/env bash
# The compactor killed at 200 random instants while its candles work off the logs of three venues (late trades, holes,
# repairs, two connections, a restarted collector), and at every step of a checkpoint: candles, symbols, positions and
# the memory of the feeds are in the end those of an undisturbed run. Then the same on Postgres, where it is installed.
#
# usage: [TAPEDECK_SEED=n] tests/campaigns/candle_kill.sh [RUNS=200] [RUNS_ON_POSTGRES=40]
set -euo pipefail
cd "$(dirname "$0")/../.."
run() { nice cargo test --test tests -- --nocapture --test-threads=1 "$@"; }
TAPEDECK_RUNS=${1:-200} run killed_compactor_stores_the_candles
run every_step_of_a_checkpoint
TAPEDECK_RUNS=${2:-40} run killed_compactor_stores_the_same
