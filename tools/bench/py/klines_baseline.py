#!/usr/bin/env python3
"""Candles at seven intervals by DuckDB and Polars: ns per trade over trades that are in memory already.

Run by `tapedeck-bench klines`, which writes the columns (one file of little-endian numbers each) and prints the ratios
in the same run. Two ways each: every interval grouped from the trades, and 1m from the trades with the longer bars
rolled up from it (open of the first, close of the last minute: the way that is cheapest for them). All cores; volumes
in whole units of their last digit, as our own rows have them.

usage: python3 klines_baseline.py DIR      (needs duckdb, polars, numpy, pyarrow)
"""

import json
import os
import sys
import time

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

MINUTE = 60_000_000
DAY = 1440 * MINUTE
INTERVALS = [m * MINUTE for m in (1, 5, 30, 60, 240, 1440, 10080)]
# Weeks open on Mondays: 1970-01-05 was one.
PHASE = {7 * DAY: 4 * DAY}
ROUNDS = 3

TRADES = """
SELECT symbol, ts - (ts - {phase}) % {length} AS open_time, arg_min(price, n) AS open, max(price) AS high,
       min(price) AS low, arg_max(price, n) AS close, sum(amount) AS volume, sum(price * amount) AS quote,
       count(*) AS trades, sum(CASE WHEN buy = 1 THEN amount ELSE 0 END) AS buy_volume,
       sum(CASE WHEN buy = 1 THEN price * amount ELSE 0 END) AS buy_quote
FROM trades GROUP BY ALL
"""

BARS = """
SELECT symbol, open_time - (open_time - {phase}) % {length} AS open_at, arg_min(open, open_time) AS open,
       max(high) AS high, min(low) AS low, arg_max(close, open_time) AS close, sum(volume) AS volume,
       sum(quote) AS quote, sum(trades) AS trades, sum(buy_volume) AS buy_volume, sum(buy_quote) AS buy_quote
FROM m1 GROUP BY ALL
"""


def duck(con, length, source):
    sql = TRADES if source == "trades" else BARS
    return con.sql(sql.format(length=length, phase=PHASE.get(length, 0))).to_arrow_table()


def duck_each(con):
    return [duck(con, length, "trades").num_rows for length in INTERVALS]


def duck_rolled(con):
    m1 = duck(con, MINUTE, "trades")
    con.register("m1", m1)
    return [m1.num_rows] + [duck(con, length, "m1").num_rows for length in INTERVALS[1:]]


def polars_from_trades(df, length):
    p, a, buy = pl.col("price"), pl.col("amount"), pl.col("buy") == 1
    phase = PHASE.get(length, 0)
    return df.lazy().group_by("symbol", (pl.col("ts") - (pl.col("ts") - phase) % length).alias("open_time")).agg(
        open=p.first(), high=p.max(), low=p.min(), close=p.last(), volume=a.sum(), quote=(p * a).sum(), trades=pl.len(),
        buy_volume=a.filter(buy).sum(), buy_quote=(p * a).filter(buy).sum()).collect()


def polars_each(df):
    return [polars_from_trades(df, length).height for length in INTERVALS]


def polars_rolled(df):
    m1 = polars_from_trades(df, MINUTE).sort("open_time")
    t, total = pl.col("open_time"), [pl.col(c).sum() for c in ("volume", "quote", "trades", "buy_volume", "buy_quote")]
    rows = [m1.height]
    for length in INTERVALS[1:]:
        phase = PHASE.get(length, 0)
        rows.append(m1.lazy().group_by("symbol", (t - (t - phase) % length).alias("open_at")).agg(
            pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(), *total
        ).collect().height)
    return rows


def main():
    read = lambda name, kind: np.fromfile(os.path.join(sys.argv[1], name), dtype=kind)
    columns = {"symbol": read("symbol.u32", "<u4"), "ts": read("ts.i64", "<i8"), "price": read("price.i64", "<i8"),
               "amount": read("amount.i64", "<i8"), "buy": read("buy.u8", "u1")}
    n = len(columns["ts"])
    columns["n"] = np.arange(n, dtype="<i8")
    arrow = pa.table(columns)
    con = duckdb.connect()
    con.sql("CREATE TABLE trades AS SELECT * FROM arrow")
    df = pl.from_arrow(arrow)
    counts = set()
    for row, run in [("DuckDB, seven group-bys", lambda: duck_each(con)), ("DuckDB, 1m rolled up", lambda: duck_rolled(con)),
                     ("Polars, seven group-bys", lambda: polars_each(df)), ("Polars, 1m rolled up", lambda: polars_rolled(df))]:
        best = None
        for _ in range(ROUNDS):
            start = time.perf_counter()
            bars = run()
            wall = time.perf_counter() - start
            best = min(best or wall, wall)
        counts.add(tuple(bars))
        print(json.dumps({"row": f"{row}, {os.cpu_count()} cores", "ns_per_trade": best / n * 1e9}), flush=True)
    assert len(counts) == 1, f"different numbers of bars: {counts}"


if __name__ == "__main__":
    main()
