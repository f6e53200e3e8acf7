#!/usr/bin/env python3
"""Who touches files by himself, and why: files of the lake are `LakeStore`'s (src/lake/store.rs), whoever asks for them.

    tools/lake_files.py          0, or what is wrong
    tools/lake_files.py --list   who touches what

Every file of a crate that knows the lake and names the file system stands in MAY with the reason; one that needs it no
more is taken out. A path into the lake is made by `src/lake` alone: `[lake] dir` is only opened or shown by others, and
what is in the lake's work directory begins with a dot.
"""

import re
import sys

from arrows import ROOT, manifests, tomllib, without_tests

# The reason, and whose it is. None of them is a published file of the lake.
MAY = {
    "the store in a directory, and what every store needs to take a local file": """
        src/lake/store.rs src/lake/store/local.rs src/lake/store/remote.rs src/lake/object.rs src/lake/lake.rs src/lake/lib.rs
        src/s3/lib.rs src/s3/probe.rs""",
    "the keys of the AWS tools, and the server of tests": "src/s3/credentials.rs src/s3/weed.rs",
    "staged pieces, joined files, states, locks: local wherever the lake is": """
        src/lake/work.rs src/lake/lock.rs src/lake/piece.rs src/lake/read.rs src/lake/text.rs
        src/compact/abandoned.rs src/compact/quarantine.rs src/compact/publish.rs src/compact/resume.rs src/compact/stage.rs
        src/compact/replay/repair.rs src/compact/replay/rewrite.rs src/compact/replay/scratch.rs
        src/history/clean/merge.rs src/history/clean/quarantine.rs src/history/clean/run.rs src/history/clean/unit.rs""",
    "the log, its archive and what is asked of the collector": """
        src/compact/lib.rs src/compact/lifecycle.rs src/compact/retention.rs src/compact/retire.rs
        src/compact/snapshots.rs src/fold/hold.rs src/fold/stored_logs.rs src/api/outside.rs src/ship/shipper.rs""",
    "logs of tests of sources": "src/fold/source/conformance/mod.rs",
    "a directory that the command line names": """
        src/compact/replay.rs src/cli/history/clean.rs src/cli/history/verify.rs src/cli/klines.rs""",
    "the mirror of the exchange's archive": """
        src/history/clean/candles.rs src/history/clean/input.rs src/history/clean/plan.rs src/history/clean/zip.rs
        src/history/download/checksum.rs src/history/download/fetch.rs src/history/download/mark.rs
        src/history/download/mod.rs src/history/download/partial.rs src/history/list/compare.rs
        src/history/manifest/export.rs src/history/mirror.rs src/history/verify/files.rs""",
    "lakes of version 1, which were directories, are brought to the layout of today": "src/history/clean/layout.rs",
    "configuration, and whether this machine can do what it asks": """
        src/config/places.rs src/config/read.rs src/config/room.rs src/cli/collector.rs
        src/cli/doctor/mod.rs src/api/system.rs""",
    "the page, when it is built": "src/api/build.rs",
    "the demo's own directory": "src/cli/demo/venues.rs src/cli/demo/child.rs src/cli/demo/mod.rs",
}

TOUCHES = re.compile(
    r"\bstd::fs\b|\bfs::[a-z_]+|\bFile::|\bOpenOptions\b|\bregular::|\bdurable::"
    r"|\.(?:exists|is_file|is_dir)\(\)|\bLocalStore\b|\bTableFile::open\b"
)
# `[lake] dir` but where it is opened as a lake, shown, or is the disk that is watched.
MADE = re.compile(r"(?<!Lake::open\(&cfg\.)(?<!Lake::open\(&chosen\.cfg\.)\blake\.dir\b(?!\.display\(\)|\.clone\(\), needs_bytes)")
# The place of an object is for messages.
PLACE = re.compile(r"\b(?:fs|regular|durable|File|TableFile)::\w+\([^;\n]*\.place\(")
# Of the work directory what has no dot.
WORK = re.compile(r"\bwork\(\)\.join\((?!\"|DIR\))")


def crates():
    """Source files of every crate that knows the lake, tests aside."""
    for name, folder in manifests().items():
        depends = tomllib.loads((folder / "Cargo.toml").read_text()).get("dependencies", {})
        if name == "lake" or "lake" in depends:
            yield from sorted(folder.rglob("*.rs"))
    yield from sorted((ROOT / "src/cli").rglob("*.rs"))
    yield from [ROOT / "src/main.rs", ROOT / "src/lib.rs"]


def main():
    may = {path: why for why, paths in MAY.items() for path in paths.split()}
    wrong, touching = [], set()
    for path in crates():
        name = str(path.relative_to(ROOT))
        if "/tests/" in name or name.endswith(("tests.rs", "conformance.rs")):
            continue
        text = without_tests(path.read_text())
        hits = sorted({m.group(0) for m in TOUCHES.finditer(text)})
        if hits:
            touching.add(name)
            if "--list" in sys.argv:
                print(f"{name}: {', '.join(hits)} ({may.get(name, 'NOT ALLOWED')})")
            if name not in may:
                wrong.append(f"{name} touches files ({', '.join(hits)}): files of the lake are LakeStore's; what else it is goes into MAY with its reason")
        if not name.startswith(("src/lake/", "src/config/")):
            wrong += [f"{name} makes a path into the lake: {m.group(0)}" for m in MADE.finditer(text)]
            wrong += [f"{name} opens what is there for messages: {m.group(0)}" for m in PLACE.finditer(text)]
            wrong += [f"{name} makes a path into the lake's work directory that begins with no dot" for _ in WORK.finditer(text)]
    wrong += [f"{name} touches no file any more: take it out of MAY" for name in sorted(set(may) - touching)]
    print("\n".join(wrong) or "files of the lake are touched by the lake's stores alone")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
