//! Memory that gets tight while the collector records: every frame is in the log, and so is what happened.

use super::*;
use ops::host::Process;
use ops::memory::sample::Sample;
use ops::memory::{Pressure, Settings as Memory};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_either_services_pressure_is_an_event_of_the_log_and_capture_goes_on() {
    let server = Server::start(vec![vec![Act::Frames(500), Act::Stream]], vec![]).await;
    let dir = tempfile::tempdir().unwrap();
    let cfg = Arc::new(Running::config(dir.path(), &server, TRADES));
    let memory = Memory { limit_mib: 100, own_limit: true, elevated_percent: 75, critical_percent: 85 };
    let pressure = Pressure::watched(&memory, "collector");
    let metrics = Arc::new(Metrics::new([VenueId::BinanceSpot]).under(pressure.clone()));
    let shutdown = Shutdown::new();
    let task = tokio::spawn(super::super::run_with(cfg, shutdown.clone(), metrics.clone(), None));
    let running = Running { dir, metrics, shutdown, task };
    running.until("the first frames", |c| c.frames > 500).await;
    let own =
        |mib: u64| Sample { process: Process { anonymous: mib << 20, ..Process::default() }, ..Sample::default() };
    let before = running.metrics.venue(VenueId::BinanceSpot).unwrap().counts().frames;
    pressure.observe(&own(80), 1, 1);
    pressure.observe(&own(99), 2, 2);
    // What the compactor leaves for the log.
    let requests = running.dir.path().join("wal/binance-spot").join(crate::requests::REQUESTS_DIR);
    std::fs::create_dir_all(&requests).unwrap();
    let left = requests.join("pressure-00000000000000000003-compactor.json");
    std::fs::write(&left, r#"{"service":"compactor","to":"normal"}"#).unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while left.exists() {
        assert!(std::time::Instant::now() < end, "ten minutes later still: left.exists()");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.until("frames under pressure", |c| c.frames > before + 200).await;
    let report = pressure.report();
    assert!(report.parts["connections"].bytes > 0 && report.parts["log_segments"].bytes >= 1 << 20, "{report:?}");
    let text = running.metrics.prometheus();
    assert!(text.contains("tapedeck_memory_level 2\n"), "{text}");
    let records = running.stop().await;
    assert_eq!(data(&records), server.sent(), "the log is what the server sent");
    let recorded: Vec<(Value, Value)> = events(&records, "pressure")
        .into_iter()
        .map(|e| (e["detail"]["service"].clone(), e["detail"]["to"].clone()))
        .collect();
    let want = [("collector", "elevated"), ("collector", "critical"), ("compactor", "normal")];
    assert_eq!(recorded, want.map(|(service, to)| (service.into(), to.into())));
}
