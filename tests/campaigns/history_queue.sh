#!/usr/bin/env bash
# Two downloaders on one Postgres queue (a throw-away server), one of them killed, many times: nothing is lost, only
# what the killed one had under way comes again. Needs initdb and postgres (apt-get install postgresql).
#
# usage: tests/campaigns/history_queue.sh [ROUNDS=20]
set -euo pipefail
cd "$(dirname "$0")/../.."
TAPEDECK_RUNS=$((${1:-20} * 10)) cargo test --test tests -- --nocapture --test-threads=1 two_downloaders
