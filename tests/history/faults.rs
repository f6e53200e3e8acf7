//! A server in trouble: every fault ends in the right bytes or in a named dead letter, and the other files come all
//! the same.

use crate::support::both;
use crate::support::history::{Mirror, Run};
use crate::support::proxy::{Kind, Proxy};
use crate::support::s3::{Archive, Fault, noise};

fn key(day: u32) -> String {
    format!("data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-{day:02}.zip")
}

/// Twenty files; the tenth is the one in trouble.
fn twenty() -> (Archive, String) {
    let archive = Archive::start();
    for day in 1..=20 {
        archive.put(&key(day), noise(day.into(), 300_000));
    }
    (archive, key(10))
}

/// All twenty are here after one run, in spite of these faults.
fn recovers(faults: Vec<Fault>) -> (Archive, Mirror, Run) {
    let (archive, key) = twenty();
    archive.fault(&key, faults);
    let mirror = Mirror::new(&archive, "");
    let run = mirror.download(&["--kind", "trades"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &20.into()), "{}", run.text);
    mirror.holds_exactly(&archive, &archive.keys());
    (archive, mirror, run)
}

/// All but one are here, and that one is a dead letter that says `why`.
fn buries(archive: &Archive, mirror: &Mirror, bad: &str, why: &str) {
    let run = mirror.download(&["--kind", "trades"]);
    assert_eq!(
        (run.code, &run.summary["ok"], &run.summary["failed"]),
        (Some(1), &19.into(), &1.into()),
        "{}",
        run.text
    );
    assert!(run.text.contains("dead-letter list"), "{}", run.text);
    let others: Vec<String> = archive.keys().into_iter().filter(|k| k != bad).collect();
    mirror.holds_exactly(archive, &others);
    let dead = mirror.json(&["status"])[0]["dead"].clone();
    assert_eq!(dead.as_array().unwrap().len(), 1, "{dead}");
    assert_eq!(dead[0]["path"], bad);
    assert!(dead[0]["error"].as_str().unwrap().starts_with(&format!("{why}: ")), "{dead}");
    assert!(!dead[0]["what_to_do"].as_str().unwrap().is_empty());
}

#[test]
fn server_errors_and_resets_in_the_middle_are_tried_again_and_resumed_where_they_broke() {
    let (archive, _, run) = recovers(vec![
        Fault::Status(500, None),
        Fault::ResetAfter(100_000),
        Fault::CloseAfter(50_000),
        Fault::Status(502, None),
    ]);
    assert_eq!(run.summary["retries"], 4);
    let tries: Vec<_> = archive.zips().into_iter().filter(|z| z.key == key(10)).collect();
    assert_eq!(tries.len(), 5);
    let sent: usize = tries.iter().map(|t| t.sent).sum();
    assert!(sent < 400_000, "what came once does not come again: {tries:?}");
    assert_eq!(tries.iter().map(|t| t.status).collect::<Vec<_>>(), [500, 200, 206, 502, 206]);
}

#[test]
fn a_throttling_server_is_given_the_time_it_asks_for_and_no_file_is_blamed() {
    let (archive, key) = twenty();
    // More often than a failure would be forgiven.
    archive.fault(&key, vec![Fault::Status(429, Some(0)); 9]);
    archive.fault(&key, [Fault::Status(503, Some(1))]);
    let mirror = Mirror::new(&archive, "attempts = 3");
    let started = std::time::Instant::now();
    let run = mirror.download(&["--kind", "trades"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &20.into()), "{}", run.text);
    // Not a limit on speed: the server asked for at least this.
    assert!(started.elapsed().as_millis() >= 1_000);
    mirror.holds_exactly(&archive, &archive.keys());
}

#[test]
fn a_throttling_server_may_name_the_moment_instead_of_the_seconds() {
    let (archive, key) = twenty();
    // Two seconds after the server's own clock, which is years behind ours.
    let (after, date) = ("Wed, 21 Oct 2015 07:28:02 GMT", "Wed, 21 Oct 2015 07:28:00 GMT");
    archive.fault(&key, [Fault::StatusUntil(429, after, date)]);
    // Without an answer that is understood it would be one second.
    let mirror = Mirror::new(&archive, "attempts = 3\nretry_max_s = 1");
    let started = std::time::Instant::now();
    let run = mirror.download(&["--kind", "trades"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &20.into()), "{}", run.text);
    // Not a limit on speed: the server asked for at least this.
    assert!(started.elapsed().as_millis() >= 2_000);
    mirror.holds_exactly(&archive, &archive.keys());
}

