"""A memory cgroup for a campaign, version 2 or 1, and a process in it that holds memory on request. Needs root."""

import os
import subprocess
import sys

HOLD = """
import sys
held = []
for line in sys.stdin:
    n = int(line)
    if n > 0:
        held.append(bytearray(b"x") * (n << 20))
    else:
        held.clear()
    print(len(held), flush=True)
"""


class Cgroup:
    """None of it when `make` returns None: no cgroup can be made here."""

    @staticmethod
    def make(name, mib):
        for base, limit, v2 in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes", False), ("/sys/fs/cgroup", "memory.max", True)]:
            self = Cgroup()
            self.dir, self.v2, self.limit = f"{base}/{name}", v2, mib << 20
            try:
                os.makedirs(self.dir, exist_ok=True)
                with open(f"{self.dir}/{limit}", "w") as f:
                    f.write(str(self.limit))
                return self
            except OSError:
                self.remove()
        return None

    def enter(self):
        """In the child, before it becomes the program."""
        with open(f"{self.dir}/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))

    def number(self, file, key=None):
        text = open(f"{self.dir}/{file}").read()
        if key is None:
            return int(text)
        return next((int(line.split()[1]) for line in text.splitlines() if line.split()[0] == key), 0)

    def used(self):
        return self.number("memory.current" if self.v2 else "memory.usage_in_bytes")

    def kills(self):
        return self.number("memory.events" if self.v2 else "memory.oom_control", "oom_kill")

    def ballast(self):
        return subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=self.enter)

    def remove(self):
        try:
            os.rmdir(self.dir)
        except OSError:
            pass


def hold(ballast, mib):
    """Holds `mib` more; 0 lets all of it go."""
    ballast.stdin.write(f"{mib}\n")
    ballast.stdin.flush()
    ballast.stdout.readline()
