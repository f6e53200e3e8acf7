#!/usr/bin/env bash
# Fuzzes every parser of bytes from outside: what venues send, log segments, the small files of a log, chunks of
# a log in an object store, configuration, zips and CSVs of the archive.
# Starts from recorded frames and the shipped configurations; keeps what it learns in target/fuzz/corpus. A finding
# ends the run with the input that caused it in target/fuzz/artifacts.
#
# usage: tests/campaigns/fuzz.sh [SECONDS_PER_TARGET=60] [TARGET..]
# Needs: a nightly toolchain, cargo install cargo-fuzz, a C++ compiler.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}; shift || true
targets=("$@"); [ ${#targets[@]} -gt 0 ] || targets=(venue wal_segment wal_files chunk config archive)
root=$PWD/target/fuzz
mkdir -p "$root/artifacts" "$root"/corpus/{venue,wal_segment,wal_files,chunk,config,archive}
# The versions of the workspace.
[ -f tests/fuzz/Cargo.lock ] || cp Cargo.lock tests/fuzz/Cargo.lock
TAPEDECK_FUZZ_SEEDS=$root/corpus/venue cargo test -q -p tapedeck-venue --lib seeds_for_the_fuzzer >/dev/null
cp config/*.toml "$root/corpus/config/"
segment=$root/corpus/wal_segment
# Records (kind, flags, payload length, step of seq, connection, reserved, payload) and changes (offset u16, byte).
printf '\x01\x01\x00\x05\x01\x01\x00hello\x06\x00\x00\x01\x00\x00\x0b\x00\x08\x01\x01\x00\x02\x00\x00\x00{}[]' >"$segment/records"
printf '\x01\x01\x00\x02\x01\x01\x00ab\x09\x00\x00\x02\x00\x00\x0a\x00\x18\x01\x00\x00%024d' 0 >"$segment/sealed"
printf '\x02\x00\x10\x01\x20\x10\x80' >"$segment/changed"
printf '\x00TDSEG\r\n\x1a' >"$segment/raw"
{ printf '\x00'; cat tests/data/chunks/v1.tdc; } >"$root/corpus/chunk/kept"
printf '\x01\x01\x01\x03\x01\x01\x00\x00\x00\x00\x00' >"$root/corpus/chunk/body"
printf '\x001,100.5,0.25,3,5,1723075200000,true\n2,100.5,0.25,6,8,1723075200010,false\n' >"$root/corpus/archive/agg"
printf '\x021723075200000,1,2,0.5,1.5,9,1723075259999,8,7,6,5,0\n' >"$root/corpus/archive/bar"
# The logs of the targets belong in memory.
TMPDIR=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)"); export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
status=0
for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  out=$root/$target.out
  cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir "$root" "$target" "$root/corpus/$target" -- \
    -max_total_time="$seconds" -max_len=70000 -len_control=20 -timeout=10 -rss_limit_mb=3000 -print_final_stats=1 \
    -artifact_prefix="$root/artifacts/$target-" >"$out" 2>&1 || { tail -40 "$out"; status=1; }
  grep -E "^stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)|^Done" "$out" || true
done
exit $status
