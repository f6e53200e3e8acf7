//! Memory that gets tight while a log is compacted: the files say how they were made, no row is lost, and a replay
//! still proves them byte for byte.

use std::sync::atomic::AtomicBool;

use super::*;
use ops::host::Process;
use ops::memory::Settings as Memory;
use ops::memory::sample::Sample;
use ops::memory::{Level, Pressure};

fn under(bed: &Bed, pressure: &Pressure) -> CompactWorker {
    let mut worker = bed.worker(Mode::Drain, |c| {
        c.capture.wal.retention_hours = 24 * 365 * 50;
        c.lake.row_group_rows = 40_000;
    });
    worker.status = Arc::new(CompactorStatus::new(pressure.clone()));
    worker
}

#[test]
fn parts_made_when_memory_is_critical_say_so_in_their_manifest_and_verify() {
    let bed = three_hours(2_000);
    let easy = bed.copy_of_log();
    under(&bed, &Pressure::fixed(Level::Critical)).run().unwrap();
    under(&easy, &Pressure::default()).run().unwrap();
    let settings = |bed: &Bed| {
        let all = bed.manifests();
        assert_eq!(all.len(), 4);
        all.iter().map(|(_, m)| (m.settings.zstd_level, m.settings.row_group_rows)).collect::<Vec<_>>()
    };
    assert_eq!(settings(&bed), [(1, 10_000); 4]);
    assert_eq!(settings(&easy), [(3, 40_000); 4]);
    for table in [Table::Trades, Table::Depth, Table::BookTicker, Table::Events] {
        assert_eq!(bed.keys(table), easy.keys(table), "{table}");
    }
    bed.verify(4);
    easy.verify(4);
}

#[test]
fn levels_that_change_while_a_log_is_compacted_cost_no_row_and_no_proof() {
    let bed = three_hours(4_000);
    let easy = bed.copy_of_log();
    under(&easy, &Pressure::default()).run().unwrap();
    let memory = Memory { limit_mib: 100, own_limit: true, elevated_percent: 75, critical_percent: 85 };
    let pressure = Pressure::watched(&memory, "test");
    let done = Arc::new(AtomicBool::new(false));
    let (swinging, ended) = (pressure.clone(), done.clone());
    let swing = std::thread::spawn(move || {
        // A minute of the gauge's time between two readings: every one of them counts.
        let mut at_ns = 0;
        while !ended.load(Ordering::Relaxed) {
            for mib in [90_u64, 10, 80, 10] {
                let process = Process { anonymous: mib << 20, ..Process::default() };
                for _ in 0..3 {
                    at_ns += 60_000_000_000;
                    swinging.observe(&Sample { process, ..Sample::default() }, at_ns, at_ns);
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    });
    let mut worker = under(&bed, &pressure);
    Arc::get_mut(&mut worker.cfg).unwrap().lake.batch_rows = 4;
    let outcome = worker.run();
    done.store(true, Ordering::Relaxed);
    swing.join().unwrap();
    outcome.unwrap();
    for table in [Table::Trades, Table::Depth, Table::BookTicker, Table::Frames, Table::Events] {
        assert_eq!(bed.keys(table), easy.keys(table), "{table}");
    }
    bed.verify(4);
    assert!(pressure.report().changes.values().sum::<u64>() > 2, "{:?}", pressure.report());
}
