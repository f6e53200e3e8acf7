"""Makes the data directories of version 1 (commit 697b6d1) that tests/lake/version_1.rs takes over.

BIN=folder of 697b6d1's binaries PYTHONPATH=../shared/cases/lib python make.py: an exchange of one process on loopback
plays trades 1..N of two symbols (price 100 + id % 7 and id % 97 cents) and book tickers; the services are stopped or
killed where the name of the directory says. What must come out is written in expected.json beside the archives.
"""
import os, sys, tarfile, json
from mini import *
KV = 'symbols = ["BTCUSDT", "ETHUSDT"]\nchannels = ["trades", "book_ticker"]\nrepair = false'
REST = lambda p, h: http(body=info(["BTCUSDT", "ETHUSDT"])) if "exchangeInfo" in p else http(400, {})
price = lambda i: f"{100 + i % 7}.{i % 97:02d}"
def bt(sym, i): return json.dumps({"stream": sym.lower() + "@bookTicker", "data": {"u": i, "s": sym, "b": price(i), "B": "3", "a": f"{200 + i % 7}.20", "A": "4"}}, separators=(",", ":"))
def frames(a, b):
    for i in range(a, b):
        yield lambda i=i: trade("BTCUSDT", i, p=price(i), q=f"{1 + i % 13}", pad="x" * 600)
        if i % 2: yield lambda i=i: trade("ETHUSDT", i // 2 + 1, p=price(i // 2 + 1), q="1")
        if i % 4 == 0: yield lambda i=i: bt("BTCUSDT", i)
async def play(bed, a, b, extra, end, compactor=True, settle=4.0, kv=KV):
    done = asyncio.Event()
    srv = await Server(REST, player(list(frames(a, b)), done)).start()
    bed.config({"binance-spot": (srv.port, kv)}, extra); bed.start("collector")
    if compactor: bed.start("compactor")
    await asyncio.wait_for(done.wait(), 60); await asyncio.sleep(settle)
    if compactor: await asyncio.to_thread(bed.stop, "compactor", end)
    await asyncio.to_thread(bed.stop, "collector", end)
E = lambda lake="", wal="": f'[wal]\nsegment_mib = 1\nready_segments = 1\n{wal}[lake]\nack_interval_s = 1\n{lake}[klines]\nsource = {{ binance-spot = "trades" }}\nflush_interval_s = 1\nseed = false\n'
async def one(name, steps, ports):
    if time.time() % 3600 > 3400: await asyncio.sleep(3605 - time.time() % 3600)
    bed = Bed(name, ports=ports); n = 0
    for k in steps:
        if k.get("drain"): rc, said = await asyncio.to_thread(bed.drain); assert rc == 0, said; continue
        await play(bed, n + 1, n + 1 + k["n"], E(k.get("lake", ""), k.get("wal", "")), k.get("end", signal.SIGTERM), k.get("compactor", True), k.get("settle", 4.0)); n += k["n"]
    left = len(glob.glob(bed.data + "/wal/binance-spot/*.wal")); staged = len(glob.glob(bed.data + "/lake/.staging/*/*.parquet")); man = len(glob.glob(bed.data + "/lake/_manifests/**/*.json", recursive=True))
    print(name, "trades", n, "segments", left, "staged pieces", staged, "manifests", man)
    with tarfile.open(f"{name}.tar.gz", "w:gz") as t:
        for top in ("wal", "lake", "archive", "klines.db", "klines.db-wal", "klines.db-shm"):
            if os.path.exists(f"{bed.data}/{top}"): t.add(f"{bed.data}/{top}", top)
    bed.end()
    return {"btc_trades": n, "eth_trades": (n + 1) // 2, "book_tickers": n // 4, "segments": left, "staged_pieces": staged, "manifests": man}
K = signal.SIGKILL
ALL = {
    "stopped_in_the_hour": [{"n": 4000}],
    "killed_in_the_hour": [{"n": 4000, "end": K, "settle": 1.3}],
    "published_and_killed": [{"n": 3000}, {"drain": 1}, {"n": 4000, "end": K, "settle": 2.0}],
    "never_compacted": [{"n": 4000, "compactor": False, "end": K, "settle": 1.0}],
    "archived": [{"n": 3000, "wal": 'archive = "zstd"\n'}, {"drain": 1}, {"n": 3000, "wal": 'archive = "zstd"\n'}],
    "as_csv": [{"n": 3000, "lake": 'format = "csv"\n'}, {"drain": 1}, {"n": 3000, "lake": 'format = "csv"\n'}],
}
async def main():
    out = {}
    for i, (name, steps) in enumerate(ALL.items()): out[name] = await one(name, steps, (27301 + 2 * i, 27302 + 2 * i))
    json.dump(out, open("expected.json", "w"), indent=1)
asyncio.run(main())
