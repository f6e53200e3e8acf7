//! The whole way through the binary: an S3-shaped archive is downloaded, cleaned and proven; a file that is uploaded
//! again is fetched again and its month, and no other, cleaned again.

use history::clean::pack::pack;

use crate::support::history::Mirror;
use crate::support::s3::Archive;
use crate::support::{both, recordings};

const AGGS: &str = "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-08-08.zip";
const NEXT: &str = "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-09-01.zip";
const OPTIONS: &str = "data/option/daily/EOHSummary/BTCUSDT/BTCUSDT-EOHSummary-2023-05-18.zip";
const REAL: &str = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2020-01-0";

fn aggs(ids: std::ops::Range<i64>, start_ms: i64) -> Vec<u8> {
    let line = |i: i64| format!("{i},60000.5,0.25,{i},{i},{},true\n", start_ms + i);
    pack("x.csv", ids.map(line).collect::<String>().as_bytes()).unwrap()
}

#[test]
fn what_is_downloaded_is_cleaned_and_proven_and_cleaned_again_when_it_is_uploaded_again() {
    let archive = Archive::start();
    for day in ["1", "3"] {
        let key = format!("{REAL}{day}.zip");
        let file = recordings().join("archive").join(key.rsplit('/').next().unwrap());
        archive.put_alone(&key, std::fs::read(&file).unwrap());
        archive.put_alone(&format!("{key}.CHECKSUM"), std::fs::read(file.with_extension("zip.CHECKSUM")).unwrap());
    }
    archive.put(AGGS, aggs(0..50, 1_723_075_200_000));
    archive.put(NEXT, aggs(50..60, 1_725_148_800_000));
    archive.put(OPTIONS, pack("x.csv", b"date,hour\n").unwrap());
    let mirror = Mirror::new(&archive, "clean_workers = 2");
    let all = ["--period", "daily"];
    let run = mirror.download(&all);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &5.into()), "{}", run.text);
    assert_eq!(mirror.json(&["status"])[0]["wants_cleaning"], 5);
    let clean = || mirror.json(&["clean"]).remove(0);
    // What would be done is told, and nothing is done.
    let would = || mirror.json(&["clean", "--dry-run"]);
    let told = would();
    assert!(told.len() == 4 && told[..3].iter().all(|l| l["why"] == "new"), "{told:?}");
    assert_eq!((&told[3]["dry_run"]["would_clean"], &told[3]["dry_run"]["files"]), (&3.into(), &4.into()), "{told:?}");
    assert!(!mirror.root().join("lake").exists());
    assert_eq!(mirror.json(&["status"])[0]["wants_cleaning"], 5);
    let first = clean();
    assert_eq!((&first["months"], &first["cleaned"], &first["rows"]), (&3.into(), &3.into(), &2_940.into()), "{first}");
    assert_eq!(first["only_mirrored"], 1);
    assert_eq!(mirror.json(&["status"])[0]["wants_cleaning"], 1, "options are only mirrored");
    assert_eq!(mirror.json(&["status"])[0]["runs"][0]["summary"]["cleaned"], 3);
    let metrics = std::fs::read_to_string(mirror.root().join("manifests/clean.prom")).unwrap();
    assert!(metrics.contains("tapedeck_history_clean_months{result=\"ok\"} 3\n"), "{metrics}");
    assert_eq!(
        would(),
        [serde_json::json!({ "dry_run": {
        "months": 3, "would_clean": 0, "unchanged": 3, "files": 0, "bytes": 0, "refused_files": 0, "only_mirrored": 1,
    } })]
    );
    let again = clean();
    assert_eq!((&again["cleaned"], &again["unchanged"]), (&0.into(), &3.into()));
    // A day of the real file is missing, and nobody reported that.
    let out = mirror.history(&["verify", "--market", "spot"]);
    assert_eq!(out.status.code(), Some(1), "{}", both(&out));
    assert!(both(&out).contains("1440 ids or rows are missing"), "{}", both(&out));
    let out = mirror.history(&["verify", "--market", "um"]);
    assert_eq!(out.status.code(), Some(0), "{}", both(&out));
    // Uploaded again, with a row more and one less.
    archive.put(AGGS, aggs(1..50, 1_723_075_200_000));
    let run = mirror.download(&all);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &1.into()), "{}", run.text);
    let told = would();
    assert_eq!((told.len(), &told[0]["why"], &told[0]["month"]), (2, &"files".into(), &"2024-08".into()), "{told:?}");
    assert_eq!(told[0]["because_of"], serde_json::json!([format!("changed {AGGS}")]));
    let text = String::from_utf8_lossy(&mirror.history(&["clean", "--dry-run"]).stdout).into_owned();
    assert!(text.lines().count() == 1 && text.contains(&format!("\tfiles, changed {AGGS}")), "{text}");
    let third = clean();
    assert_eq!(
        (&third["cleaned"], &third["unchanged"], &third["rows"]),
        (&1.into(), &2.into(), &2_939.into()),
        "{third}"
    );
    let stats = mirror.root().join("lake/_stats/agg_trades/exchange=binance-usdm/BTCUSDT/stats.json");
    let stats: serde_json::Value = serde_json::from_slice(&std::fs::read(stats).unwrap()).unwrap();
    assert_eq!((&stats["rows"], &stats["defects"]["uploaded_again"]["count"]), (&59.into(), &1.into()), "{stats}");
    assert_eq!(stats["checksums"][0]["former_sha256"].as_array().unwrap().len(), 1);
    assert_eq!(stats["missing_ids"]["count"], 0);
}