#[test]
fn a_wrong_length_is_noticed_and_the_right_one_taken() {
    recovers(vec![Fault::WrongLength(7), Fault::WrongLength(-7)]);
}

#[test]
fn a_flipped_bit_is_caught_by_the_checksum_and_the_file_fetched_again() {
    let (_, _, run) = recovers(vec![Fault::Flip]);
    let retry = run.lines.iter().find(|l| l["state"] == "retry").unwrap();
    assert!(retry["error"].as_str().unwrap().starts_with("checksum: "), "{retry}");
}

#[test]
fn a_slow_drip_and_a_silence_are_given_up_and_resumed() {
    let (archive, _, run) = recovers(vec![Fault::Drip(40), Fault::SilentAfter(150_000)]);
    let why: Vec<&str> = run.lines.iter().filter_map(|l| l["error"].as_str()).collect();
    assert!(why.len() == 2 && why.iter().all(|w| w.starts_with("stalled: ")), "{why:?}");
    let tries: Vec<_> = archive.zips().into_iter().filter(|z| z.key == key(10)).collect();
    assert!(tries.last().unwrap().range.is_some(), "{tries:?}");
}

#[test]
fn a_file_replaced_during_its_resume_is_the_new_file_and_never_a_mixture() {
    let (archive, _, _) = recovers(vec![Fault::ReplacedAfter(120_000, noise(777, 290_000))]);
    let tries: Vec<_> = archive.zips().into_iter().filter(|z| z.key == key(10)).collect();
    assert_eq!(
        tries[1].status, 200,
        "the server was asked for the rest of the old one and gave the new one: {tries:?}"
    );
    assert!(tries[1].range.is_some());
}

#[test]
fn a_server_that_ignores_ranges_gives_the_file_from_its_beginning() {
    let (archive, _, _) = recovers(vec![Fault::ResetAfter(100_000), Fault::IgnoreRange]);
    let tries: Vec<_> = archive.zips().into_iter().filter(|z| z.key == key(10)).collect();
    assert_eq!((tries[1].status, tries[1].sent), (200, 300_000));
}

#[test]
fn a_file_that_is_listed_but_not_there_is_a_dead_letter_until_somebody_asks_again() {
    let (archive, bad) = twenty();
    archive.fault(&bad, vec![Fault::Status(404, None); 2]);
    let mirror = Mirror::new(&archive, "");
    buries(&archive, &mirror, &bad, "gone");
    archive.zips();
    let again = mirror.download(&["--kind", "trades"]);
    assert_eq!((again.code, &again.summary["dead_before"]), (Some(1), &1.into()), "{}", again.text);
    assert_eq!(archive.zips(), [], "nobody asked");
    let revived = mirror.download(&["--kind", "trades", "--retry-dead"]);
    assert_eq!((revived.code, &revived.summary["ok"]), (Some(0), &1.into()), "{}", revived.text);
    mirror.holds_exactly(&archive, &archive.keys());
}

#[test]
fn a_checksum_that_never_agrees_is_a_dead_letter_and_leaves_nothing() {
    let (archive, bad) = twenty();
    archive.put_alone(&format!("{bad}.CHECKSUM"), format!("{}  {}\n", "0".repeat(64), bad.rsplit('/').next().unwrap()));
    let mirror = Mirror::new(&archive, "");
    buries(&archive, &mirror, &bad, "checksum");
    assert_eq!(archive.zips().iter().filter(|z| z.key == bad).count(), 3);
}

#[test]
fn a_checksum_file_that_is_none_or_a_page_of_html_is_a_dead_letter() {
    let (archive, bad) = twenty();
    archive.put_alone(&format!("{bad}.CHECKSUM"), "<html>please log in</html>");
    buries(&archive, &Mirror::new(&archive, ""), &bad, "bad checksum file");
    // HTML in place of the file itself.
    let (archive, bad) = twenty();
    archive.fault(&bad, vec![Fault::Html; 9]);
    let mirror = Mirror::new(&archive, "attempts = 3");
    let run = mirror.download(&["--kind", "trades"]);
    assert_eq!((run.code, &run.summary["failed"]), (Some(1), &1.into()), "{}", run.text);
    mirror.holds_exactly(&archive, &archive.keys().into_iter().filter(|k| *k != bad).collect::<Vec<_>>());
}

