#!/usr/bin/env python3
"""A model of 10, 100 and 1,000 venues, from what one machine was measured to do: cores, bytes, requests, files, money, and
what breaks first. Prints the tables of docs/growth.md.

    tools/growth.py            prints them
    tools/growth.py --write    puts them into docs/growth.md
    tools/growth.py --check    exit code 1 when docs/growth.md has others

Every number that a table is computed from stands in one of the two lists below with where it is from. Change one and
look at what it does."""

import pathlib
import sys

DOC = pathlib.Path(__file__).resolve().parent.parent / "docs" / "growth.md"
BEGIN, END = "<!-- tools/growth.py -->\n", "<!-- end of tools/growth.py -->"

# Measured. (value, unit, where from)
MEASURED = {
    "collect_us": (7.3, "us of a core a frame", "collector, paced, sockets and TLS included"),
    "rows_core": (2.0e6, "rows/s of a core", "compactor, log of spot to published Parquet (`tapedeck-bench endtoend`)"),
    "rows_frame": (5.3, "rows a frame", "159 M rows of 30 M frames, all channels (`campaigns/memory.sh`)"),
    "row_bytes": (4.9, "B a row", "Parquet with zstd 3, the same run"),
    "record_bytes": (232.0, "B a frame", "log record with its header, all channels"),
    "ship_us": (0.6, "us of a core a frame", "shipper: reading the log and packing at zstd 1 (`tapedeck-bench ship`), without the PUT"),
    "chunk_ratio": (8.0, ": 1", "the same: 9.2 spot, 7.9 USD-M"),
    "tables": (11, "tables", "a venue's parts of an hour"),
}
# Assumed: change them to what you know.
ASSUMED = {
    "frames": (3_000.0, "frames/s", "of a venue on average, all its symbols"),
    "peak": (10.0, "times", "the busiest seconds of a year against the average"),
    "chunk_s": (1.0, "s", "`[ship] chunk_s`"),
    "part_hours": (1.0, "h", "`[lake] part_minutes`"),
    "packed": (25.0, "logs", "of one collector machine, were their chunks packed into one object (not built)"),
    "storage_usd": (23.0, "USD a TB and month", "object store, list price"),
    "put_usd": (5.0, "USD a million", "PUT requests, list price"),
    "keep_days": (30.0, "days", "lake and chunks that are kept"),
    "core_frames": (0.5, "of a core", "what may be used on average of a collector's core, so that the peak fits with queues"),
    "venues_address": (8.0, "venues", "whose limits one exit address serves with all their symbols"),
}
N = {name: value for name, (value, _, _) in {**MEASURED, **ASSUMED}.items()}
DAY_S = 86_400


