#!/usr/bin/env python3
"""Holds the source tree against docs/architecture.md: which crate may depend on which, no circle of files, and no way
around a seam.

    tools/arrows.py            says what is wrong; exit code 1 when anything is
    tools/arrows.py --crates   the manifests only, no files
    tools/arrows.py --list     every arrow between files, as `file -> file: names`

A file has an arrow to another when it names something that the other defines, through `use` or by a path in its code.
Names that a `lib.rs` or `mod.rs` only hands on (`pub use`) count for the file that defines them. Code for tests is left
out: a test may look at everything."""

import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent

# What each crate may depend on, of ours. The order is that of the data: nothing names what is downstream of it.
MAY = {
    "wal-format": set(),
    "http-doors": set(),
    "model": set(),
    "settings": {"model"},
    "venue": {"model"},
    "ops": {"model", "settings", "wal-format"},
    "sql": {"wal-format"},
    "lake": {"model", "ops", "settings", "wal-format"},
    "net": {"http-doors", "model", "ops", "settings", "wal-format"},
    "s3": {"lake", "net", "ops", "settings", "wal-format"},
    "capture": {"model", "net", "ops", "settings", "venue", "wal-format"},
    "fold": {"lake", "model", "ops", "venue", "wal-format"},
    "ship": {"capture", "fold", "lake", "model", "ops", "settings", "wal-format"},
    "collect": {"capture", "model", "net", "ops", "settings", "venue", "wal-format"},
    "compact": {"capture", "fold", "lake", "model", "net", "ops", "ship", "venue", "wal-format"},
    "kline": {"capture", "fold", "model", "net", "ops", "settings", "sql", "venue", "wal-format"},
    "history": {"fold", "lake", "model", "net", "ops", "settings", "sql", "venue", "wal-format"},
    "quality": {"lake", "model", "venue", "wal-format"},
    "playback": {"capture", "fold", "model", "venue", "venue-sim", "wal-format"},
    "api": {"capture", "http-doors", "kline", "lake", "model", "net", "ops", "quality", "settings", "venue", "wal-format"},
    "config": {"api", "capture", "collect", "compact", "history", "kline", "lake", "model", "ops", "s3", "settings", "wal-format"},
}

# What only the implementations of a seam may name (tests aside): everybody else goes through the seam.
SEAMS = [
    ("fold::source (RecordSource, AckStore) is the way to records and acknowledgements", r"\b(?:LogReader|ReaderOptions|AckFile)\b",
     {"src/fold/source/live.rs", "src/fold/source/recorded.rs", "src/fold/source/acks.rs"}),
    ("sql::Sql is the way to a database", r"\b(?:rusqlite|postgres)::",
     {"src/sql/", "src/kline/db/bars.rs"}),
    ("lake::read::TableFile is the way to the rows of a Parquet file, whose library may panic at damage",
     r"\b(?:ArrowReaderMetadata|Parquet(?:MetaData|RecordBatch)Reader\w*|SerializedFileReader)\b",
     {"src/lake/read.rs", "src/lake/guard.rs"}),
]

ITEM = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:default\s+)?(?:async\s+)?(?:const\s+)?(?:unsafe\s+)?(?:extern\s+\"C\"\s+)?(?:fn|struct|enum|union|trait|type|static|const|macro_rules!)\s+(?:mut\s+)?([A-Za-z_]\w*)", re.M)
TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|b?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\.[^']*|[^'\\\n])'", re.S)


def blank(m):
    s = m.group(0)
    return "\n" * s.count("\n") + ('""' if s[0] not in "/" else " ")


def without_tests(text):
    """Comments, strings and `#[cfg(test)]` items gone."""
    text = TOKEN.sub(blank, text)
    out, at = [], 0
    for m in re.finditer(r"#\[cfg\((?:test|all\(test[^\]]*|loom|fuzzing)\)\]", text):
        if m.start() < at:
            continue
        out.append(text[at:m.start()])
        i, depth = m.end(), 0
        while i < len(text):
            c = text[i]
            if c in "{([":
                depth += 1
            elif c in "})]":
                depth -= 1
                if depth == 0 and c == "}":
                    i += 1
                    break
                if depth < 0:
                    break
            elif c == ";" and depth == 0:
                i += 1
                break
            elif c == "," and depth == 0:
                i += 1
                break
            i += 1
        at = i
    out.append(text[at:])
    return "".join(out)


