#!/usr/bin/env bash
# Kills `tapedeck history clean` at random moments, runs it to its end, compares names and bytes of the whole lake.
# The suite does it 10 times; here as often as said (default 200).
#   tests/campaigns/history_clean_kill.sh [runs]
set -eu
cd "$(dirname "$0")/../.."
TAPEDECK_RUNS="${1:-200}" cargo test -p tapedeck --test tests a_clean_that_is_killed_anywhere -- --nocapture
