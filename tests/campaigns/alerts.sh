#!/usr/bin/env bash
# The real Prometheus scrapes the real services, loads config/prometheus/alerts.yml, and each alert that can be provoked
# within minutes fires when it is provoked and not before. Waits are shortened in a copy of the rules: `for`, the
# windows of rates and a few thresholds, all printed; the expressions are the shipped ones. What takes hours
# (SyncErrors, DiskFullSoon, NothingPublished, MemoryGrows) is left to `promtool test rules`, which the suite runs.
#
# usage: tests/campaigns/alerts.sh
# Needs: prometheus (Debian's package), python3; root for the memory alerts (a cgroup) and the disk alerts (a tmpfs),
# which are skipped with a message otherwise. BIN=target/debug runs other binaries than target/release.
# Writes below target/campaigns/alerts; takes about five minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BIN:-target/release}
[ -x "$bin/tapedeck" ] && [ -x "$bin/venue-sim" ] || { echo "build first: cargo build --release --workspace"; exit 1; }
command -v prometheus >/dev/null || { echo "skipped: prometheus is not here (apt-get install prometheus)"; exit 0; }
dir=target/campaigns/alerts
rm -rf "$dir"; mkdir -p "$dir"
exec python3 tests/scripts/alerts.py "$bin" "$dir"
