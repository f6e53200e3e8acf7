//! A worker that panics: reported, red, and started again from what is durable, or the end of a drain with a code of
//! its own.

use super::*;
use ops::supervise::Supervisor;
use wal_format::error_chain;

fn rehearsing(worker: &mut CompactWorker, panic: &str) -> Arc<CompactorStatus> {
    let status = Arc::new(CompactorStatus::supervised(Default::default(), Supervisor::rehearsing(panic)));
    worker.status = status.clone();
    status
}

#[test]
fn a_worker_that_panics_while_it_follows_begins_anew_and_publishes_every_row_once() {
    let bed = three_hours(300);
    let clean = bed.copy_of_log();
    clean.drain();
    let mut worker = bed.worker(Mode::Follow, |_| {});
    let status = rehearsing(&mut worker, "compact@binance-spot:2");
    let shutdown = worker.shutdown.clone();
    let following = std::thread::spawn(move || worker.run());
    let published = || status.snapshot().venues.get("binance-spot").map_or(0, |v| v.parts_published);
    while published() < 2 {
        assert!(!following.is_finished(), "it follows");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let problems = status.problems().join("\n");
    assert!(problems.contains("task compact of binance-spot: panicked at src/ops/rehearsal.rs:"), "{problems}");
    assert!(
        ops::exposition::text(|out| status.expose(out)).contains("tapedeck_task_panics_total{task=\"compact\"} 2\n")
    );
    shutdown.trigger();
    following.join().unwrap().unwrap();
    bed.drain();
    for table in [Table::Trades, Table::BookTicker, Table::Depth] {
        assert_eq!(bed.keys(table), clean.keys(table), "{table}");
    }
}

#[test]
fn a_worker_that_panics_in_a_drain_ends_it_with_an_exit_code_of_its_own_and_the_next_drain_is_whole() {
    let bed = three_hours(300);
    let clean = bed.copy_of_log();
    clean.drain();
    let mut worker = bed.worker(Mode::Drain, |_| {});
    rehearsing(&mut worker, "compact");
    let err = worker.run().unwrap_err();
    assert!(error_chain(&err).contains("panicked at src/ops/rehearsal.rs:"), "{err:?}");
    assert!(err.panicked(), "what `cli` makes an exit code of");
    bed.drain();
    for table in [Table::Trades, Table::BookTicker, Table::Depth] {
        assert_eq!(bed.keys(table), clean.keys(table), "{table}");
    }
}
