#!/usr/bin/env bash
# Every fault of the list, applied to the data of the real services: files damaged, foreign, missing, doubled and
# restored; every system call's errors, once and lasting; a kill at every step; a panic of every task; clocks that jump.
# The suite applies a share of them that its seed chooses; this applies all. One line for each that does harm, and totals.
#
# usage: tests/campaigns/faults.sh [TEXT: only faults whose name contains it, with all that the services say]
# Needs: strace and cc for some of them.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ $# -gt 0 ]; then export TAPEDECK_FAULT=$1; else export TAPEDECK_FAULTS=all; fi
cargo test --test tests any_fault -- --nocapture --test-threads 1
