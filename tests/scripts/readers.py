#!/usr/bin/env python3
"""Reads every table of a lake with DuckDB, Polars and pyarrow, without options, and compares what they see. Where files
of several versions of the schema lie side by side, with the option of each reader that fills nulls.

Usage: readers.py LAKE_DIR

For every table: row count, and for every column count of non-null values, minimum and maximum, and for numbers the
sum. Then, on the largest table with many symbols, shows what share of a row group's pages one symbol needs.
"""
import datetime
import decimal
import glob
import math
import os
import sys

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq


def tables(lake):
    for name in sorted(os.listdir(lake)):
        if not name.startswith((".", "_")) and glob.glob(f"{lake}/{name}/**/*.parquet", recursive=True):
            yield name


def norm(v):
    if isinstance(v, datetime.datetime):
        return v.astimezone(datetime.timezone.utc).replace(tzinfo=None) if v.tzinfo else v
    if isinstance(v, (bytes, bytearray, memoryview)):
        return bytes(v)
    if isinstance(v, decimal.Decimal):
        return v.normalize()
    return v


def same(a, b):
    a, b = norm(a), norm(b)
    if isinstance(a, float) or isinstance(b, float):
        return a == b or (a is not None and b is not None and math.isclose(float(a), float(b), rel_tol=1e-9))
    return a == b


def schemas(lake, table):
    """The different schemas of the files of a table."""
    found = []
    for path in sorted(glob.glob(f"{lake}/{table}/**/*.parquet", recursive=True)):
        schema = pq.ParquetFile(path).schema_arrow.remove_metadata()
        if schema not in found:
            found.append(schema)
    return found


def by_duckdb(lake, table, numbers, columns, mixed):
    src = f"read_parquet('{lake}/{table}/**/*.parquet', hive_partitioning = true{', union_by_name = true' if mixed else ''})"
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    out = {"rows": con.execute(f"SELECT count(*) FROM {src}").fetchone()[0]}
    out["exchanges"] = sorted(r[0] for r in con.execute(f"SELECT DISTINCT exchange FROM {src}").fetchall())
    for c in columns:
        total = f", sum({c})" if c in numbers else ", NULL"
        out[c] = con.execute(f'SELECT count({c}), min({c}), max({c}){total} FROM {src}').fetchone()
    return out


def by_polars(lake, table, numbers, columns, mixed):
    paths = f"{lake}/{table}/**/*.parquet"
    each = sorted(glob.glob(paths, recursive=True)) if mixed else [paths]
    df = pl.concat([pl.read_parquet(path, hive_partitioning=True) for path in each], how="diagonal")
    out = {"rows": df.height, "exchanges": sorted(df["exchange"].unique().to_list())}
    for c in columns:
        s = df[c]
        lo, hi = (None, None) if s.null_count() == s.len() else (s.min(), s.max())
        if s.dtype == pl.Binary:
            lo, hi = (min(s.drop_nulls().to_list()), max(s.drop_nulls().to_list())) if s.len() > s.null_count() else (None, None)
        out[c] = (s.len() - s.null_count(), lo, hi, s.sum() if c in numbers and s.null_count() < s.len() else None)
    return out


def by_pyarrow(lake, table, numbers, columns, mixed):
    dataset = ds.dataset(f"{lake}/{table}", format="parquet", partitioning="hive")
    if mixed:
        dataset = dataset.replace_schema(pa.unify_schemas([dataset.schema.remove_metadata(), *mixed]))
    t = dataset.to_table()
    out = {"rows": t.num_rows, "exchanges": sorted(pc.unique(t["exchange"]).to_pylist())}
    for c in columns:
        col = t[c]
        count = len(col) - col.null_count
        if count == 0:
            out[c] = (0, None, None, None)
            continue
        if pa.types.is_binary(col.type):
            values = [v for v in col.to_pylist() if v is not None]
            out[c] = (count, min(values), max(values), None)
            continue
        if pa.types.is_boolean(col.type):
            values = [v for v in col.to_pylist() if v is not None]
            out[c] = (count, min(values), max(values), None)
            continue
        mm = pc.min_max(col)
        out[c] = (count, mm["min"].as_py(), mm["max"].as_py(), pc.sum(col).as_py() if c in numbers else None)
    return out


def pruning(lake):
    """Share of data pages that hold the least frequent of many symbols, from the page index itself."""
    best = None
    for path in glob.glob(f"{lake}/*/**/*.parquet", recursive=True):
        f = pq.ParquetFile(path)
        if "symbol" in f.schema_arrow.names and f.metadata.num_rows > (best[1] if best else 0):
            symbols = f.read(columns=["symbol"])["symbol"].unique()
            if len(symbols) >= 20:
                best = (path, f.metadata.num_rows, symbols.to_pylist())
    if best is None:
        return "pruning: no table with 20 or more symbols in this lake"
    path, rows, symbols = best
    symbol = sorted(symbols)[len(symbols) // 2]
    con = duckdb.connect()
    con.execute("CREATE TABLE probe AS SELECT * FROM read_parquet(?) WHERE symbol = ?", [path, symbol])
    got = con.execute("SELECT count(*) FROM probe").fetchone()[0]
    f = pq.ParquetFile(path)
    groups = [f.metadata.row_group(g).column(f.schema_arrow.names.index("symbol")).statistics for g in range(f.metadata.num_row_groups)]
    hit = sum(1 for s in groups if s is None or not s.has_min_max or s.min <= symbol <= s.max)
    return f"pruning: {os.path.basename(path)}: {rows} rows, {len(symbols)} symbols; {symbol} has {got} rows; {hit} of {len(groups)} row groups may hold it"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    lake = sys.argv[1]
    wrong = 0
    for table in tables(lake):
        found = schemas(lake, table)
        schema = pa.unify_schemas(found)
        mixed = found if len(found) > 1 else []
        columns = schema.names
        numbers = {
            f.name for f in schema
            if pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_decimal(f.type)
        } - {"seq", "ts_recv_ns"}  # their sums overflow 64 bits in some readers
        seen = {
            "duckdb": by_duckdb(lake, table, numbers, columns, mixed),
            "polars": by_polars(lake, table, numbers, columns, mixed),
            "pyarrow": by_pyarrow(lake, table, numbers, columns, mixed),
        }
        bad = []
        for key in seen["pyarrow"]:
            a = seen["pyarrow"][key]
            for reader in ("duckdb", "polars"):
                b = seen[reader][key]
                equal = all(same(x, y) for x, y in zip(a, b)) if isinstance(a, tuple) else a == b
                if not equal:
                    bad.append(f"{key}: pyarrow {a} {reader} {b}")
        print(f"{table:14} {seen['pyarrow']['rows']:>10} rows, {len(columns)} columns: {'agree' if not bad else 'DIFFERENT'}")
        for line in bad:
            print("   ", line)
        wrong += bool(bad)
    print(pruning(lake))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
