#!/usr/bin/env bash
# The kill campaigns at full size: the compactor killed at 200 random instants and at every step of the publish
# sequence, the collector killed 100 times. The suite runs the same tests with few rounds.
#
# usage: tests/campaigns/kill.sh [COMPACTOR_RUNS=200] [COLLECTOR_RUNS=100]
set -euo pipefail
cd "$(dirname "$0")/../.."
TAPEDECK_RUNS=${1:-200} cargo test --test tests -- --nocapture --test-threads=1 killed_compactor
cargo test --test tests -- --nocapture --test-threads=1 every_step_of_publishing
TAPEDECK_RUNS=${2:-100} cargo test --test tests -- --nocapture --test-threads=1 killed_collector
