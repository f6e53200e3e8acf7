//! Every row of a lake is in the catalog once, whatever dies, comes first, or is lost on the way. Needs SeaweedFS (`weed`);
//! engines need a Python with them. Both say so in a line where they are missing.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashMap};

use committer::commit::{Change, commit};
use committer::schema::Target;
use lake::{Body, Table};
use support::lake::PartOf;
use support::proxy::{Fate, Proxy};
use support::{Desk, Tape, said};

const LOG_A: &str = "aaaaaaaa000000000000000000000001";
const LOG_B: &str = "bbbbbbbb000000000000000000000002";

/// Places at which a round may be killed.
const POINTS: [&str; 7] = [
    "commit.before_manifests",
    "commit.after_manifests",
    "commit.after_list",
    "commit.after_answer",
    "round.before_hours",
    "hours.after_file",
    "round.after_hours",
];

fn publish(tape: &Tape<'_>, desk: &Desk, parts: impl IntoIterator<Item = PartOf>) {
    for part in parts {
        part.publish(&tape.lake, desk.scratch.path());
    }
}

fn log_a(n: u64) -> PartOf {
    PartOf::of("binance-spot", LOG_A, n)
}

fn log_b(n: u64) -> PartOf {
    PartOf::of("gate-spot", LOG_B, n)
}

#[test]
fn four_engines_read_what_the_lake_has_row_for_row_before_and_after_a_rewrite_and_retention() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_store("engines");
    publish(&tape, &desk, (0..4).flat_map(|n| [log_a(n), log_b(n)]));
    let text = tape.well(&["once"]);
    assert!(text.contains("8 parts committed, 0 rewritten, 0 removed, 2 commits"), "one commit a table: {text}");
    tape.is_whole();
    tape.readers_agree();
    let text = tape.well(&["once"]);
    assert!(text.contains("0 parts committed, 0 rewritten, 0 removed, 0 commits"), "{text}");

    publish(&tape, &desk, [log_a(1).rewritten(), log_b(4)]);
    let text = tape.well(&["once"]);
    assert!(text.contains("1 parts committed, 1 rewritten"), "{text}");
    tape.is_whole();
    tape.readers_agree();

    // Retention lists files as removed, then removes them, and leaves the manifest.
    let old = log_b(0);
    let files = [Table::Trades, Table::BookTicker].map(|table| old.file(table));
    let lines: String = files
        .iter()
        .map(|path| format!("{{\"path\":\"{path}\",\"hour\":\"x\",\"why\":\"x\",\"at_ns\":1}}\n"))
        .collect();
    tape.lake.append("_manifests/removed.jsonl", lines.as_bytes()).unwrap();
    for file in &files {
        tape.lake.delete(file).unwrap();
    }
    let text = tape.well(&["once"]);
    assert!(text.contains("0 parts committed, 0 rewritten, 1 removed"), "{text}");
    tape.is_whole();
    tape.readers_agree();
    // A start that remembers nothing does not bring it back.
    assert!(tape.well(&["once"]).contains("0 parts committed, 0 rewritten, 0 removed, 0 commits"));
}

#[test]
fn recorded_lakes_of_every_schema_version_are_read_row_for_row_in_every_table() {
    let Some(desk) = Desk::open() else { return };
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/lake");
    for version in ["v1", "v2"] {
        let tape = desk.in_store(&format!("golden_{version}"));
        let from = lake::Lake::open(&golden.join(version));
        // Manifests last, as they are published.
        let mut keys: Vec<String> = from.list("", None, None).unwrap().into_iter().map(|meta| meta.key).collect();
        keys.sort_by_key(|key| key.starts_with("_manifests"));
        for key in &keys {
            tape.lake.put_new(key, Body::Bytes(&from.read(key).unwrap())).unwrap();
        }
        let text = tape.well(&["once"]);
        assert!(text.contains("2 parts committed"), "{text}");
        tape.is_whole();
        let tables = Table::ALL.iter().map(|table| table.as_str());
        let tables: Vec<&str> =
            tables.filter(|table| keys.iter().any(|key| key.starts_with(&format!("{table}/")))).collect();
        assert!(tables.len() >= 5);
        tape.readers_agree_on(&tables);
    }
}

