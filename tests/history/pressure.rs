//! History pauses while memory is critical: no file is begun, and all of them come afterwards.

use std::sync::Arc;

use config::Config;
use history::download::{DownloadJob, Watch, download};
use history::{ArchivePath, Kind, Market, Period, Selection, Symbols};
use ops::host::Process;
use ops::memory::sample::Sample;
use ops::memory::{Level, Pressure, Settings as Memory};
use ops::shutdown::Shutdown;

use crate::support::history::Mirror;
use crate::support::s3::{Archive, noise};

struct Nobody;

impl Watch for Nobody {
    fn listed(&self, _: u64, _: u64) {}
    fn received(&self, _: u64) {}
    fn file(&self, _: &ArchivePath, _: &'static str, _: u64, _: Option<&str>) {}
}

#[test]
fn a_download_begins_no_file_while_memory_is_critical_and_goes_on_afterwards() {
    let archive = Archive::start();
    for day in ["2024-01-30", "2024-01-31"] {
        archive.put(&format!("data/spot/daily/trades/AUSDT/AUSDT-trades-{day}.zip"), noise(1, 5_000));
    }
    let mirror = Mirror::new(&archive, "");
    let config = Config::load(Some(&mirror.config), []).unwrap();
    let memory = Memory { limit_mib: 100, own_limit: true, elevated_percent: 75, critical_percent: 85 };
    let pressure = Pressure::watched(&memory, "history");
    let own =
        |mib: u64| Sample { process: Process { anonymous: mib << 20, ..Process::default() }, ..Sample::default() };
    pressure.observe(&own(99), 0, 0);
    let selection = Selection {
        markets: [Market::Spot].into(),
        periods: [Period::Daily].into(),
        kinds: [Kind::Trades].into(),
        symbols: Symbols::default(),
        intervals: Default::default(),
        from: None,
        to: None,
    };
    let job = DownloadJob { selection, auto: false, retry_dead: false, pressure: pressure.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let workers = config.history.download_workers as u64;
    let summary = runtime.block_on(async {
        let run = download(&config.history, job, Arc::new(Nobody), Shutdown::new());
        let control = async {
            let paused = || pressure.report().sheds.get("history_paused").copied().unwrap_or(0);
            // One more than there are workers: all have looked, and one has looked again.
            let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
            while paused() <= workers {
                assert!(std::time::Instant::now() < end, "ten minutes later still: paused() <= workers");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert!(archive.zips().is_empty(), "a file was asked for");
            // Two quiet half minutes of the gauge's time.
            for s in [1, 40, 80, 120] {
                pressure.observe(&own(1), s, s * 1_000_000_000);
            }
            assert_eq!(pressure.level(), Level::Normal);
        };
        let both = async { tokio::join!(run, control).0 };
        // Only there so that a download that does not wait ends the test.
        tokio::time::timeout(std::time::Duration::from_secs(120), both).await.expect("the download paused").unwrap()
    });
    assert_eq!((summary.ok, summary.failed), (2, 0));
}
