#!/usr/bin/env python3
"""Judges a soak: every id between the first and the last of a symbol is there, or told as missing; memory is flat.

Usage: soak_check.py DIR      (DIR is what tests/campaigns/soak.sh wrote; needs pyarrow for the rows)

The ids come from the published Parquet files, the explanations from the events and manifests; nothing of Tapedeck runs.
"""
import collections
import glob
import json
import sys

import pyarrow.parquet as pq

IDS = {"trades": "id", "agg_trades": "agg_id"}
# KuCoin's trades have no ids that count.
UNCOUNTED = {"kucoin-spot", "kucoin-futures"}


def rows(lake, table, venue, columns):
    for path in glob.glob(f"{lake}/{table}/exchange={venue}/**/*.parquet", recursive=True):
        yield from pq.ParquetFile(path).read(columns=columns).to_pylist()


def main():
    dir = sys.argv[1]
    lake = f"{dir}/data/lake"
    manifests = [json.load(open(p)) for p in glob.glob(f"{lake}/_manifests/**/*.json", recursive=True)]
    report = json.load(open(f"{dir}/report.json"))
    bad = 0
    for venue in sorted({m["venue"] for m in manifests}):
        mine = [m for m in manifests if m["venue"] == venue]
        frames = sum(m["frames"] for m in mine)
        kept = sum(sum(c["undecodable"] for c in m["channels"].values()) for m in mine)
        lost = sum(len(m["lost"]) for m in mine)
        duplicates = sum(sum(m["duplicates"].values()) for m in mine)
        closes = len(report["venues"].get(venue, {}).get("closes", []))
        line = f"{venue:17} {frames:>10} frames, {kept} undecodable, {lost} lost, {closes} closes, {duplicates} repeats removed"
        for table, column in IDS.items():
            if venue in UNCOUNTED:
                continue
            seen = collections.defaultdict(list)
            for r in rows(lake, table, venue, ["symbol", column]):
                if r[column] is not None:
                    seen[r["symbol"]].append(r[column])
            told = collections.defaultdict(set)
            for m in mine:
                for g in m["gaps"]:
                    if g["channel"] == table and g["to_id"] - g["from_id"] < 5_000_000:
                        told[g["symbol"]].update(range(g["from_id"], g["to_id"] + 1))
            there = missing = twice = unexplained = repaired = 0
            for symbol, ids in seen.items():
                unique = set(ids)
                there += len(unique)
                twice += len(ids) - len(unique)
                gone = set(range(min(unique), max(unique) + 1)) - unique
                missing += len(gone)
                unexplained += len(gone - told[symbol])
                repaired += len(told[symbol] & unique)
            if there:
                line += f"\n    {table}: {there} ids there, {repaired} of told holes repaired, {missing} missing, {unexplained} unexplained, {twice} twice"
                bad += unexplained + twice
        bad += lost
        print(line)
    samples = [list(map(int, l.split())) for l in open(f"{dir}/rss").read().splitlines()[1:]]
    later = samples[len(samples) // 3 :]
    for name, col in (("collector own", 1), ("compactor own", 2), ("collector RSS with the mapped log", 3), ("compactor RSS", 4)):
        n = len(later)
        mx, my = sum(r[0] for r in later) / n, sum(r[col] for r in later) / n
        slope = sum((r[0] - mx) * (r[col] - my) for r in later) / max(1, sum((r[0] - mx) ** 2 for r in later))
        print(f"{name}: {min(r[col] for r in later)/1024:.1f} to {max(r[col] for r in later)/1024:.1f} MiB, slope {slope*60/1024:+.3f} MiB per minute")
    print("zero unexplained ids" if not bad else f"{bad} ids unexplained, twice, or records lost")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
