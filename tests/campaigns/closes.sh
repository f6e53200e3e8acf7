#!/usr/bin/env bash
# Connections closed at random points, 500 in all: abrupt ends of the only line, announced ends, and abrupt ends of
# one of two lines. Nothing is there twice, and every missing id is told and (trades) repaired. The suite runs the same
# tests with a few closes.
#
# usage: tests/campaigns/closes.sh [BY_ID=150] [BY_TIME=50] [ANNOUNCED=150] [TWO_LINES=150]
set -euo pipefail
cd "$(dirname "$0")/../.."
one() {
  TAPEDECK_RUNS=$2 cargo test --test tests -- --nocapture --test-threads=1 --exact "lake::gaps_repaired::$1"
}
one an_abrupt_end_of_the_only_line_is_told_and_repaired_by_id "${1:-150}"
one an_abrupt_end_of_the_only_line_is_told_and_repaired_by_time "${2:-50}"
one an_announced_end_leaves_no_id_missing_and_none_twice "${3:-150}"
one with_two_lines_an_abrupt_end_of_one_costs_nothing "${4:-150}"
