#!/usr/bin/env python3
"""Counts what the recordings hold, independently of Tapedeck, and compares with a lake that the demo made.

Usage: demo_counts.py DATA_DIR [RECORDINGS_DIR]

DATA_DIR is what `tapedeck demo --once --data-dir DATA_DIR` wrote. Every number is computed from the recordings
with Python's own json module; nothing of Tapedeck is used but the Parquet files it published.
"""
import glob
import json
import os
import sys

import pyarrow.parquet as pq
import zstandard

FILES = {
    "binance-spot": ["hft-btcusdt_20240808.zst", "hft-btcusdt_20240809.zst"],
    "binance-usdm": ["hft-btcusdt_20240808.zst", "hft-ethusdt_20240808.zst"],
}


def expected(root, venue):
    rows = {"trades": 0, "book_ticker": 0, "depth": 0}
    amounts = {"trades": 0.0}
    frames = 0
    for name in FILES[venue]:
        path = os.path.join(root, venue, name)
        with open(path, "rb") as raw:
            text = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw).read().decode()
        for line in text.splitlines():
            _, _, frame = line.partition(" ")
            if not frame:
                continue
            message = json.loads(frame)
            if "stream" not in message:
                continue  # the recorder's own REST snapshot, not a WebSocket frame
            frames += 1
            kind = message["stream"].split("@")[1]
            data = message["data"]
            if kind == "trade":
                rows["trades"] += 1
                amounts["trades"] += float(data["q"])
            elif kind == "bookTicker":
                rows["book_ticker"] += 1
            elif kind == "depth":
                rows["depth"] += len(data["b"]) + len(data["a"])
            else:
                sys.exit(f"{path}: unexpected stream {message['stream']}")
    return frames, rows, amounts


def lake(data, venue, table):
    rows = 0
    snapshot_rows = 0
    amount = 0.0
    for path in glob.glob(f"{data}/lake/{table}/exchange={venue}/**/*.parquet", recursive=True):
        columns = {"depth": ["is_snapshot"], "trades": ["amount"]}.get(table, ["seq"])
        t = pq.ParquetFile(path).read(columns=columns)
        rows += t.num_rows
        if table == "depth":
            snapshot_rows += sum(1 for v in t.column(0).to_pylist() if v)
        if table == "trades":
            amount += sum(t.column(0).to_pylist())
    return rows, snapshot_rows, amount


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    data = sys.argv[1]
    root = sys.argv[2] if len(sys.argv) == 3 else os.path.join(os.path.dirname(__file__), "..", "data")
    wrong = 0
    for venue in FILES:
        if not os.path.isdir(f"{data}/wal/{venue}"):
            continue
        frames, want, amounts = expected(root, venue)
        print(f"{venue}: {frames} frames recorded")
        for table, count in want.items():
            got, snapshot, amount = lake(data, venue, table)
            ok = got - snapshot == count
            extra = f" (and {snapshot} rows of REST snapshots)" if snapshot else ""
            if table == "trades":
                same = abs(amount - amounts["trades"]) < 1e-6 * max(1.0, amounts["trades"])
                ok = ok and same
                extra = f", sum(amount) {amount:.6f} against {amounts['trades']:.6f}"
            print(f"  {table:12} recordings {count:>9}  lake {got - snapshot:>9}{extra}  {'equal' if ok else 'DIFFERENT'}")
            wrong += not ok
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
