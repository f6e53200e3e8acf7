#!/usr/bin/env bash
# Two downloaders on one Postgres queue (a throw-away server), many times over: with a mirror each and one of them
# killed (only what it had under way comes again); on one mirror, one killed (no byte that had reached the disk comes
# again); on one mirror, one stopped past its leases and woken up (it spoils nothing and counts nothing twice). Every
# round ends with the tree and the manifest of an undisturbed one. Needs initdb and postgres (apt-get install postgresql).
#
# usage: tests/campaigns/history_queue.sh [ROUNDS=20]
set -euo pipefail
cd "$(dirname "$0")/../.."
export TAPEDECK_RUNS=$((${1:-20} * 10))
cargo test --test tests -- --nocapture --test-threads=1 two_downloaders_share_one_postgres of_two_downloaders_on_one_mirror
