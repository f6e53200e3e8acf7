//! The worker, handed items by hand.
#![allow(clippy::unwrap_used)]
use std::sync::mpsc;

use super::*;
use model::Num;
use model::kline::Tick;

const MIN: i64 = 60_000_000;

fn tick(symbol_index: u32, ts_us: i64, id: i64, price: i64) -> Item {
    Item::Tick(Tick {
        symbol_index,
        ts_us,
        price: Num { mantissa: price.into(), scale: 0 },
        amount: Num { mantissa: 1, scale: 0 },
        first_id: id,
        last_id: id,
        agg_id: -1,
        count: 1,
        taker_buy: true,
    })
}

fn worker() -> (CandleWorker, Shown) {
    let shown = Shown { latest: Arc::new(LatestSlots::new()), whole: Arc::new(DoubleBufferedKlineStore::new()) };
    (CandleWorker::new(shown.clone()), shown)
}

fn checkpoint(w: &mut CandleWorker, feed: u32) -> Dirty {
    let (out, got) = mpsc::channel();
    w.handle(CandleJob::Checkpoint { feed, reply: Box::new(move |d| out.send(d).unwrap()) });
    got.recv().unwrap()
}

#[test]
fn a_batch_is_visible_at_once_and_the_whole_at_the_next_swap() {
    let (mut w, shown) = worker();
    w.handle(CandleJob::Batch(vec![tick(0, 5, 1, 70), tick(2, 6, 1, 90)]));
    assert_eq!(shown.latest.load(2).unwrap()[0].close, 90);
    assert!(shown.latest.load(1).is_none());
    assert!(shown.whole.symbol(2).is_none());
    w.handle(CandleJob::Swap);
    assert_eq!(shown.whole.symbol(2).unwrap().1[0].close, 90);
    w.handle(CandleJob::Batch(vec![tick(2, 7, 2, 95)]));
    assert_eq!(shown.whole.symbol(2).unwrap().1[0].close, 90);
    w.handle(CandleJob::Swap);
    w.handle(CandleJob::Swap);
    assert_eq!(shown.whole.symbol(2).unwrap().1[0].close, 95);
    assert_eq!(shown.whole.symbol(0).unwrap().1[0].close, 70, "unchanged slots are carried forward");
}

#[test]
fn the_clock_of_one_feed_closes_its_own_symbols_only() {
    let (mut w, shown) = worker();
    let own = |symbol_index, feed| Item::Own { symbol_index, feed };
    w.handle(CandleJob::Batch(vec![own(0, 1), own(1, 2), tick(0, 5, 1, 70), tick(1, 5, 1, 80)]));
    w.handle(CandleJob::Batch(vec![Item::Clock { feed: 2, now_us: MIN }]));
    assert_eq!(shown.latest.load(0).unwrap()[0].open_time_us, 0);
    assert_eq!(shown.latest.load(1).unwrap()[0].open_time_us, MIN);
    assert_eq!(w.totals().closed, 1);
}

#[test]
fn no_more_recent_trades_are_kept_than_memory_allows_and_they_are_the_latest() {
    let (mut w, _) = worker();
    let recent = |w: &mut CandleWorker| {
        let (out, got) = mpsc::channel();
        w.handle(CandleJob::Recent { symbol_index: 0, reply: Box::new(move |t| out.send(t).unwrap()) });
        got.recv().unwrap().ticks.iter().map(|t| t.first_id).collect::<Vec<_>>()
    };
    w.handle(CandleJob::Batch((0..1_700).map(|i| tick(0, i, i, 70)).collect()));
    assert_eq!(recent(&mut w), (700..1_700).collect::<Vec<_>>());
    assert_eq!(w.totals().recent, 1_000);
    w.handle(CandleJob::KeepRecent(100));
    assert_eq!(recent(&mut w), (1_600..1_700).collect::<Vec<_>>());
    assert_eq!(w.totals().recent, 100);
    w.handle(CandleJob::Batch((1_700..1_750).map(|i| tick(0, i, i, 70)).collect()));
    assert_eq!(recent(&mut w), (1_650..1_750).collect::<Vec<_>>());
    w.handle(CandleJob::KeepRecent(1_000));
    w.handle(CandleJob::Batch((1_750..2_800).map(|i| tick(0, i, i, 70)).collect()));
    assert_eq!(recent(&mut w), (1_800..2_800).collect::<Vec<_>>());
    assert_eq!(w.totals().recent, 1_000);
}

#[test]
fn checkpoints_together_hold_every_change_once() {
    let (mut w, _) = worker();
    w.handle(CandleJob::Batch(vec![tick(0, 5, 1, 70)]));
    let first = checkpoint(&mut w, 0);
    assert_eq!(first.bars.len(), Interval::COUNT);
    assert!(checkpoint(&mut w, 0).bars.is_empty());
    w.handle(CandleJob::Batch(vec![tick(0, MIN + 1, 2, 60), tick(0, 6, 3, 99)]));
    let second = checkpoint(&mut w, 0);
    let minutes: Vec<&KlineData> =
        second.bars.iter().filter(|(_, i, _)| *i == Interval::M1).map(|(_, _, b)| b).collect();
    assert_eq!(minutes.len(), 3, "closed, revised, open");
    assert_eq!((minutes[0].open_time_us, minutes[0].revision, minutes[0].high), (0, 0, 70));
    assert_eq!((minutes[1].open_time_us, minutes[1].revision, minutes[1].high), (0, 1, 99));
    assert_eq!((minutes[2].open_time_us, minutes[2].is_final()), (MIN, false));
    assert!(checkpoint(&mut w, 7).bars.is_empty());
}

#[test]
fn subscribers_hear_of_every_close_and_of_open_bars_once_per_swap() {
    let (mut w, _) = worker();
    w.handle(CandleJob::Batch(vec![tick(0, 5, 1, 70), tick(0, 6, 2, 71)]));
    assert!(w.updates.is_empty());
    w.handle(CandleJob::Swap);
    assert_eq!(w.updates.len(), Interval::COUNT);
    w.updates.clear();
    w.handle(CandleJob::Swap);
    assert!(w.updates.is_empty());
    w.handle(CandleJob::Batch(vec![tick(0, MIN, 3, 72)]));
    assert_eq!(w.updates.iter().filter(|u| u.event).count(), 1);
    let (out, got) = mpsc::channel();
    w.handle(CandleJob::Recent { symbol_index: 0, reply: Box::new(move |t| out.send(t).unwrap()) });
    let ids: Vec<i64> = got.recv().unwrap().ticks.iter().map(|t| t.first_id).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn stored_bars_that_are_corrected_at_a_start_are_stored_with_the_next_checkpoint() {
    let (mut w, _) = worker();
    let bar = |minute: i64, flags: u16| KlineData { flags, trade_count: 1, ..KlineData::flat(minute * MIN, 5, 0, 0) };
    let foreign = model::kline::FOREIGN | model::kline::FINAL;
    let bars = vec![bar(1, model::kline::FINAL), bar(2, foreign), bar(3, 0)];
    for corrected in [true, false] {
        w.handle(CandleJob::Batch(vec![
            Item::Reset { feed: 0 },
            Item::Restore {
                symbol_index: 0,
                feed: 0,
                interval: Interval::M1,
                bars: bars.clone(),
                before: None,
                corrected,
            },
        ]));
        let opens: Vec<i64> = checkpoint(&mut w, 0).bars.iter().map(|(_, _, b)| b.open_time_us / MIN).collect();
        assert_eq!(opens, if corrected { vec![1, 3] } else { vec![3] });
    }
}
