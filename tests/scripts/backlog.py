"""See tests/campaigns/backlog.sh."""

import collections
import math
import os
import re
import subprocess
import sys
import time
import urllib.request

from rig import books, end, free_port, kill_all, start, venues

BIN, DIR = sys.argv[1], os.path.abspath(sys.argv[2])
STOPPED, RATE, SYMBOLS, AROUND = (int(a) for a in sys.argv[3:7])
VENUES = ["binance-usdm", "kucoin-spot", "gate-spot"]
SIM, CAPTURE, LAKE = (free_port() for _ in range(3))


def figures(port):
    """Metric with labels -> value; empty while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as r:
            lines = r.read().decode().splitlines()
    except OSError:
        return {}
    return {l.rsplit(" ", 1)[0]: float(l.rsplit(" ", 1)[1]) for l in lines if l and l[0] != "#"}


def total(found, name):
    return sum(v for k, v in found.items() if k.split("{")[0] == name)


def appends():
    """Upper bound in us -> appends up to it, over all venues."""
    got = collections.Counter()
    for k, v in figures(CAPTURE).items():
        if m := re.match(r'tapedeck_log_append_seconds_bucket\{.*le="([^"]+)"', k):
            got[float(m[1].replace("+Inf", "inf")) * 1e6] += v
    return got


def told(what, before, after, seconds):
    """Prints one span's appends; returns the 99th percentile in us, between bucket bounds by the logarithm."""
    counts = [(bound, after[bound] - before[bound]) for bound in sorted(after)]
    n = counts[-1][1]
    low, seen, p99 = 0.06, 0, math.inf
    for bound, up_to in counts:
        if up_to >= 0.99 * n:
            p99 = low * (bound / low) ** ((0.99 * n - seen) / max(1, up_to - seen)) if bound < math.inf else math.inf
            break
        low, seen = bound, up_to
    over = lambda us: n - max(c for b, c in counts if b <= us)
    print(f"{what:28} {seconds:6.0f} s, {n:11.0f} appends measured, p99 {p99:7.2f} us; longer than 66 us: {over(70) / max(1, n):.5%}, "
          f"than 1 ms: {over(1_100) / max(1, n):.5%}", flush=True)
    return p99


def span(what, seconds):
    before, begun = appends(), time.time()
    time.sleep(seconds)
    return told(what, before, appends(), time.time() - begun)


def main():
    names = ",".join(f"S{i:03}_USDT" for i in range(SYMBOLS // len(VENUES)))
    sim = start(DIR, "sim", f"{BIN}/venue-sim", "--generate", names, "--venues", ",".join(VENUES), "--rate", str(RATE), "--channels",
                "trades,book_ticker,depth", "--no-extra-symbols", "--listen", f"127.0.0.1:{SIM}", "--start", "settled", "--settle-ms", "8000",
                "--report", f"{DIR}/report.json")
    text = f'[data]\ndir = "{DIR}/data"\n[collector]\nlisten = "127.0.0.1:{CAPTURE}"\n[api]\nlisten = "127.0.0.1:{LAKE}"\n'
    text += venues(SIM, VENUES)
    open(f"{DIR}/tape.toml", "w").write(text)
    time.sleep(1)
    collector = start(DIR, "collector", f"{BIN}/tapedeck", "collector", "--config", f"{DIR}/tape.toml")
    compact = lambda: start(DIR, "compactor", f"{BIN}/tapedeck", "compactor", "--config", f"{DIR}/tape.toml")
    compactor = compact()
    written = lambda: total(figures(CAPTURE), "tapedeck_log_records_total")
    while written() < RATE * 20:
        time.sleep(1)
    before = span("with the compactor", AROUND)
    end(compactor, "the compactor")
    stopped_at = written()
    span("compactor stopped", STOPPED)
    backlog = written() - stopped_at
    # Caught up: it is as far as the log was a moment before. Its counter begins anew with each process.
    from_, begun, first, curve = appends(), time.time(), written(), []
    compactor = compact()
    handled = 0
    while True:
        time.sleep(1)
        if collector.poll() is not None or compactor.poll() is not None:
            sys.exit("FAILED: a service ended by itself")
        now = written()
        handled = total(figures(LAKE), "tapedeck_compactor_records_total") or handled
        left = backlog + (now - first) - handled
        curve.append((time.time() - begun, handled, left))
        if left < 2 * RATE or time.time() - begun > STOPPED:
            break
    took = time.time() - begun
    during = told("compactor catches up", from_, appends(), took)
    after = span("with the compactor, after", AROUND)
    ingest = (written() - first) / (time.time() - begun)
    speed = handled / took
    for second, done, left in curve[:: max(1, len(curve) // 20)]:
        print(f"  {second:5.0f} s: {done:11.0f} records compacted, {left:11.0f} behind")
    print(f"backlog of {backlog:.0f} records compacted in {took:.1f} s: {speed:.0f} records/s, {speed / ingest:.1f} times the ingest of {ingest:.0f}/s")
    print(f"p99 of an append while catching up: {during / before:.2f} of before, {during / after:.2f} of afterwards")
    end(sim, "the simulator")
    time.sleep(2)
    end(collector, "the collector")
    end(compactor, "the compactor")
    subprocess.run([f"{BIN}/tapedeck", "compactor", "--drain", "--config", f"{DIR}/tape.toml"], check=True, stdout=subprocess.DEVNULL)
    bad = books(DIR, VENUES)
    ok = not bad and speed >= 10 * ingest and during < 2 * max(before, after)
    print("1 passed, 0 failed" if ok else "0 passed, 1 failed")
    return 0 if ok else 1


code = 1
try:
    code = main()
finally:
    kill_all()
sys.exit(code)
