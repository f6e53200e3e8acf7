#!/usr/bin/env python3
"""Reads a lake as JSON lines and one as CSV with nothing but the standard library and zstandard, and compares every
row of every table with the Parquet lake of the same log, in the order of the files.

Usage: text_lakes.py PARQUET_LAKE JSONL_LAKE CSV_LAKE
"""
import csv
import datetime
import glob
import io
import json
import os
import sys

import pyarrow.parquet as pq
import zstandard


def text(path):
    with open(path, "rb") as f:
        reader = zstandard.ZstdDecompressor().stream_reader(f)
        return io.TextIOWrapper(reader, encoding="utf-8", newline="").read()


def plain(value):
    """A Parquet value as JSON would say it."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    return value


def same(want, got):
    if want is None or got is None:
        return want is None and got in (None, "")
    if isinstance(want, bool):
        return str(got).lower() == str(want).lower()
    if isinstance(want, float) and isinstance(got, str) and "T" in got:
        return abs(datetime.datetime.fromisoformat(got.replace("Z", "+00:00")).timestamp() - want) < 1e-6
    if isinstance(want, (int, float)):
        return float(got) == float(want)
    return str(got) == str(want)


def main():
    parquet, jsonl, table_csv = sys.argv[1:4]
    files = rows = 0
    for path in sorted(glob.glob(f"{parquet}/*/**/*.parquet", recursive=True)):
        name = os.path.relpath(path, parquet)[: -len(".parquet")]
        want = pq.ParquetFile(path).read().to_pylist()
        # A line ends at "\n" alone: other line separators may stand inside a payload.
        lines = [json.loads(line) for line in text(f"{jsonl}/{name}.jsonl.zst").split("\n") if line]
        cells = list(csv.DictReader(io.StringIO(text(f"{table_csv}/{name}.csv.zst"), newline="")))
        assert len(want) == len(lines) == len(cells), (name, len(want), len(lines), len(cells))
        for w, j, c in zip(want, lines, cells):
            assert set(c) == set(w), (name, set(c) ^ set(w))
            for column, value in w.items():
                value = plain(value)
                assert same(value, j.get(column)), (name, column, value, j.get(column))
                # CSV has one word for nothing and for an empty text.
                assert same(value, c[column] if c[column] != "" or value == "" else None), (name, column, value, c[column])
        files += 1
        rows += len(want)
    assert files, "the Parquet lake is empty"
    sizes = []
    for lake, ending in ((parquet, ".parquet"), (jsonl, ".jsonl.zst"), (table_csv, ".csv.zst")):
        found = glob.glob(f"{lake}/*/**/*{ending}", recursive=True)
        assert len(found) == files, (lake, len(found), files)
        sizes.append(sum(os.path.getsize(f) for f in found))
    print(f"{files} files, {rows} rows equal in all three; bytes: parquet {sizes[0]}, jsonl {sizes[1]}, csv {sizes[2]}")


main()
