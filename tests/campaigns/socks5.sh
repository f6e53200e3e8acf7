#!/usr/bin/env bash
# The proxy matrix: {microsocks, Dante, tinyproxy (CONNECT), our own} x {no auth, right, wrong password} x {IPv4, IPv6,
# a name that only the proxy resolves} x {plain, TLS}, REST and WebSocket in every cell, with the real collector.
#
# usage: tests/campaigns/socks5.sh
# Needs root: installs the proxies from Debian, and gives them an /etc/hosts of their own by a private mount.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
command -v microsocks >/dev/null || missing+=(microsocks)
[ -x /usr/sbin/danted ] || missing+=(dante-server)
command -v tinyproxy >/dev/null || missing+=(tinyproxy)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq && apt-get install -y -qq "${missing[@]}"
fi
unshare -m true || { echo "needs the right to mount (root)"; exit 1; }
out=target/campaigns/socks5.out
mkdir -p target/campaigns
TAPEDECK_MATRIX=full cargo test --test tests -- --nocapture --test-threads=1 every_cell_of_the_matrix | tee "$out"
if grep "skipped: Cell" "$out"; then
  echo "cells were skipped: the matrix is not whole"
  exit 1
fi
echo "cells passed: $(grep -c 'passed: Cell' "$out")"
