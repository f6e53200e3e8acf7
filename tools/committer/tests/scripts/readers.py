#!/usr/bin/env python3
"""Four engines read the tables of a catalog, and each must give exactly the rows of the lake's files.

    readers.py S3_ENDPOINT CATALOG_URI KEY SECRET NAMESPACE LAKE [TABLE ...]

LAKE is a directory or s3://bucket/prefix. Prints a line an engine and table, ends with 1 when any differs."""

import os
import sys

os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as fs
import pyarrow.parquet as pq

endpoint, uri, key, secret, namespace, lake, *tables = sys.argv[1:]
tables = tables or ["trades", "book_ticker"]
host = endpoint.split("://")[1]

if lake.startswith("s3://"):
    store = fs.S3FileSystem(access_key=key, secret_key=secret, endpoint_override=host, scheme="http", region="us-east-1")
    root = lake[5:]
else:
    store, root = fs.LocalFileSystem(), lake


def plain(value):
    # ClickHouse has one type for text and bytes.
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value.timestamp() if hasattr(value, "timestamp") else value


def rows(table, names):
    """Its rows, in an order of their own, whatever types the engine has."""
    out = []
    for row in table.to_pylist():
        out.append(tuple(plain(row.get(n)) for n in names))
    return sorted(out, key=repr)


def expected(table):
    found = store.get_file_info(fs.FileSelector(f"{root}/{table}", recursive=True))
    parts = []
    for info in found:
        if info.type == fs.FileType.File and info.path.endswith(".parquet"):
            t = pq.ParquetFile(store.open_input_file(info.path)).read()
            venue = info.path.split("exchange=")[1].split("/")[0]
            names = t.column_names
            t = t.append_column("exchange", pa.array([venue] * len(t), pa.string()))
            parts.append(t)
    return pa.concat_tables(parts, promote_options="permissive") if parts else None


def duckdb():
    import duckdb as d
    from duckdb_extensions import import_extension

    for name in ["httpfs", "avro", "iceberg"]:
        import_extension(name)
    con = d.connect()
    for name in ["httpfs", "avro", "iceberg"]:
        con.execute(f"LOAD {name}")
    con.execute(f"CREATE SECRET s (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', USE_SSL false, "
                "URL_STYLE 'path', REGION 'us-east-1')")
    con.execute(f"CREATE SECRET i (TYPE iceberg, CLIENT_ID '{key}', CLIENT_SECRET '{secret}', "
                f"OAUTH2_SERVER_URI '{uri}/v1/oauth/tokens')")
    con.execute(f"ATTACH 'warehouse' AS c (TYPE iceberg, SECRET i, ENDPOINT '{uri}')")
    con.execute("SET TimeZone='UTC'")
    return lambda table: con.execute(f"SELECT * FROM c.{namespace}.{table}").to_arrow_table()


def catalog():
    from pyiceberg.catalog import load_catalog

    return load_catalog("c", type="rest", uri=uri, credential=f"{key}:{secret}", warehouse="warehouse",
                        **{"s3.endpoint": endpoint, "s3.access-key-id": key, "s3.secret-access-key": secret,
                           "s3.region": "us-east-1", "oauth2-server-uri": f"{uri}/v1/oauth/tokens"})


def pyiceberg():
    c = catalog()
    return lambda table: c.load_table(f"{namespace}.{table}").scan().to_arrow()


def polars():
    import polars as pl

    c = catalog()
    options = {"aws_endpoint_url": endpoint, "aws_access_key_id": key, "aws_secret_access_key": secret,
               "aws_region": "us-east-1", "aws_allow_http": "true"}
    return lambda table: pl.scan_iceberg(c.load_table(f"{namespace}.{table}"), storage_options=options).collect().to_arrow()


def clickhouse():
    from chdb import session

    c = catalog()
    s = session.Session()

    def read(table):
        at = c.load_table(f"{namespace}.{table}").location().replace("s3://", f"{endpoint}/")
        return s.query(f"SELECT * FROM icebergS3('{at}/', '{key}', '{secret}') "
                       "SETTINGS session_timezone='UTC', schema_inference_make_columns_nullable=1", "ArrowTable")

    return read


bad = 0
want = {table: expected(table) for table in tables}
engines = [duckdb, pyiceberg, polars]
if lake.startswith("s3://"):
    engines.append(clickhouse)
else:
    # It looks for every file in the store of the table's metadata.
    print("clickhouse: left out, the lake is in a directory and the table in a store")
for engine in engines:
    try:
        read = engine()
    except Exception as err:
        print(f"{engine.__name__}: does not start: {err!r}"[:600])
        bad += 1
        continue
    for table in tables:
        try:
            got = read(table)
        except Exception as err:
            print(f"{engine.__name__} {table}: {err!r}"[:900])
            bad += 1
            continue
        names = sorted(want[table].column_names)
        a, b = rows(want[table], names), rows(got, names)
        if a == b:
            print(f"{engine.__name__} {table}: {len(b)} rows, all as in the lake")
            continue
        bad += 1
        print(f"{engine.__name__} {table}: {len(b)} rows, the lake has {len(a)}")
        for column in names:
            x, y = rows(want[table], [column]), rows(got, [column])
            if x != y:
                first = [(p, q) for p, q in zip(x, y) if p != q][:2]
                print(f"  {column} differs: lake, engine = {first}")
sys.exit(1 if bad else 0)