#[test]
fn a_lake_in_a_directory_and_a_log_that_was_cloned_lose_no_part() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_directory("directory");
    publish(&tape, &desk, [log_a(5), log_a(6)]);
    tape.well(&["once"]);
    tape.is_whole();
    // The clone has the same uuid and lower numbers; and a part that was missing is published late.
    publish(&tape, &desk, [PartOf { first_seq: (1 << 40) + 500, ..log_a(9) }, log_a(2)]);
    let text = tape.well(&["once"]);
    assert!(text.contains("2 parts committed"), "{text}");
    tape.is_whole();
    tape.readers_agree();
}

#[test]
fn a_committer_that_is_killed_at_any_step_leaves_nothing_out_and_nothing_twice() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_directory("killed");
    let (mut n, mut kills) = (0, 0);
    for point in POINTS {
        for time in 1..=3 {
            publish(&tape, &desk, [log_a(n), log_b(n)]);
            // A rewrite is killed as well as an append.
            if n % 4 == 3 {
                publish(&tape, &desk, [log_a(n - 2).rewritten()]);
            }
            n += 1;
            kills += u32::from(tape.killed_at(&format!("{point}:{time}")));
            if n % 5 == 0 {
                tape.well(&["once"]);
                tape.is_whole();
            }
        }
    }
    assert!(kills >= 15, "only {kills} kills");
    tape.well(&["once"]);
    tape.is_whole();
}

#[test]
fn answers_that_are_lost_and_requests_that_do_not_arrive_leave_nothing_out_and_nothing_twice() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_directory("lost");
    let fates = [Fate::AnswerLost, Fate::Passes, Fate::Lost, Fate::AnsweredFailed, Fate::Passes];
    let proxy = Proxy::start(&desk.catalog(), move |n| fates[(n % 5) as usize]);
    let config = tape.over(&proxy.uri);
    for n in 0..6 {
        publish(&tape, &desk, [log_a(n), log_b(n)]);
        let out = tape.command(&config, &["once"]).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
    }
    assert!(proxy.posts.load(std::sync::atomic::Ordering::SeqCst) > 20);
    tape.is_whole();
}

#[test]
fn two_committers_at_once_commit_every_part_once() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_directory("two");
    for round in 0..4 {
        publish(&tape, &desk, (0..3).flat_map(|n| [log_a(round * 3 + n), log_b(round * 3 + n)]));
        let both = [tape.spawn(&["once"]), tape.spawn(&["once"])];
        for child in both {
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "{}", said(&out));
        }
    }
    tape.is_whole();
}