def figures(venues):
    frames = venues * N["frames"]
    rows = frames * N["rows_frame"]
    lake_day = rows * N["row_bytes"] * DAY_S
    log_day = frames * N["record_bytes"] * DAY_S
    chunks_day = log_day / N["chunk_ratio"]
    puts_day = venues * DAY_S / N["chunk_s"]
    files_day = venues * N["tables"] * 24 / N["part_hours"]
    month = N["keep_days"] / 1e12 * N["storage_usd"]
    return {
        "frames/s on average": count(frames),
        "frames/s at the peak": count(frames * N["peak"]),
        "collector: cores on average, at the peak": pair(frames * N["collect_us"] / 1e6, N["peak"]),
        "compactor: cores on average, at the peak": pair(rows / N["rows_core"], N["peak"]),
        "shipper: cores on average, at the peak": pair(frames * N["ship_us"] / 1e6, N["peak"]),
        "log a day": size(log_day),
        "the same as chunks": size(chunks_day),
        "lake a day": size(lake_day),
        "disk for an hour of log at the peak": size(log_day / 24 * N["peak"]),
        "Parquet files a day": count(files_day),
        "files of a year, unmerged": count(files_day * 365),
        "snapshots a day, one committer": count(N["tables"] * 24),
        "PUTs a day: parts, chunks": f"{count(files_day)}, {count(puts_day)}",
        "PUTs a day, USD": money(puts_day * N["put_usd"] / 1e6),
        "the same with packed chunks, USD (not built)": money(puts_day / N["packed"] * N["put_usd"] / 1e6),
        "kept for a month, lake + chunks, USD a month": f"{money(lake_day * month)} + {money(chunks_day * month)}",
        "exit addresses": count(-(-venues // N["venues_address"])),
    }


def count(value):
    for unit, by in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if value >= by:
            return f"{value / by:.3g}{unit}"
    return f"{value:.3g}"


def size(value):
    for unit, by in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if value >= by:
            return f"{value / by:.2g} {unit}" if value / by < 10 else f"{value / by:.0f} {unit}"
    return f"{value / 1e6:.0f} MB"


def pair(mean, times):
    return f"{mean:.2g}, {mean * times:.2g}" if mean * times < 100 else f"{mean:.0f}, {mean * times:.0f}"


def money(value):
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def limits():
    """What breaks first: at how many venues each thing reaches what is bearable, on small hosts of 2 cores."""
    frames_host = 2 * N["core_frames"] * 1e6 / N["collect_us"]
    rows_venue = N["frames"] * N["rows_frame"]
    yield ("one address's limits", N["venues_address"], "connects, subscriptions and weights of the venues", "`[venues.<venue>] proxy_url`: more exit addresses")
    yield ("a collector of 2 cores", frames_host / N["frames"], "half of a core on average, so that ten times that still fits in queues", "fewer venues a collector; `symbols`, `channels`")
    yield ("a disk of 1 TB under the log", 1e12 / (N["frames"] * N["record_bytes"] * N["peak"] * 3_600 * 2), "two hours at the peak", "`[lake] part_minutes`, `[wal] spill_dirs`")
    yield ("a compactor of 2 cores", 2 * N["rows_core"] / (rows_venue * N["peak"]), "at the peak, without falling behind", "more compactors, each with its own `[source.<venue>]`")
    yield ("requests", 10.0 / (DAY_S / N["chunk_s"] * N["put_usd"] / 1e6), "10 USD a day for chunks of 1 s", "`[ship] chunk_s`")
    yield ("files", 1e6 / (N["tables"] * 24 / N["part_hours"] * 365), "a million a year: planning and listing take seconds", "`tapedeck-committer` merges manifests; fewer venues or tables a lake")
    yield ("a committer", 3_600 / (N["tables"] * 0.05), "an hour's parts are listed and appended within the hour, 50 ms a file", "one committer a catalog; more catalogs")


def text():
    out = ["| | 10 venues | 100 | 1,000 |", "|---|---|---|---|"]
    columns = [figures(v) for v in (10, 100, 1_000)]
    out += [f"| {name} | " + " | ".join(c[name] for c in columns) + " |" for name in columns[0]]
    out += ["", "What breaks first:", "", "| What | at about this many venues | because | the setting that moves it |", "|---|---|---|---|"]
    out += [f"| {what} | {count(at)} | {why} | {key} |" for what, at, why, key in sorted(limits(), key=lambda x: x[1])]
    for title, numbers in (("Measured:", MEASURED), ("Assumed:", ASSUMED)):
        out += ["", title, "", "| | | |", "|---|---|---|"]
        out += [f"| `{name}` | {value:,.10g} {unit} | {where} |" for name, (value, unit, where) in numbers.items()]
    return "\n".join(out) + "\n"


def main(how):
    if how is None:
        print(text(), end="")
        return 0
    doc = DOC.read_text()
    head, rest = doc.split(BEGIN)
    new = head + BEGIN + text() + END + rest.split(END)[1]
    if how == "--write":
        DOC.write_text(new)
    elif new != doc:
        print("docs/growth.md is stale: tools/growth.py --write", file=sys.stderr)
        return 1
    return 0


sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
