#!/usr/bin/env python3
"""NDJSON trades to Parquet with DuckDB, Polars, pyarrow and ClickHouse: rows per second of CPU time, bytes per row.

The NDJSON comes from the compact benchmark (TAPEDECK_BENCH_NDJSON). Each tool parses it and writes the columns
of table `trades` with zstd 3 and row groups of 131,072 rows, on one thread, in arrival order and sorted by symbol
inside the file. Prints one JSON line per tool: the inputs of the ratios in the README.

usage: python3 compact_baseline.py trades.ndjson      (needs duckdb, polars, pyarrow; chdb if there)
"""

import json
import os
import sys
import tempfile
import time

os.environ["POLARS_MAX_THREADS"] = "1"

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

try:
    import chdb
except ImportError:
    chdb = None

GROUP = 131_072
ROUNDS = 3

DUCK = """
COPY (
  SELECT s AS symbol, make_timestamp(event_ms * 1000) AS ts_event,
         make_timestamp(ts_recv_ns // 1000) AS ts_recv, ts_recv_ns, seq,
         0::INT AS row_in_frame, conn, 0::INT AS flags, id, NULL::VARCHAR AS id_str,
         p::DOUBLE AS price, q::DOUBLE AS amount, CASE WHEN m THEN 'sell' ELSE 'buy' END AS side,
         make_timestamp(trade_ms * 1000) AS ts_trade, NULL::VARCHAR AS type
  FROM read_ndjson('{src}', columns = {{ts_recv_ns: 'BIGINT', seq: 'BIGINT', conn: 'INT', event_ms: 'BIGINT',
       s: 'VARCHAR', id: 'BIGINT', p: 'VARCHAR', q: 'VARCHAR', trade_ms: 'BIGINT', m: 'BOOLEAN'}})
  {order}
) TO '{dst}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE {group})
"""


def duck(src, dst, by_symbol):
    con = duckdb.connect()
    con.sql("SET threads = 1")
    con.sql("SET preserve_insertion_order = true")
    order = "ORDER BY symbol, seq" if by_symbol else ""
    con.sql(DUCK.format(src=src, dst=dst, order=order, group=GROUP))
    con.close()


def polars(src, dst, by_symbol):
    schema = {"ts_recv_ns": pl.Int64, "seq": pl.Int64, "conn": pl.Int32, "event_ms": pl.Int64, "s": pl.String,
              "id": pl.Int64, "p": pl.String, "q": pl.String, "trade_ms": pl.Int64, "m": pl.Boolean}
    col, us = pl.col, pl.Datetime("us", "UTC")
    t = pl.read_ndjson(src, schema=schema).select(
        symbol=col("s"), ts_event=(col("event_ms") * 1000).cast(us), ts_recv=(col("ts_recv_ns") // 1000).cast(us),
        ts_recv_ns=col("ts_recv_ns"), seq=col("seq"), row_in_frame=pl.lit(0, pl.Int32), conn=col("conn"),
        flags=pl.lit(0, pl.Int32), id=col("id"), id_str=pl.lit(None, pl.String), price=col("p").cast(pl.Float64),
        amount=col("q").cast(pl.Float64), side=pl.when(col("m")).then(pl.lit("sell")).otherwise(pl.lit("buy")),
        ts_trade=(col("trade_ms") * 1000).cast(us), type=pl.lit(None, pl.String),
    )
    if by_symbol:
        t = t.sort("symbol", "seq")
    t.write_parquet(dst, compression="zstd", compression_level=3, row_group_size=GROUP)


def arrow(src, dst, by_symbol):
    schema = pa.schema([("ts_recv_ns", pa.int64()), ("seq", pa.int64()), ("conn", pa.int32()),
                        ("event_ms", pa.int64()), ("s", pa.string()), ("id", pa.int64()), ("p", pa.string()),
                        ("q", pa.string()), ("trade_ms", pa.int64()), ("m", pa.bool_())])
    t = pj.read_json(src, read_options=pj.ReadOptions(use_threads=False, block_size=1 << 24),
                     parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"))
    us = pa.timestamp("us", "UTC")
    zero = pa.repeat(pa.scalar(0, pa.int32()), t.num_rows)
    none = pa.nulls(t.num_rows, pa.string())
    out = pa.table({
        "symbol": t["s"], "ts_event": pc.multiply(t["event_ms"], 1000).cast(us),
        "ts_recv": pc.divide(t["ts_recv_ns"], 1000).cast(us), "ts_recv_ns": t["ts_recv_ns"], "seq": t["seq"],
        "row_in_frame": zero, "conn": t["conn"], "flags": zero, "id": t["id"], "id_str": none,
        "price": t["p"].cast(pa.float64()), "amount": t["q"].cast(pa.float64()),
        "side": pc.if_else(t["m"], "sell", "buy"), "ts_trade": pc.multiply(t["trade_ms"], 1000).cast(us),
        "type": none,
    })
    if by_symbol:
        out = out.sort_by([("symbol", "ascending"), ("seq", "ascending")])
    pq.write_table(out, dst, compression="zstd", compression_level=3, row_group_size=GROUP)


CLICKHOUSE = """
SELECT s AS symbol, fromUnixTimestamp64Milli(event_ms) AS ts_event,
       fromUnixTimestamp64Micro(intDiv(ts_recv_ns, 1000)) AS ts_recv, ts_recv_ns, seq, toInt32(0) AS row_in_frame, conn,
       toInt32(0) AS flags, id, CAST(NULL, 'Nullable(String)') AS id_str, toFloat64(p) AS price, toFloat64(q) AS amount,
       if(m, 'sell', 'buy') AS side, fromUnixTimestamp64Milli(trade_ms) AS ts_trade,
       CAST(NULL, 'Nullable(String)') AS type
FROM file('{src}', 'JSONEachRow', 'ts_recv_ns Int64, seq Int64, conn Int32, event_ms Int64, s String, id Int64, p String, q String, trade_ms Int64, m Bool')
{order}
INTO OUTFILE '{dst}' TRUNCATE FORMAT Parquet
SETTINGS max_threads = 1, input_format_parallel_parsing = 0, output_format_parquet_compression_method = 'zstd',
         output_format_parquet_row_group_size = {group}, output_format_parallel_formatting = 0
"""


def clickhouse(src, dst, by_symbol):
    """ClickHouse local, as the Python package chdb has it inside."""
    order = "ORDER BY symbol, seq" if by_symbol else ""
    chdb.query(CLICKHOUSE.format(src=os.path.abspath(src), dst=dst, order=order, group=GROUP))


def main():
    src = sys.argv[1]
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with open(src, "rb") as f:
        rows = sum(1 for _ in f)
    tools = [("duckdb", duck), ("polars", polars), ("pyarrow", arrow)]
    if chdb:
        tools.append(("clickhouse local (chdb)", clickhouse))
    for name, run in tools:
        for by_symbol in (False, True):
            best = None
            with tempfile.TemporaryDirectory() as tmp:
                dst = os.path.join(tmp, "out.parquet")
                for _ in range(ROUNDS):
                    cpu, wall = time.process_time(), time.perf_counter()
                    run(src, dst, by_symbol)
                    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                    best = min(best or (cpu, wall), (cpu, wall))
                size = os.path.getsize(dst)
                assert pq.read_metadata(dst).num_rows == rows
            print(json.dumps({
                "tool": name, "sorted_by_symbol": by_symbol, "rows": rows,
                "m_rows_per_s_core": round(rows / best[0] / 1e6, 3), "wall_s": round(best[1], 3),
                "bytes_per_row": round(size / rows, 2),
            }), flush=True)


if __name__ == "__main__":
    main()