#[test]
fn after_others_rewrote_a_table_the_position_is_found_and_every_row_is_there_once() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_store("compacted");
    publish(&tape, &desk, (0..3).flat_map(|n| [log_a(n), log_b(n)]));
    tape.well(&["once"]);
    // As an engine's maintenance does it: all files become others, in snapshots that carry no position.
    let rewrite = "t = c.load_table(f'{ns}.trades')\nrows = t.scan().to_arrow()\nt.overwrite(rows)\n\
                   assert not any(k.startswith('tapedeck.pos') for k in t.current_snapshot().summary.model_dump())";
    if !tape.python(rewrite) {
        return;
    }
    publish(&tape, &desk, [log_a(3), log_b(3)]);
    let text = tape.well(&["once"]);
    assert!(text.contains("2 parts committed"), "only what is new: {text}");
    let text = tape.well(&["check"]);
    assert!(text.contains("note: trades: another engine put the rows of 6 files"), "{text}");
    tape.readers_agree();
    // Killed between the table and the account, and rewritten by others in between: nothing but the position tells.
    publish(&tape, &desk, [log_a(4)]);
    assert!(tape.killed_at("round.before_hours"));
    assert!(tape.python(rewrite));
    tape.well(&["once"]);
    tape.readers_agree();
    // The same, and the part was rewritten too before the account has it: what others keep are the rows of before.
    publish(&tape, &desk, [log_b(4)]);
    assert!(tape.killed_at("round.before_hours"));
    assert!(tape.python(rewrite));
    publish(&tape, &desk, [log_b(4).rewritten()]);
    let text = said(&tape.run(&["once"]));
    assert!(text.contains("the part was rewritten, and table trades has its file no more"), "{text}");
    log_b(4).publish(&tape.lake, desk.scratch.path());
    tape.well(&["once"]);
    tape.readers_agree();
    // A part that was rewritten, whose rows are in files of others, is refused with the way out.
    publish(&tape, &desk, [log_a(1).rewritten()]);
    let out = tape.run(&["once"]);
    let text = said(&out);
    assert!(!out.status.success() && text.contains("tapedeck-committer add"), "{text}");
    let first = log_a(1).first_seq;
    let delete = format!(
        "c.load_table(f'{{ns}}.trades').delete(f\"exchange = 'binance-spot' and seq >= {first} and seq < {}\")",
        first + 900
    );
    assert!(tape.python(&delete));
    tape.well(&["add", &log_a(1).manifest()]);
    tape.readers_agree();
}

#[test]
fn a_table_with_snapshots_of_others_alone_stops_the_committer_and_it_says_so() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_directory("others");
    let ours = "c.create_namespace_if_not_exists(ns)\nt = c.create_table(f'{ns}.trades', pa.schema([('exchange', pa.string())]))\n\
                t.append(pa.table({'exchange': ['x']}))";
    if !tape.python(ours) {
        return;
    }
    publish(&tape, &desk, [log_a(0)]);
    let out = tape.run(&["once"]);
    let text = said(&out);
    assert!(!out.status.success() && text.contains("nothing is committed"), "{text}");
    let text = said(&tape.run(&["check"]));
    assert!(text.contains("is not in table hours"), "{text}");
}

#[test]
fn check_tells_a_file_that_is_missing_one_that_is_doubled_and_an_hour_that_is_not_there() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_directory("checked");
    publish(&tape, &desk, [log_a(0), log_a(1), log_a(2)]);
    tape.well(&["once"]);
    tape.is_whole();
    let differs = |what: &[&str]| {
        let out = tape.run(&["check"]);
        let text = said(&out);
        assert!(!out.status.success(), "{text}");
        for what in what {
            assert!(text.contains(what), "{what:?} is not in: {text}");
        }
    };
    // An hour that is in the lake alone.
    publish(&tape, &desk, [log_a(4)]);
    differs(&[
        "is not in table hours: not committed yet",
        "trades: binance-spot 2024-10-04T04 has 0 rows in the catalog, 24 in the lake",
    ]);
    tape.well(&["once"]);
    tape.is_whole();
    // A file that is gone from the lake, without retention.
    let key = log_a(1).file(Table::Trades);
    let bytes = tape.lake.read(&key).unwrap();
    tape.lake.delete(&key).unwrap();
    differs(&[
        &format!("trades: {key} is in the table, and the lake does not have it"),
        "has 21 rows in the catalog, 0 in the lake",
    ]);
    tape.lake.put_new(&key, Body::Bytes(&bytes)).unwrap();
    tape.is_whole();
    // A file that is in a table twice.
    let session = tape.session();
    let state = session.load(Target::Lake(Table::Trades)).unwrap().unwrap();
    let live = state.live(&session, None).unwrap();
    let entry = live.get(&session.uri(&key)).unwrap()[0].entry.clone();
    let (add, remove, position) =
        (vec![entry.data_file().clone()], HashMap::new(), BTreeMap::from([("aaaaaaaa".to_owned(), 7)]));
    commit(&session, &state, Change { add, remove, position }).unwrap();
    differs(&["is in the table 2 times", "has 42 rows in the catalog, 21 in the lake"]);
}

