//! Makes the page's files of `page/app` with npm and esbuild and leaves them where `page` includes
//! them. It owns `OUT_DIR` alone and never fails for the page, unless configured to.
//!
//! `TAPEDECK_PAGE`: `auto` (default) = build it where npm can; `on` = fail where it cannot; `off` = leave it out. What npm
//! fetched, and the last files made, stay in `OUT_DIR`: once there, no network is needed.

use std::error::Error;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Inputs of the page; nothing else makes npm run again.
const INPUTS: [&str; 4] = ["package.json", "package-lock.json", "index.html", "src"];
/// A first fetch over a slow line takes this long; without a network npm gives up sooner.
const LIMIT: Duration = Duration::from_secs(240);

fn main() {
    let app = Path::new("page/app");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=TAPEDECK_PAGE");
    for input in INPUTS {
        println!("cargo:rerun-if-changed={}", app.join(input).display());
    }
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    let wanted = env::var("TAPEDECK_PAGE").unwrap_or_default();
    let made = match wanted.as_str() {
        "off" => Err("TAPEDECK_PAGE=off was set when this binary was built".into()),
        _ => make(app, &out.join("page")),
    };
    let last = out.join("page/dist");
    let text = match made {
        Ok(()) => bundle(&last),
        Err(why) if wanted == "on" => {
            println!("cargo:error=the page cannot be built: {why}");
            return;
        }
        Err(why) if wanted != "off" && last.exists() => {
            println!("cargo:warning=the page is the one built before: {why}");
            bundle(&last)
        }
        Err(why) => {
            if wanted != "off" {
                println!("cargo:warning=the page is left out: {why}");
            }
            Ok(format!(
                "pub(super) const BUNDLE: Bundle = Bundle {{ index: None, why_not: {:?}, files: &[] }};\n",
                why.to_string()
            ))
        }
    };
    let written = text.and_then(|text| Ok(fs::write(out.join("page.rs"), text)?));
    if let Err(why) = written {
        println!("cargo:error=the page's files cannot be written: {why}");
    }
}

/// `work/dist` from the sources, or why not; an older one stays in that case.
fn make(app: &Path, work: &Path) -> Result<()> {
    fs::create_dir_all(work)?;
    let _ = fs::remove_dir_all(work.join("src"));
    for input in INPUTS {
        copy(&app.join(input), &work.join(input))?;
    }
    // What is in node_modules belongs to this list.
    let (lock, stamp) = (fs::read_to_string(work.join("package-lock.json"))?, work.join("node_modules/.tapedeck"));
    if fs::read_to_string(&stamp).ok().as_deref() != Some(lock.as_str()) {
        let flags = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"];
        run(work, "npm", &flags)?;
        fs::write(&stamp, lock)?;
    }
    let new = work.join("dist-new");
    let _ = fs::remove_dir_all(&new);
    let flags = [
        "node_modules/esbuild/bin/esbuild",
        "src/main.ts",
        "src/page.css",
        "src/icon.svg",
        "--bundle",
        "--minify",
        "--format=esm",
        "--target=es2022",
        "--charset=utf8",
        "--conditions=production",
        "--legal-comments=eof",
        "--loader:.svg=copy",
        "--entry-names=[name]-[hash]",
        "--asset-names=[name]-[hash]",
        "--log-level=warning",
        "--outdir=dist-new",
    ];
    run(work, "node", &flags)?;
    let mut index = fs::read_to_string(work.join("index.html"))?;
    for name in names(&new)? {
        let (stem, end) = name.rsplit_once('-').zip(name.rsplit_once('.')).map_or(("", ""), |(a, b)| (a.0, b.1));
        index = index.replace(&format!("%{stem}.{end}%"), &format!("/assets/{name}"));
    }
    fs::write(new.join("index.html"), index)?;
    let _ = fs::remove_dir_all(work.join("dist"));
    #[expect(clippy::disallowed_methods, reason = "what a build makes need not survive a power cut")]
    fs::rename(new, work.join("dist"))?;
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().into_string().map_err(|n| format!("{n:?} is no name"))?);
    }
    names.sort();
    Ok(names)
}

/// Rust text that includes everything in `dist`.
fn bundle(dist: &Path) -> Result<String> {
    let mut files = String::new();
    for name in names(dist)?.iter().filter(|n| *n != "index.html") {
        let kind = match name.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => continue,
        };
        write!(
            files,
            "\n    File {{ name: {name:?}, kind: {kind:?}, bytes: include_bytes!({:?}) }},",
            dist.join(name)
        )?;
    }
    let index = dist.join("index.html");
    Ok(format!(
        "pub(super) const BUNDLE: Bundle = Bundle {{ index: Some(include_str!({index:?})), why_not: \"\", files: &[{files}\n] }};\n"
    ))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to).map_err(|err| format!("{}: {err}", from.display()))?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for name in names(from)? {
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// Runs to the end or the limit; the error is the last line that was said.
fn run(dir: &Path, program: &str, args: &[&str]) -> Result<()> {
    let said = dir.join("said.txt");
    let to = fs::File::create(&said)?;
    let mut child = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(to.try_clone()?)
        .stderr(to)
        .spawn()
        .map_err(|err| match err.kind() {
            ErrorKind::NotFound => format!("{program} is not installed"),
            _ => format!("{program} does not start ({err})"),
        })?;
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Err(format!("{program} took more than {} s", LIMIT.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(20));
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(&said).unwrap_or_default();
    let last = text.lines().find(|l| l.contains("ERROR") || l.contains("error")).unwrap_or("no reason was given");
    Err(format!("{program} {} failed: {}", args.first().unwrap_or(&""), last.trim()).into())
}
