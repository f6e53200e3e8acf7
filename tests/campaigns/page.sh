#!/usr/bin/env bash
# The page in headless Chromium with all eight venues, and screenshots at 1280 and 400 px, dark and light.
# Usage: tests/campaigns/page.sh [DIRECTORY FOR SCREENSHOTS]. Needs node, npm and chromium.
set -euo pipefail
cd "$(dirname "$0")/../.."
shots=${1:-target/page-shots}
TAPEDECK_PAGE=on cargo build -p tapedeck
# Types are checked here alone: the bundler only strips them.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r src/api/page/app/. "$work"
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund && npx --yes -p typescript@5 tsc -p .)
node tests/scripts/page.mjs target/debug/tapedeck --full --shots "$shots"
