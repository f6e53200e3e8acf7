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
    "binance-spot": ["binance-spot/hft-btcusdt_20240808.zst", "binance-spot/hft-btcusdt_20240809.zst"],
    # Its frames are made of the recorded JSON ones.
    "binance-spot-sbe": ["binance-spot/hft-btcusdt_20240809.zst"],
    "binance-usdm": ["binance-usdm/hft-btcusdt_20240808.zst", "binance-usdm/hft-ethusdt_20240808.zst"],
    "kucoin-spot": ["kucoin-spot/cryptofeed-KUCOIN.ws.1.0.symbols-A.zst"],
    "gate-spot": ["gate-spot/cryptofeed-GATEIO.ws.1.0.symbols-A.zst"],
    "gate-futures": ["gate-futures/cryptofeed-GATEIO_FUTURES.ws.1.0.symbols-A.zst"],
}


def cryptofeed(text, rows, amounts):
    """Frames of KuCoin and Gate that the demo subscribes; returns how many."""
    frames = 0
    for line in text.splitlines():
        at = line.find(": {")
        if at < 0 or "<-" in line[:at]:
            continue
        message = json.loads(line[at + 2 :])
        topic, data = message.get("topic", ""), message.get("data")
        if message.get("type") == "message" and not topic.startswith("/market/ticker"):
            frames += 1
            if topic.startswith("/market/match"):
                rows["trades"] += 1
                amounts["trades"] += float(data["size"])
            elif topic.startswith("/market/level2"):
                changes = data["changes"]
                # A price of 0 only moves the sequence on.
                rows["depth"] += sum(1 for side in ("bids", "asks") for level in changes[side] if float(level[0]) != 0)
            elif topic.startswith("/market/candles"):
                rows["venue_klines"] += 1
            else:
                sys.exit(f"unexpected topic {topic}")
        elif message.get("event") == "update":
            channel, result = message["channel"].split(".")[1], message["result"]
            frames += 1
            if channel == "trades":
                rows["trades"] += 1
                amounts["trades"] += float(result["amount"])
            elif channel == "order_book_update":
                rows["depth"] += len(result.get("b") or []) + len(result.get("a") or [])
            elif channel == "book_ticker":
                rows["book_ticker"] += 1
            elif channel == "tickers":
                rows["tickers"] += 1
            elif channel == "candlesticks":
                rows["venue_klines"] += 1
            else:
                sys.exit(f"unexpected channel {message['channel']}")
    return frames


def expected(root, venue):
    rows = {"trades": 0, "book_ticker": 0, "depth": 0, "tickers": 0, "venue_klines": 0}
    amounts = {"trades": 0.0}
    frames = 0
    for name in FILES[venue]:
        path = os.path.join(root, name)
        with open(path, "rb") as raw:
            text = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw).read().decode()
        if "cryptofeed" in name:
            frames += cryptofeed(text, rows, amounts)
            continue
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
