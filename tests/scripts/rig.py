"""What the campaigns share that run the simulator and both services: ports, processes, and the books at the end."""

import collections
import glob
import json
import os
import signal
import socket
import subprocess
import sys

running = []
# The environment variable with the key that SBE wants; the simulator takes any.
KEY = "CAMPAIGN_KEY"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def venues(port, names, **keys):
    """The tables of these venues of the simulator at `port`, with keys beside the usual ones or in their place."""
    text = ""
    for v in names:
        base = f"127.0.0.1:{port}/{v}"
        table = {"symbols": ["*"], "channels": ["trades", "book_ticker", "depth"], "connect_stagger_ms": 10, "connects_per_5_min": 100_000,
                 "rest_url": f"http://{base}"}
        # KuCoin says itself where its socket is.
        if not v.startswith("kucoin"):
            table["ws_url"] = f"ws://{base}"
        if v == "binance-spot-sbe":
            table["api_key_env"] = KEY
        text += f"\n[venues.{v}]\n" + "".join(f"{k} = {json.dumps(value)}\n" for k, value in (table | keys).items())
    return text


def start(dir, name, *args, group=None, env=None):
    """A process with its output in DIR/name.log, in the cgroup `group`, with `env` beside the environment."""
    log = open(f"{dir}/{name}.log", "ab")
    enter = group.enter if group else None
    running.append(subprocess.Popen(args, stdout=log, stderr=log, preexec_fn=enter, env={**os.environ, **(env or {})}))
    return running[-1]


def end(p, what):
    """SIGINT; it must end with success."""
    p.send_signal(signal.SIGINT)
    code = p.wait(300)
    if code:
        sys.exit(f"FAILED: {what} ended with {code}")


def kill_all():
    for p in reversed(running):
        if p.poll() is None:
            p.send_signal(signal.SIGCONT)
            p.kill()
            p.wait()


def manifests(dir):
    return [json.load(open(p)) for p in glob.glob(f"{dir}/data/lake/_manifests/**/*.json", recursive=True)]


def books(dir, venues):
    """Prints what the simulator sent and what the lake's manifests count, by venue; returns how many venues differ."""
    report = json.load(open(f"{dir}/report.json"))
    records, bad = collections.Counter(), 0
    for m in manifests(dir):
        records[m["venue"].removesuffix(".repair")] += m["records"].get("data", 0)
    for v in venues:
        conns = report["venues"][v]["connections"]
        sent = sum(c["frames_sent"] + c["control_sent"] + c["garbage_sent"] for c in conns)
        unsure = sum(c["unconfirmed"] for c in conns)
        lost = sent - records[v]
        bad += not -unsure <= lost <= unsure
        print(f"{v:17} sent {sent:>10}, in the lake's books {records[v]:>10}, missing {lost} (the simulator is unsure of {unsure})")
    return bad


if __name__ == "__main__":
    # For scripts in bash: rig.py PORT VENUE.. prints the tables.
    print(venues(sys.argv[1], sys.argv[2:]))
