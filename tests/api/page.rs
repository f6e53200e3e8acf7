//! The page in a real browser: `tests/scripts/page.mjs` starts the demo, clicks a symbol and an interval, scrolls back,
//! watches live changes, cuts the connection, and reads the console. Needs node, npm at build time, and chromium.

use std::process::Command;

fn is_there(program: &str, names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| names.iter().any(|n| dir.join(n).exists()));
    if !found {
        eprintln!("skipped: no {program}");
    }
    found
}

#[test]
fn the_page_shows_symbols_history_and_live_changes_and_outlives_a_lost_connection() {
    let browser = std::env::var_os("CHROMIUM").is_some()
        || is_there("chromium", &["chromium", "chromium-browser", "google-chrome"]);
    if !browser || !is_there("node", &["node"]) {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/page.mjs");
    let out = Command::new("node").arg(script).arg(env!("CARGO_BIN_EXE_tapedeck")).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    println!("{said}");
    // 3 = the page was not built into this binary.
    assert!(matches!(out.status.code(), Some(0 | 3)), "{said}");
}
