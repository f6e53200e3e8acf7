#!/usr/bin/env python3
"""Writes what both services hold, every few seconds, until the time is over; fails when one of them ends.

Usage: soak_sample.py DIR SECONDS COLLECTOR_PID COMPACTOR_PID      (a helper of tests/campaigns/soak.sh)

One line a sample in DIR/samples: second; own memory (anonymous and shared pages, KiB), all resident memory (KiB), open
files and threads of each process; and what is hidden: files below the data directory that are neither segment, archive,
Parquet, database nor manifest (number, KiB), and files that are deleted and still open (number).
"""
import os
import sys
import time

SHOWN = (".wal", ".zst", ".parquet", ".db")


def status(pid, *names):
    found = dict(l.split(":", 1) for l in open(f"/proc/{pid}/status").read().splitlines() if ":" in l)
    return sum(int(found[n].split()[0]) for n in names if n in found)


def held(pid):
    files = deleted = 0
    for fd in os.scandir(f"/proc/{pid}/fd"):
        files += 1
        try:
            deleted += os.readlink(fd.path).endswith(" (deleted)")
        except OSError:
            pass
    return [status(pid, "RssAnon", "RssShmem"), status(pid, "VmRSS"), files, status(pid, "Threads"), deleted]


def hidden(data):
    count = size = 0
    for at, _, names in os.walk(data):
        for n in names:
            if n.endswith(SHOWN) or "_manifests" in at:
                continue
            try:
                size += os.lstat(f"{at}/{n}").st_size
                count += 1
            except OSError:
                pass
    return count, size >> 10


def main():
    dir, seconds, pids = sys.argv[1], int(sys.argv[2]), sys.argv[3:5]
    begun = time.monotonic()
    with open(f"{dir}/samples", "w") as out:
        heads = [f"{who}_{what}" for who in ("collector", "compactor") for what in ("own", "rss", "fds", "threads")]
        print("second", *heads, "hidden_files", "hidden_kib", "deleted_open", file=out)
        while (now := time.monotonic() - begun) < seconds:
            try:
                both = [held(p) for p in pids]
            except OSError as e:
                sys.exit(f"a service ended at {now:.0f} s: {e}")
            print(int(now), *both[0][:4], *both[1][:4], *hidden(f"{dir}/data"), both[0][4] + both[1][4], file=out, flush=True)
            time.sleep(5)


if __name__ == "__main__":
    main()
