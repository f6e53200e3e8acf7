//! House rules that lints cannot see: where unsafe may stand, that files introduce themselves, and that documents name what
//! is there. Clocks and renames: `clippy.toml`.

use std::path::{Path, PathBuf};

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n == "target" || n == "data" || n == ".git" || n == "node_modules") {
                continue;
            }
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn tree() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "wal-format", "http-doors", "tools", "tests"] {
        rust_files(&root.join(dir), &mut files);
    }
    files
        .into_iter()
        .map(|p| (p.strip_prefix(root).unwrap().display().to_string(), std::fs::read_to_string(&p).unwrap()))
        .collect()
}

/// Code without the in-file test module, comments and texts left in.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn every_rust_file_says_at_its_top_what_it_owns() {
    let silent: Vec<String> =
        tree().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "files without //! on their first line: {silent:?}");
}

#[test]
fn unsafe_stands_only_in_wal_format_sys() {
    for (path, text) in tree() {
        let allowed = path.starts_with("wal-format/src/sys/")
            || path.starts_with("wal-format/tests/")
            || path == "tests/docs/tidy.rs";
        let uses = text.lines().any(|l| {
            let code = l.split("//").next().unwrap_or(l);
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        assert!(allowed || !uses, "{path} uses unsafe");
    }
}

#[test]
fn files_that_anybody_may_have_put_there_are_opened_in_one_place() {
    // What the kernel shows, a directory that is synced, a log of a child of our own, PostgreSQL and SeaweedFS of the tests, what a build
    // makes.
    const ALLOWED: [&str; 13] = [
        "src/api/build.rs",
        "src/cli/demo/child.rs",
        "src/cli/doctor/mod.rs",
        "src/net/dial.rs",
        "src/history/mirror.rs",
        "src/ops/host.rs",
        "src/ops/memory/",
        "src/s3/weed.rs",
        "src/sql/cluster.rs",
        "wal-format/src/boot.rs",
        "wal-format/src/durable.rs",
        "wal-format/src/options.rs",
        "wal-format/src/sys/",
    ];
    for (path, text) in tree() {
        let ours = ["src/", "wal-format/src/", "tools/wal-dump/src/"].iter().any(|dir| path.starts_with(dir));
        let test = path.contains("/tests") || path.ends_with("tests.rs") || path == "wal-format/src/sim.rs";
        if !ours || test || ALLOWED.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        for (number, line) in (1..).zip(shipped(&text).lines()) {
            let code = line.split("//").next().unwrap_or(line);
            let opens = ["fs::read(", "fs::read_to_string(", " File::open(", "(File::open(", "fs::File::open("];
            let opens = opens.iter().any(|call| code.contains(call))
                || code.contains("File::options()") && code.contains(".open(");
            assert!(
                !opens,
                "{path}:{number} opens a file on its own: wal_format::regular refuses FIFOs, devices and endless files"
            );
        }
    }
}

#[test]
fn no_result_is_dropped_without_the_reason_beside_it() {
    /// Reads only; what it gives is what is tested.
    const HOSTILE_INPUT: &str = "src/venue/hostile_input/";
    /// Makes the page's files; what went wrong is cargo's to say.
    const BUILD: &str = "src/api/build.rs";
    let mut bare = Vec::new();
    for (path, text) in tree() {
        let ours = ["src/", "wal-format/src/", "tools/wal-dump/src/"].iter().any(|dir| path.starts_with(dir));
        let of_tests = path.contains("tests") || path.starts_with(HOSTILE_INPUT) || path == BUILD;
        if !ours || of_tests {
            continue;
        }
        let lines: Vec<&str> = shipped(&text).lines().map(str::trim).collect();
        for (n, line) in lines.iter().enumerate() {
            // Writing to a String cannot fail.
            let assigned = line.starts_with("let _ = ") && !line.contains("write!(") && !line.contains("writeln!(");
            let turned = line.ends_with(".ok();") && !line.contains('=') && !line.contains("return");
            let matched = line.contains("Ok(_) => {}") || line.contains("Err(_) => {}");
            let told = line.contains("//") || lines[n.saturating_sub(2)..n].iter().any(|l| l.starts_with("//"));
            if (assigned || turned || matched) && !told {
                bare.push(format!("{path}:{}: {line}", n + 1));
            }
        }
    }
    assert!(bare.is_empty(), "say above why the result does not matter, or use it:\n{}", bare.join("\n"));
}

#[test]
fn nothing_unfinished_is_left() {
    for (path, text) in tree() {
        if path == "tests/docs/tidy.rs" {
            continue;
        }
        for word in ["TODO", "FIXME", "XXX:", "unimplemented!(", "todo!("] {
            assert!(!text.contains(word), "{path} holds {word}");
        }
    }
}

#[test]
fn the_page_names_no_other_host_and_its_packages_no_mirror() {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/page/app");
    let lock = std::fs::read_to_string(app.join("package-lock.json")).unwrap();
    assert!(!lock.contains("\"resolved\"") && !lock.contains("://"), "npm config omit-lockfile-registry-resolved true");
    let packages = lock.matches("\"node_modules/").count();
    assert!(packages > 0 && packages == lock.matches("\"integrity\": \"sha512-").count(), "a package without its hash");
    let sources = std::fs::read_dir(app.join("src")).unwrap().map(|e| e.unwrap().path());
    for path in sources.chain([app.join("index.html")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.is_ascii(), "{} is not ASCII", path.display());
        for (at, _) in text.match_indices("://") {
            let allowed = ["https://www.tradingview.com/", "http://www.w3.org/2000/svg\"", "}://${location.host}"]
                .iter()
                .any(|a| {
                    let begin = at.saturating_sub(a.find("://").unwrap());
                    text[begin..].starts_with(a)
                });
            assert!(allowed, "{} asks {}", path.display(), &text[at..(at + 30).min(text.len())]);
        }
    }
}

/// Every path that a text names in backticks, with the line it stands in.
fn named_paths(text: &str) -> Vec<(usize, &str)> {
    const TOPS: [&str; 7] = ["src/", "tests/", "tools/", "wal-format/", "http-doors/", "docs/", "config/"];
    let mut found = Vec::new();
    let mut code_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        code_block ^= line.starts_with("```");
        if code_block {
            continue;
        }
        // What stands between an odd and an even backtick.
        for word in line.split('`').skip(1).step_by(2) {
            let path = word.split(' ').next().unwrap_or(word);
            if TOPS.iter().any(|top| path.starts_with(top)) {
                found.push((number, path));
            }
        }
    }
    found
}

/// True when `path` is there; `*` stands for one name, `<name>` for anything.
fn is_there(root: &Path, path: &str) -> bool {
    let path = path.split('<').next().unwrap_or(path).trim_end_matches('/');
    match path.split_once('*') {
        None => root.join(path).exists(),
        Some((before, after)) => std::fs::read_dir(root.join(before)).is_ok_and(|entries| {
            entries.flatten().any(|e| after.is_empty() || e.path().join(after.trim_start_matches('/')).exists())
        }),
    }
}

#[test]
fn paths_that_the_documents_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "src/README.md", "tests/README.md"].map(|d| root.join(d)).to_vec();
    documents.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|e| e.unwrap().path()));
    let mut gone = Vec::new();
    for document in documents.iter().filter(|d| d.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(document).unwrap();
        let missing = named_paths(&text).into_iter().filter(|(_, path)| !is_there(root, path));
        gone.extend(missing.map(|(line, path)| format!("{}:{line}: {path}", document.display())));
    }
    assert!(gone.is_empty(), "documents name what is not there:\n{}", gone.join("\n"));
}
