//! Records that the log has and no part of the lake: what walking the manifests that are there cannot find.

use std::path::Path;

use super::pass::{PublishedPart, ReplayLog};
use super::report::{ReplayReport, Verdict, part_report};
use super::verify::before;
use crate::chain;
use crate::error::CompactError;
use crate::place::to_position;
use capture::LAKE_READER;
use fold::source::Step;
use lake::hash::hex;
use lake::{Hour, Lake, Part};
use wal_format::{Position, Seq};

impl ReplayLog<'_> {
    /// Reports each range of records that lies before the first part, between two parts or after the last one, as far
    /// as the lake was acknowledged, and is in none. `unreadable`: parts that are reported by themselves.
    pub(super) fn absent(
        &self,
        lake: &Lake,
        parts: &[PublishedPart],
        unreadable: &[(Part, String)],
        report: &mut ReplayReport,
    ) -> Result<(), CompactError> {
        let acked = self.acked();
        let mut from = Position::START;
        for i in 0..=parts.len() {
            let next = parts.get(i);
            let Some(until) = next.map(|k| Seq(k.manifest.first.seq)).or(acked) else { break };
            // A part that was published after another one of these goes on where that one ended.
            if from.seq < until && before(parts, i).is_none() {
                self.report_absent(lake, from, until, unreadable, report)?;
            }
            from = next.map_or(from, |k| from.max(to_position(k.manifest.end)));
        }
        Ok(())
    }

    /// Up to where the lake must reach; `None` when nobody knows.
    fn acked(&self) -> Option<Seq> {
        let state = wal_format::log_state(&self.dir).ok()?;
        let ack = state.acks.into_iter().find(|ack| ack.reader == LAKE_READER)?.ack.ok()??;
        (hex(&ack.log_uuid) == self.name).then_some(ack.position.seq)
    }

    fn report_absent(
        &self,
        lake: &Lake,
        from: Position,
        until: Seq,
        unreadable: &[(Part, String)],
        report: &mut ReplayReport,
    ) -> Result<(), CompactError> {
        let mut reader = self.reader(from)?;
        let (first, ts_ns) = loop {
            match reader.next().map_err(CompactError::step("read the log"))? {
                Step::Record(record) if record.seq >= until => return Ok(()),
                Step::Record(record) if record.seq >= from.seq => break (record.seq, record.ts_recv_ns),
                Step::Record(_) | Step::Lost(_) => {}
                Step::Tail | Step::Blocked { .. } | Step::End => return Ok(()),
            }
        };
        let place = self.place(lake.clone());
        let missing = place.part(Hour::of_ns(ts_ns), first, &[]);
        let lies_here = |part: &Part| {
            part.venue == missing.venue
                && part.log8 == missing.log8
                && (from.seq.get()..until.get()).contains(&part.first_seq)
        };
        // What cannot be read is reported already, and what retention took is not missing.
        if !self.wanted(missing.hour) || unreadable.iter().any(|(part, _)| lies_here(part)) {
            return Ok(());
        }
        let removed = chain::removed(lake)?;
        if removed.iter().filter_map(|path| Part::from_path(Path::new(path))).any(|(_, part)| lies_here(&part)) {
            return Ok(());
        }
        let why = format!(
            "records from seq {first} to before {until} are in no part, and the log has them: a part was taken out of the lake"
        );
        report.parts.push(part_report(missing, Verdict::Different, 0, vec![why]));
        Ok(())
    }
}
