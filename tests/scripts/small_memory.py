"""See tests/campaigns/small_memory.sh."""

import collections
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

from cgroup import Cgroup, hold
from rig import KEY, books, end, free_port, kill_all, manifests, running, start, venues

BIN, DIR = sys.argv[1], os.path.abspath(sys.argv[2])
SECONDS, LIMIT, RATE, SYMBOLS = (int(a) for a in sys.argv[3:7])
VENUES = ["binance-spot", "binance-spot-sbe", "binance-usdm", "kucoin-spot", "kucoin-futures", "gate-spot", "gate-futures"]

SIM, CAPTURE, LAKE = (free_port() for _ in range(3))


def status(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/status", timeout=5) as r:
            return json.load(r)
    except OSError:
        return {}


def main():
    group = Cgroup.make("tapedeck-small-memory", LIMIT)
    if group is None:
        sys.exit("skipped: no memory cgroup can be made here (root, and cgroup v1 or v2 that may be written)")
    each = max(1, round(SYMBOLS / len(VENUES)))
    symbols = [f"S{i:03}_USDT" for i in range(each)]
    sim = start(DIR, "sim", f"{BIN}/venue-sim", "--generate", ",".join(symbols), "--venues", ",".join(VENUES), "--rate", str(RATE), "--channels",
                "trades,book_ticker,depth", "--no-extra-symbols", "--listen", f"127.0.0.1:{SIM}", "--start", "settled", "--settle-ms", "3000",
                "--report", f"{DIR}/report.json")
    # What `config check` takes for seven venues in this limit.
    rows = next(r for r in (131072, 65536, 32768, 16384, 8192, 4096) if 64 + max(len(VENUES) * 5 + 2, 64) * r * 120 / 2**20 <= LIMIT * 0.75)
    text = f'[data]\ndir = "{DIR}/data"\n[wal]\nsegment_mib = 16\nready_segments = 1\nretention_hours = 24\n[collector]\nlisten = "127.0.0.1:{CAPTURE}"\n[api]\nlisten = "127.0.0.1:{LAKE}"\n'
    text += f"[lake]\nrow_group_rows = {rows}\nack_interval_s = 30\n"
    text += venues(SIM, VENUES)
    open(f"{DIR}/tape.toml", "w").write(text)
    time.sleep(1)
    run = lambda what: start(DIR, what, f"{BIN}/tapedeck", what, "--config", f"{DIR}/tape.toml", group=group, env={KEY: "any"})
    collector, compactor = run("collector"), run("compactor")
    ballast = group.ballast()
    running.append(ballast)
    begun, curve, seen, held, burst, pressed, level = time.time(), [], collections.Counter(), 0, 0, 0.0, "normal"
    squeeze = (SECONDS * 0.35, SECONDS * 0.65)
    while (now := time.time() - begun) < SECONDS:
        for p, what in [(collector, "the collector"), (compactor, "the compactor"), (sim, "the simulator")]:
            if p.poll() is not None:
                sys.exit(f"FAILED: {what} ended by itself with {p.returncode} at {now:.0f} s; the kernel killed {group.kills()}")
        a, b = status(CAPTURE).get("memory"), status(LAKE).get("memory")
        if a and b:
            level = a["level"]
            seen[level] += 1
            limit = next((l for l in a["limits"] if "tapedeck-small-memory" in l["name"]), {})
            own = lambda m: sum(m["process"][k] for k in ("anonymous", "shared")) >> 20
            curve.append((now, own(a), own(b), limit.get("used_bytes", 0) >> 20, group.used() >> 20, level, a["stall"]["full"] if a["stall"] else 0))
        if squeeze[0] <= now < squeeze[1] and level != "critical" and now - pressed > 1.2:
            # Half of the way to 89 %: quick at first, careful at the end.
            step = max(4, (LIMIT * 89 // 100 - (curve[-1][3] if curve else 0)) // 2)
            pressed = now
            hold(ballast, step)
            held += step
        if now >= squeeze[1] and held:
            hold(ballast, 0)
            held = 0
        if now - burst > min(30, SECONDS / 6) and now > 5:
            burst = now
            sim.send_signal(signal.SIGSTOP)
            time.sleep(2.5)
            sim.send_signal(signal.SIGCONT)
        time.sleep(1)
    # Levels are left after thirty quiet seconds each.
    back = time.time() + 120
    while time.time() < back and (status(CAPTURE).get("memory") or {}).get("level") != "normal":
        time.sleep(1)
    after = (status(CAPTURE).get("memory") or {}).get("level")
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{LAKE}/metrics", timeout=10).read().decode()
    print(re.sub(r"(?m)^#.*\n", "", "\n".join(l for l in metrics.splitlines() if "sheds_total" in l or "level_changes" in l)))
    end(collector, "the collector")
    end(compactor, "the compactor")
    kills = group.kills()
    ballast.kill()
    ballast.wait()
    end(sim, "the simulator")
    subprocess.run([f"{BIN}/tapedeck", "compactor", "--drain", "--config", f"{DIR}/tape.toml"], check=True, env={**os.environ, KEY: "any"})
    verify = subprocess.run([f"{BIN}/tapedeck", "replay", "--verify", "--config", f"{DIR}/tape.toml"], capture_output=True, text=True, env={**os.environ, KEY: "any"})
    print(verify.stdout[-200:].strip())

    print("second  collector  compactor  held in cgroup  charged  level     all waited")
    for c in curve[:: max(1, len(curve) // 40)]:
        print(f"{c[0]:6.0f}  {c[1]:5} MiB  {c[2]:5} MiB  {c[3]:10} MiB  {c[4]:3} MiB  {c[5]:8}  {c[6]:5.2f} %")
    settings = sum(m["settings"]["zstd_level"] < 3 for m in manifests(DIR))
    bad = books(DIR, VENUES)
    print(f"levels seen: {dict(seen)}, afterwards {after}; killed by the kernel: {kills}; parts with lower settings: {settings}")
    # By the service's own counters: when it is tight, answers to status are late.
    changed = lambda level: int(re.search(f'level_changes_total{{level="{level}"}} (\\d+)', metrics).group(1))
    ok = not bad and kills == 0 and changed("elevated") > 0 and changed("critical") > 0 and after == "normal" and verify.returncode == 0
    print("1 passed, 0 failed" if ok else "0 passed, 1 failed")
    return 0 if ok else 1


code = 1
try:
    code = main()
finally:
    kill_all()
    for path in ("/sys/fs/cgroup/memory/tapedeck-small-memory", "/sys/fs/cgroup/tapedeck-small-memory"):
        if os.path.isdir(path):
            time.sleep(0.5)
            try:
                os.rmdir(path)
            except OSError:
                pass
sys.exit(code)