#[test]
fn snapshots_expire_with_what_only_they_name_and_the_tables_stay_whole() {
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_store("expired");
    for n in 0..6 {
        publish(&tape, &desk, [log_a(n)]);
        tape.well(&["once"]);
    }
    let snapshots =
        |session: &committer::Session, target| session.load(target).unwrap().unwrap().metadata.snapshots().len();
    let session = tape.session();
    assert_eq!(snapshots(&session, Target::Lake(Table::Trades)), 6);
    let text = tape.well(&["expire"]);
    assert!(text.starts_with("0 snapshots"), "none is a week old: {text}");
    committer::expire::expire_before(&session, i64::MAX, i64::MAX).unwrap();
    assert_eq!(snapshots(&session, Target::Lake(Table::Trades)), 1);
    assert_eq!(snapshots(&session, Target::Hours), 1);
    tape.is_whole();
    tape.readers_agree();
    publish(&tape, &desk, [log_a(6), log_a(1).rewritten()]);
    tape.well(&["once"]);
    tape.is_whole();
    tape.readers_agree();
}

/// `TAPEDECK_RUNS` kills (tests/campaigns/committer.sh: 200), `TAPEDECK_SEED` repeats a run.
#[test]
fn killed_at_random_instants_with_lost_answers_and_others_in_between_every_row_is_there_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let runs = number("TAPEDECK_RUNS").unwrap_or(8);
    let seed = number("TAPEDECK_SEED").unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64);
    println!("TAPEDECK_SEED={seed} TAPEDECK_RUNS={runs}");
    let Some(desk) = Desk::open() else { return };
    let tape = desk.in_store("random");
    let proxy = Proxy::start(&desk.catalog(), move |n| match dice(seed ^ 0x55, n) % 8 {
        0 => Fate::AnswerLost,
        1 => Fate::Lost,
        2 => Fate::AnsweredFailed,
        _ => Fate::Passes,
    });
    let config = tape.over(&proxy.uri);
    let (mut killed, mut ended, mut foreign, mut since) = (0_u64, 0_u64, 0_u64, 0);
    let mut longest_ms = 2_000;
    for i in 0.. {
        if killed == runs {
            break;
        }
        let part = if i % 2 == 0 { log_a(i) } else { log_b(i) };
        publish(&tape, &desk, [part]);
        // Only what others have not put elsewhere can be replaced.
        if i > since + 4 && i % 7 == 0 && i % 40 < 20 {
            let part = if (i - 2) % 2 == 0 { log_a(i - 2) } else { log_b(i - 2) };
            publish(&tape, &desk, [part.rewritten()]);
        }
        let began = std::time::Instant::now();
        let mut child = tape.command(&config, &["once"]).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(dice(seed, i) % longest_ms));
        match child.try_wait().unwrap() {
            Some(_) => {
                ended += 1;
                longest_ms = (longest_ms + began.elapsed().as_millis() as u64) / 2 + 20;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
                longest_ms += 50;
            }
        }
        if i % 40 == 39 || (i == runs / 2 && foreign == 0) {
            // All that is there becomes files of others, the part of a commit that was cut short too.
            if tape.python("t = c.load_table(f'{ns}.trades')\nt.overwrite(t.scan().to_arrow())") {
                (foreign, since) = (foreign + 1, i);
            }
        }
    }
    tape.well(&["once"]);
    let text = tape.well(&["check"]);
    println!("{killed} killed, {ended} ended before, {foreign} rewrites by others: {text}");
    if foreign == 0 {
        tape.is_whole();
    }
    tape.readers_agree();
}

/// A number of a seed.
fn dice(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
