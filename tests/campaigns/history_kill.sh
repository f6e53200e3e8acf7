#!/usr/bin/env bash
# `tapedeck history download` killed (SIGKILL) at random points and started again: same tree, same bytes, no whole file
# asked for again, nothing left over. The suite runs the same test with few kills.
#
# usage: tests/campaigns/history_kill.sh [KILLS=200]
set -euo pipefail
cd "$(dirname "$0")/../.."
TAPEDECK_RUNS=${1:-200} cargo test --test tests -- --nocapture --test-threads=1 killed_download