#[test]
fn a_server_that_always_fails_one_file_buries_it_after_the_configured_failures() {
    let (archive, bad) = twenty();
    archive.fault(&bad, vec![Fault::Status(500, None); 50]);
    let mirror = Mirror::new(&archive, "attempts = 4");
    buries(&archive, &mirror, &bad, "server");
    assert_eq!(archive.zips().iter().filter(|z| z.key == bad).count(), 4);
}

#[test]
fn a_listing_in_trouble_is_asked_again_and_one_that_never_comes_is_told_without_stopping_the_rest() {
    let (archive, _) = twenty();
    archive.list_fault([Fault::Status(500, None), Fault::ResetAfter(0), Fault::Html, Fault::Status(503, Some(0))]);
    let mirror = Mirror::new(&archive, "");
    let run = mirror.download(&["--kind", "trades", "--period", "daily", "--market", "spot"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &20.into()), "{}", run.text);
    archive.list_fault(vec![Fault::Status(500, None); 3]);
    let other = Mirror::new(&archive, "attempts = 3\nlist_workers = 1");
    let run = other
        .download(&["--market", "spot", "--kind", "aggTrades,trades", "--symbols", "BTCUSDT", "--period", "daily"]);
    assert_eq!(
        (run.code, &run.summary["unlisted"], &run.summary["ok"]),
        (Some(1), &1.into(), &20.into()),
        "{}",
        run.text
    );
}

#[test]
fn everything_goes_through_the_configured_proxy_and_nothing_around_it() {
    let archive = Archive::start();
    archive.put(&key(1), noise(1, 50_000));
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(Kind::Own, false, dir.path());
    let section = format!("[proxy]\nurl = \"socks5://127.0.0.1:{}\"", proxy.port);
    let list_url = format!("{}/{}", archive.url, crate::support::s3::BUCKET);
    let mirror = Mirror::over(&archive.url, &list_url, &section, "");
    let run = mirror.download(&["--kind", "trades", "--market", "spot"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &1.into()), "{}", run.text);
    assert!(proxy.served().is_some_and(|n| n > 0));
    let nobody = format!("[proxy]\nurl = \"socks5://127.0.0.1:{}\"", crate::support::free_port());
    let cut = Mirror::over(&archive.url, &list_url, &nobody, "attempts = 2");
    archive.listings();
    let run = cut.download(&["--kind", "trades", "--market", "spot", "--symbols", "BTCUSDT"]);
    assert_eq!(run.code, Some(1), "{}", run.text);
    assert!(archive.listings().is_empty() && cut.tree().is_empty());
}

#[test]
fn a_slow_down_of_the_listing_is_a_wait_and_no_folder_is_given_up() {
    let (archive, _) = twenty();
    // More often than a failure would be forgiven, and for longer than a few tries; as a status and as an answer.
    archive.list_fault(vec![Fault::Status(503, Some(0)); 120]);
    archive.list_fault(vec![Fault::SlowDown; 2]);
    let mirror = Mirror::new(&archive, "attempts = 2");
    let run = mirror.download(&["--kind", "trades", "--period", "daily", "--market", "spot"]);
    assert_eq!((run.code, &run.summary["ok"]), (Some(0), &20.into()), "{}", run.text);
    assert_eq!(run.summary["unlisted"], 0);
}

#[test]
fn a_listing_that_only_drips_is_given_up() {
    let (archive, _) = twenty();
    archive.list_fault([Fault::Drip(20)]);
    let mirror = Mirror::new(&archive, "attempts = 1");
    let args = ["list", "--kind", "trades", "--period", "daily", "--market", "spot", "--symbols", "BTCUSDT"];
    let out = mirror.history(&args);
    assert_eq!(out.status.code(), Some(1), "{}", both(&out));
    assert!(both(&out).contains("stalled: "), "{}", both(&out));
}
