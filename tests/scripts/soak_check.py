#!/usr/bin/env python3
"""Judges a soak: every id between the first and the last of a symbol is there, or told as missing; memory is flat.

Usage: soak_check.py DIR | --memory SAMPLES      (DIR is what tests/campaigns/soak.sh wrote; needs pyarrow and numpy)

The ids come from the published Parquet files, the explanations from the events and manifests; nothing of Tapedeck runs.
"""
import collections
import glob
import json
import sys

import numpy as np
import pyarrow.parquet as pq

IDS = {"trades": "id", "agg_trades": "agg_id"}
# KuCoin's trades have no ids that count.
UNCOUNTED = {"kucoin-spot", "kucoin-futures"}


def ids(lake, table, venue, column):
    """All published ids of each symbol, as one array each."""
    seen = collections.defaultdict(list)
    for path in glob.glob(f"{lake}/{table}/exchange={venue}/**/*.parquet", recursive=True):
        read = pq.ParquetFile(path).read(columns=["symbol", column]).drop_null().combine_chunks()
        coded = read["symbol"].combine_chunks().cast("string").dictionary_encode()
        codes, found = coded.indices.to_numpy(), read[column].to_numpy()
        order = np.argsort(codes, kind="stable")
        cuts = np.searchsorted(codes[order], np.arange(len(coded.dictionary) + 1))
        for name, a, b in zip(coded.dictionary.to_pylist(), cuts, cuts[1:]):
            seen[name].append(found[order[a:b]])
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def steady(path):
    """Prints the regression of every column over the last two thirds: slope an hour with its 95 % interval.

    Neighbouring samples are alike, so the line is laid through the means of fifteen equal spans.
    """
    lines = open(path).read().split("\n")
    names, table = lines[0].split(), np.array([l.split() for l in lines[1:] if l], float)
    later = table[len(table) // 3 :]
    for at, name in enumerate(names[1:], 1):
        y = later[:, at] / (1024 if name.endswith(("own", "rss", "kib")) else 1)
        unit = "MiB" if name.endswith(("own", "rss", "kib")) else ""
        n = min(15, len(y))
        my, mx = (np.array([s.mean() for s in np.array_split(v, n)]) for v in (y, later[:, 0] / 3600))
        d = mx - mx.mean()
        slope = (d * my).sum() / (d * d).sum()
        rest = my - my.mean() - slope * d
        # Student's t for 13 degrees of freedom.
        wide = 2.16 * np.sqrt((rest**2).sum() / max(1, n - 2) / (d * d).sum())
        told = "constant" if y.min() == y.max() else "zero is within" if abs(slope) <= wide else "ZERO IS OUTSIDE"
        print(f"{name:18} {y.min():8.1f} to {y.max():8.1f} {unit:3}, slope {slope:+8.2f} +- {wide:.2f} {unit} an hour: {told}")


def main():
    if sys.argv[1] == "--memory":
        return steady(sys.argv[2])
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
            seen = ids(lake, table, venue, column)
            told = collections.defaultdict(set)
            for m in mine:
                for g in m["gaps"]:
                    if g["channel"] == table and g["to_id"] - g["from_id"] < 5_000_000:
                        told[g["symbol"]].update(range(g["from_id"], g["to_id"] + 1))
            there = missing = twice = unexplained = repaired = 0
            for symbol, found in seen.items():
                unique = np.unique(found)
                there += len(unique)
                twice += len(found) - len(unique)
                holes = unique[:-1][np.diff(unique) > 1], unique[1:][np.diff(unique) > 1]
                gone = {i for a, b in zip(*holes) for i in range(a + 1, b)}
                missing += len(gone)
                unexplained += len(gone - told[symbol])
                repaired += int(np.isin(list(told[symbol]), unique).sum())
            if there:
                line += f"\n    {table}: {there} ids there, {repaired} of told holes repaired, {missing} missing, {unexplained} unexplained, {twice} twice"
                bad += unexplained + twice
        bad += lost
        print(line)
    steady(f"{dir}/samples")
    print("zero unexplained ids" if not bad else f"{bad} ids unexplained, twice, or records lost")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