class Crate:
    """The modules of one crate: their files, what each defines and what it uses."""

    def __init__(self, root):
        self.file_of, self.text, self.defs, self.uses = {}, {}, {}, {}
        self.load((), root, root.parent)

    def load(self, mod, path, folder):
        text = without_tests(path.read_text())
        self.file_of[mod], self.text[mod] = path, text
        self.defs[mod] = set(ITEM.findall(text))
        self.uses[mod] = list(self.use_trees(text, mod))
        for m in re.finditer(r"((?:#\[[^\]]*\]\s*)*)(?:pub(?:\([^)]*\))?\s+)?mod\s+([A-Za-z_]\w*)\s*;", text):
            raw = path.read_text()
            name = m.group(2)
            p = re.search(r'#\[path\s*=\s*"([^"]+)"\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+%s\s*;' % name, raw)
            here = folder
            if p:
                child = path.parent / p.group(1)
                self.load(mod + (name,), child, child.parent / name)
                continue
            for child, sub in ((here / f"{name}.rs", here / name), (here / name / "mod.rs", here / name)):
                if child.exists():
                    self.load(mod + (name,), child, sub)
                    break

    def use_trees(self, text, mod):
        for m in re.finditer(r"(pub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);", text):
            for path, alias in expand(m.group(2)):
                yield path, alias, bool(m.group(1))

    def resolve(self, mod, path, seen=frozenset()):
        """The module that defines what `path` (seen from `mod`) names, and the name; None for what is not of this crate."""
        if (mod, path) in seen:
            return None
        seen = seen | {(mod, path)}
        first, *rest = path
        if first == "crate":
            at = ()
        elif first == "self":
            at = mod
        elif first == "super":
            if not mod:
                return None
            at = mod[:-1]
            while rest and rest[0] == "super":
                at, rest = at[:-1], rest[1:]
        else:
            at, rest = mod, list(path)
        while rest:
            name = rest[0]
            if at + (name,) in self.file_of:
                at, rest = at + (name,), rest[1:]
                continue
            if name in self.defs[at]:
                return at, name
            for use, alias, _ in self.uses[at]:
                if alias == name and (at, use) not in seen:
                    seen = seen | {(at, use)}
                    got = self.resolve(at, use + tuple(rest[1:]), seen)
                    if got:
                        return got
            for use, alias, _ in self.uses[at]:
                if alias == "*" and (at, use, "*") not in seen:
                    seen = seen | {(at, use, "*")}
                    got = self.resolve(at, use + tuple(rest), seen)
                    if got:
                        return got
            return None
        return at, ""

    def arrows(self):
        for mod, text in self.text.items():
            paths = {use for use, alias, _ in self.uses[mod] if use[0] in ("crate", "super", "self") or mod + (use[0],) in self.file_of}
            facade = {use for use, alias, public in self.uses[mod] if public}
            body = re.sub(r"\buse\s+[^;]+;", "", text)
            paths -= facade
            for m in re.finditer(r"\b((?:crate|super|self)(?:::[A-Za-z_]\w*)+|[a-z_]\w*(?:::[A-Za-z_]\w*)+)", body):
                p = tuple(m.group(1).split("::"))
                if p[0] in ("crate", "super", "self") or mod + (p[0],) in self.file_of or any(a == p[0] for _, a, _ in self.uses[mod]):
                    paths.add(p)
            for p in paths:
                got = self.resolve(mod, p)
                if got is None and len(p) > 1:
                    for n in range(len(p) - 1, 0, -1):
                        got = self.resolve(mod, p[:n])
                        if got:
                            break
                if got and self.file_of[got[0]] != self.file_of[mod] and got[1]:
                    yield self.file_of[mod], self.file_of[got[0]], got[1]
                elif got and self.file_of[got[0]] != self.file_of[mod]:
                    # a module itself is named: what is used of it has paths of its own
                    pass


