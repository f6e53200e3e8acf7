#!/usr/bin/env bash
# `tapedeck history` against moto, an S3-compatible server from PyPI, in a virtual environment of its own.
#
# usage: tests/campaigns/history_s3.sh [FOLDER=a temporary one]
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${1:-$(mktemp -d)}
[ -x "$venv/bin/moto_server" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q 'moto[server]'; }
TAPEDECK_MOTO="$venv/bin/moto_server" cargo test --test tests -- --nocapture an_s3_server_of_others
