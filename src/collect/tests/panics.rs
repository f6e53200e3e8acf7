//! Each task of a venue panics once while it records: reported, red, and recording goes on with the gap recorded.

use serde_json::Value;
use wal_format::Kind;

use super::server::Server;
use super::{Rec, Running, events, of};
use ops::supervise::Task;

const ALL: &str = "channels = [\"trades\", \"depth\", \"depth_snapshot\"]\n";

/// Records until `task` has panicked once and data flows again.
async fn panicked(task: Task) -> Vec<Rec> {
    let name = task.name();
    let server = Server::start(vec![], vec![]).await;
    let running = Running::start_rehearsing(&server, ALL, &format!("{name}@binance-spot:1:300"));
    let counted = format!("tapedeck_task_panics_total{{task=\"{name}\"}} 1\n");
    running.until("the panic is counted", |_| running.metrics.prometheus().contains(&counted)).await;
    let expected = format!("task {name} of binance-spot: panicked at src/ops/rehearsal.rs:");
    let problems = running.metrics.problems();
    assert!(problems.iter().any(|p| p.starts_with(&expected)), "/health is red and says why: {problems:?}");
    let before = running.metrics.venue(super::VenueId::BinanceSpot).unwrap().counts().frames;
    running.until("data flows again", |c| c.frames > before + 100).await;
    assert!(running.metrics.problems().iter().any(|p| p.starts_with(&expected)), "it is not trusted yet");
    running.stop().await
}

fn gaps(records: &[Rec]) -> Vec<Value> {
    of(records, Kind::Gap).iter().map(Rec::json).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_beside_the_connections_that_panics_begins_anew_and_costs_no_frame() {
    let all = [Task::Clock, Task::Requests, Task::Snapshots].map(panicked);
    for records in futures_util::future::join_all(all).await {
        assert_eq!(of(&records, Kind::ConnOpen).len(), 1, "its connection noticed nothing");
        assert!(gaps(&records).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_task_panics_is_opened_again_with_its_end_and_the_gap_in_the_log() {
    let records = panicked(Task::Connection).await;
    let closes: Vec<Value> = of(&records, Kind::ConnClose).iter().map(Rec::json).collect();
    assert_eq!((of(&records, Kind::ConnOpen).len(), closes.len()), (2, 2));
    assert_eq!(closes[0]["error"], "the connection's task ended");
    let gaps = gaps(&records);
    assert_eq!(gaps.len(), 1, "recorded once: {gaps:?}");
    assert!(gaps[0]["from_ns"].as_u64() > Some(0) && gaps[0]["from_ns"].as_u64() < gaps[0]["to_ns"].as_u64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_venue_whose_own_task_panics_is_recorded_again_after_a_pause() {
    for records in futures_util::future::join_all([Task::Venue, Task::Listing].map(panicked)).await {
        assert_eq!(events(&records, "log_resumed").len(), 1);
        // On a busy machine the panic may come before the first connection.
        let resumed = records.iter().position(|r| r.kind == Kind::Event && r.json()["kind"] == "log_resumed").unwrap();
        let before = of(&records[..resumed], Kind::ConnOpen).len();
        assert_eq!((of(&records[resumed..], Kind::ConnOpen).len(), gaps(&records).len()), (1, before));
    }
}
