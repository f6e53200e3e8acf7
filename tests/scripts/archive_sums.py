#!/usr/bin/env python3
"""Rows, open times and exact sums of a CSV of candles of data.binance.vision, by nothing but the standard library.

usage: python3 archive_sums.py candles.csv      (prints one JSON object; times in us, sums as decimal text)
"""

import csv
import json
import sys
from decimal import Decimal, getcontext

getcontext().prec = 60
COLUMNS = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "quote_volume": 7,
           "taker_buy_volume": 9, "taker_buy_quote_volume": 10}


def main():
    opens, count = set(), 0
    sums = {name: Decimal(0) for name in COLUMNS}
    with open(sys.argv[1], newline="") as f:
        for row in csv.reader(f):
            if not row or not row[0].lstrip("-").isdigit():
                continue
            time = int(row[0])
            time = time if time >= 10**14 else time * 1000
            if time in opens:
                continue
            opens.add(time)
            count += int(row[8])
            for name, at in COLUMNS.items():
                sums[name] += Decimal(row[at])
    times = sorted(opens)
    steps = [b - a for a, b in zip(times, times[1:])]
    step = min(steps)
    out = {"rows": len(times), "first": times[0], "last": times[-1], "count": count,
           "missing": sum(s // step - 1 for s in steps)}
    for name, total in sums.items():
        text = f"{total:f}"
        out[name] = text.rstrip("0").rstrip(".") if "." in text else text
    print(json.dumps(out))


if __name__ == "__main__":
    main()