def expand(tree):
    """`a::{b, c as d, e::*}` as paths with the name each gets here."""
    tree = tree.strip()
    m = re.match(r"^((?:::)?(?:[A-Za-z_]\w*\s*::\s*)*)\{(.*)\}$", tree, re.S)
    if m:
        head = tuple(x.strip() for x in m.group(1).split("::") if x.strip())
        depth, start, body = 0, 0, m.group(2)
        parts = []
        for i, c in enumerate(body):
            depth += (c == "{") - (c == "}")
            if c == "," and depth == 0:
                parts.append(body[start:i]); start = i + 1
        parts.append(body[start:])
        for part in parts:
            if part.strip():
                for path, alias in expand(part):
                    yield (head + path if path != ("self",) else head), (alias if path != ("self",) else (alias if alias != "self" else head[-1]))
        return
    m = re.match(r"^(.*?)\s+as\s+(\w+)$", tree, re.S)
    alias = None
    if m:
        tree, alias = m.group(1), m.group(2)
    path = tuple(x.strip() for x in tree.split("::") if x.strip())
    if path and path[-1] == "*":
        yield path[:-1], "*"
    elif path:
        yield path, alias or path[-1]


def circles(edges):
    graph = {}
    for a, b, _ in edges:
        graph.setdefault(a, set()).add(b); graph.setdefault(b, set())
    index, low, stack, on, out, n = {}, {}, [], set(), [], [0]
    sys.setrecursionlimit(10000)
    def visit(v):
        index[v] = low[v] = n[0]; n[0] += 1
        stack.append(v); on.add(v)
        for w in graph[v]:
            if w not in index:
                visit(w); low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            c = []
            while True:
                w = stack.pop(); on.discard(w); c.append(w)
                if w == v: break
            if len(c) > 1: out.append(sorted(c))
    for v in sorted(graph):
        if v not in index: visit(v)
    return out


def manifests():
    """Name and folder of every crate of ours below `src`, and of those beside it."""
    found = {p.parent.name: p.parent for p in sorted(ROOT.glob("src/*/Cargo.toml"))}
    found["wal-format"] = ROOT / "wal-format"
    found["http-doors"] = ROOT / "http-doors"
    return found


def wrong_arrows(crates):
    for name, folder in crates.items():
        needs = set(tomllib.loads((folder / "Cargo.toml").read_text()).get("dependencies", {}))
        if name not in MAY:
            yield f"{name} is a crate that tools/arrows.py does not know: say there what it may depend on"
            continue
        ours = needs & (set(crates) | {"tapedeck", "venue-sim"})
        for extra in sorted(ours - MAY[name]):
            yield f"{folder.relative_to(ROOT)}/Cargo.toml: {name} may not depend on {extra}"
        if "anyhow" in needs:
            yield f"{folder.relative_to(ROOT)}/Cargo.toml: {name} is a library, its errors are types: anyhow is for binaries"


def round_the_seams(files):
    for path in sorted(files):
        name = str(path.relative_to(ROOT))
        text = without_tests(path.read_text())
        for way, pattern, may in SEAMS:
            found = sorted(set(re.findall(pattern, text)))
            if found and not name.startswith(tuple(may)):
                yield f"{name} names {', '.join(found)}: {way}"


def lib_of(folder):
    manifest = tomllib.loads((folder / "Cargo.toml").read_text())
    return folder / manifest.get("lib", {}).get("path", "src/lib.rs")


def main():
    crates = manifests()
    wrong = list(wrong_arrows(crates))
    if "--crates" in sys.argv:
        print("\n".join(wrong) or "every arrow between crates is one of docs/architecture.md")
        return 1 if wrong else 0
    trees = [Crate(lib_of(folder)) for folder in crates.values()] + [Crate(ROOT / "src/lib.rs")]
    ours = {path for tree in trees for path in tree.file_of.values() if path.is_relative_to(ROOT / "src")}
    wrong += round_the_seams(ours)
    for tree in trees:
        edges = sorted(set(tree.arrows()))
        if "--list" in sys.argv:
            for a, b, name in edges:
                print(f"{a.relative_to(ROOT)} -> {b.relative_to(ROOT)}: {name}")
            continue
        for circle in circles(edges):
            inside = [(a, b) for a, b, _ in edges if a in circle and b in circle]
            wrong.append("a circle of files:")
            for a, b in sorted(set(inside)):
                names = ", ".join(sorted(n for x, y, n in edges if (x, y) == (a, b)))
                wrong.append(f"  {a.relative_to(ROOT)} -> {b.relative_to(ROOT)}: {names}")
    print("\n".join(wrong) or "every arrow is one of docs/architecture.md, no circle, and no way around a seam")
    return 1 if wrong and "--list" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
