//! What the real services say about themselves while they run: metrics that Prometheus' own tool accepts, health that
//! turns red and green, memory reports, JSON logs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::venue::{Exchange, market, write_config};
use crate::support::{Service, both, free_port, http, run, seed, wait_until};

/// What promtool says about a text, or `None` without promtool.
fn promtool(args: &[&str], text: &str) -> Option<(bool, String)> {
    let child =
        Command::new("promtool").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        println!("skipped: promtool is not here (apt-get install prometheus)");
        return None;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    Some((out.status.success(), both(&out)))
}

/// Each metric of a Prometheus text with its type and the names of its labels, none where it has no series, as a line of
/// `metrics.txt` has them; everything that is not as it must be fails.
fn lint(text: &str) -> BTreeMap<String, String> {
    let (mut names, mut types, mut series) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    let mut labels = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(names.insert(name.to_owned()), "{name} has two HELP lines");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(names.contains(name), "TYPE before HELP: {line}");
            assert!(name.starts_with("tapedeck_"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            types.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.insert(key.to_owned()), "{key} is there twice");
        let name = key.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s))
            .filter(|n| types.get(*n).is_some_and(|t| t == "histogram"));
        let name = of_histogram.unwrap_or(name);
        assert!(types.contains_key(name), "{name} has no TYPE");
        let keys = key.split(['{', ',']).filter_map(|l| Some(l.split_once("=\"")?.0)).filter(|l| *l != "le");
        labels.insert(name.to_owned(), keys.collect::<Vec<_>>().join(","));
    }
    let line = |(name, kind)| {
        let labels = labels.get(&name).cloned().unwrap_or_default();
        let line = format!("{name} {kind} {labels}").trim_end().to_owned();
        (name, line)
    };
    types.into_iter().map(line).collect()
}

/// Every `tapedeck_...` word of a text.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| w.starts_with("tapedeck_")).map(str::to_owned).collect()
}

#[test]
fn what_both_services_say_is_lint_clean_healthy_and_all_that_rules_and_dashboard_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let exchange = Exchange::start(market("binance-usdm", 2_000, None, seed("observe")));
    let config = write_config(
        dir.path(),
        &exchange,
        "binance-usdm",
        &format!("[collector]\nlisten = \"127.0.0.1:{}\"\n", free_port()),
    );
    let json = [("TAPEDECK__LOG__FORMAT", "json"), ("TAPEDECK__LOG__LEVEL", "info")];
    let collector = Service::start("collector", &config, &json);
    let compactor = Service::start("compactor", &config, &json);
    let table: toml::Table = std::fs::read_to_string(&config).unwrap().parse().unwrap();
    let at = |section: &str| table[section]["listen"].as_str().unwrap().to_owned();
    let (capture, lake) = (at("collector"), at("api"));
    for address in [&capture, &lake] {
        wait_until("a healthy service", || http::get(address, "/health").is_some_and(|(status, _)| status == 200));
    }
    wait_until("rows and closed looks", || {
        http::get(&lake, "/metrics")
            .is_some_and(|(_, t)| t.contains("table=\"trades\"}") && t.contains("tapedeck_disk_free_bytes{"))
    });
    let mut known = BTreeMap::new();
    for address in [&capture, &lake] {
        let (_, text) = http::get(address, "/metrics").unwrap();
        known.extend(lint(&text));
        if let Some((well, said)) = promtool(&["check", "metrics"], &text) {
            assert!(well && said.trim().is_empty(), "promtool: {said}");
        }
    }
    // Somebody's dashboard asks for each of them: a metric that goes or gets another type or label breaks it.
    let contract = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/prometheus/metrics.txt"));
    for line in contract.unwrap().lines() {
        let name = line.split(' ').next().unwrap();
        match known.get(name) {
            // Not every kernel says who waits for memory.
            None => assert_eq!(name, "tapedeck_memory_stall_ratio"),
            Some(found) => assert!(line.starts_with(found.as_str()), "{line:?} is promised, {found:?} is told"),
        }
    }
    for file in ["config/prometheus/alerts.yml", "config/grafana/tapedeck.json"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        for name in metric_names(&text) {
            let base = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(known.contains_key(base), "{file} asks for {name}, which no service tells");
        }
    }
    let path = config.display().to_string();
    let text = both(&run(&["status", "--memory", "--config", &path]));
    for words in ["collector  ", "compactor  ", "log_segments", "row_buffers", "unaccounted"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let out = run(&["status", "--memory", "--json", "--config", &path]);
    let reports: Value = serde_json::from_slice(&out.stdout).unwrap();
    let services: Vec<&str> =
        reports["memory"].as_array().unwrap().iter().map(|r| r["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["collector", "compactor"]);
    // The exchange goes: the collector turns red and says why.
    let _ = exchange.stop();
    wait_until("a red collector", || http::get(&capture, "/health").is_some_and(|(status, _)| status == 503));
    let (_, why) = http::get(&capture, "/health").unwrap();
    assert!(why.contains("binance-usdm: "), "{why}");
    let (_, text) = http::get(&capture, "/metrics").unwrap();
    assert!(text.contains("tapedeck_collector_up{venue=\"binance-usdm\"} 0\n"), "{text}");
    let logs = [collector.said(), compactor.said()];
    compactor.stop();
    let text = both(&run(&["status", "--memory", "--config", &path]));
    assert!(
        text.contains("log_segments") && text.contains(&format!("compactor  not answering at http://{lake}")),
        "{text}"
    );
    collector.stop();
    for said in logs {
        assert!(!said.is_empty());
        for line in said.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("no JSON ({err}): {line}"));
            assert!(
                line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(),
                "{line}"
            );
        }
    }
    let out = run(&["status", "--memory", "--config", &path]);
    assert!(!out.status.success() && both(&out).contains("no service says"), "{}", both(&out));
}

#[test]
fn every_alert_has_a_test_that_provokes_it_and_promtool_passes_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join("config/prometheus/alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(root.join("tests/data/prometheus/alerts_test.yml")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20);
    for alert in &alerts {
        assert!(tests.contains(&format!("- name: {alert}\n")), "{alert} is provoked by no test");
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("alerts.yml", &rules), ("alerts_test.yml", &tests)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let file = dir.path().join("alerts_test.yml").display().to_string();
    if let Some((well, said)) = promtool(&["test", "rules", &file], "") {
        assert!(well, "promtool: {said}");
    }
    let scrape = root.join("config/prometheus/scrape.yml").display().to_string();
    if let Some((well, said)) = promtool(&["check", "config", &scrape], "") {
        assert!(well, "promtool: {said}");
    }
}
