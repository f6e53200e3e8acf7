//! A walked segment against its footer, its neighbours and what was announced as durable.

use super::report::{SegmentReport, Severity};
use crate::control;
use crate::footer::FooterSummary;
use crate::layout::DATA_START;
use crate::lineage::Lineage;
use crate::read_error::ReadError;
use crate::record::{SegmentId, Seq};
use crate::source::Source;
use crate::state::SegmentState;
use crate::walk::{self, DamagedSpan, FooterInput, HoleSpan, Walk, last_byte};

/// What the segments before led to expect.
#[derive(Clone, Default)]
pub(super) struct Before {
    pub(super) lineage: Option<Lineage>,
    pub(super) expected: Option<Seq>,
    /// The last segment that had records, and whether a SEAL closed it.
    pub(super) last: Option<(SegmentId, bool)>,
}

pub(super) fn judge(
    report: &mut SegmentReport,
    source: &Source,
    walk: &Walk,
    footer: Option<&FooterSummary>,
    deep: bool,
    before: &mut Before,
) -> Result<(), ReadError> {
    let limit = source.data_end();
    let seal_bytes = walk.seal.map_or(0, |(_, bytes, _, _)| bytes);
    let end = walk.end + seal_bytes;
    report.end_offset = end;
    let writer_seal = walk.seal.filter(|(seal, _, _, _)| !seal.by_recovery);
    report.records = walk.records + u64::from(writer_seal.is_some());
    report.first_seq = walk.first.map(|(seq, _)| seq);
    report.last_seq = writer_seal.map(|(_, _, seq, _)| seq).or(walk.last.map(|(seq, _)| seq));
    report.state = match (footer, report.records, walk.seal) {
        (Some(_), _, _) => SegmentState::Sealed,
        (None, 0, None) if walk.noise_end.is_none() => SegmentState::Ready,
        _ => SegmentState::Open,
    };

    if let Some(first) = report.first_seq.or(report.last_seq) {
        neighbour(report, first, before);
    }
    for gap in &walk.damaged {
        let lost = lost(&gap.span);
        let what = if gap.written {
            format!("a HOLE of {} bytes written by recovery, {lost}", gap.span.bytes)
        } else {
            format!("{} bytes are no records, {lost}", gap.span.bytes)
        };
        report.fault(Severity::Damage, gap.span.offset, what);
    }
    if let Some(cut) = &walk.cut {
        let what = format!("the end of the records is missing, {}", lost(cut));
        report.fault(Severity::Damage, cut.offset, what);
    }
    match (walk.seal, footer) {
        (None, None) if source.is_archived() => {
            report.fault(Severity::Damage, walk.end, "the end of the segment is missing from its archive");
        }
        (None, None) => {
            if report.state == SegmentState::Open {
                let what = match walk.noise_end {
                    Some(noise) if walk.committed_noise => {
                        format!("the last record is damaged ({} bytes up to the end)", noise - walk.end)
                    }
                    Some(noise) => format!("an append was cut off ({} bytes without a commit word)", noise - walk.end),
                    None => "no SEAL: a writer is at work here or was killed".to_owned(),
                };
                report.fault(Severity::TornTail, walk.end, what);
            }
        }
        (Some(_), None) if report.faults.iter().any(|fault| fault.offset == limit) => {}
        (Some(_), None) => report.fault(Severity::TornTail, limit, "the footer is not written yet"),
        (None, Some(footer)) => report.fault(
            Severity::Damage,
            walk.end,
            format!("the records end here, the footer says {}; the SEAL is missing", footer.end_offset),
        ),
        (Some(_), Some(footer)) => compare(report, source, walk, footer, end, deep)?,
    }
    if footer.is_some() || walk.seal.is_some() {
        if let Some(dirty) = last_byte(source, end, limit)? {
            report.fault(Severity::Damage, end, format!("bytes up to {dirty} after the SEAL are not zero"));
        }
        before.last = Some((report.id, true));
    } else {
        before.last = Some((report.id, false));
    }
    // What the SEAL of recovery says is lost has been reported.
    let reported = walk.seal.filter(|(seal, _, _, _)| seal.by_recovery).map(|(_, _, seq, _)| seq);
    before.expected = before.expected.max(report.last_seq.map(Seq::next)).max(reported);
    Ok(())
}

/// The first seq of a segment against the one the segment before led to expect.
fn neighbour(report: &mut SegmentReport, first: Seq, before: &Before) {
    let Some(expected) = before.expected else {
        return;
    };
    if first < expected {
        report.fault(
            Severity::Damage,
            DATA_START,
            format!("the first seq is {first}, {expected} was expected: a copy or an old file"),
        );
    } else if first.epoch() == expected.epoch() && first > expected {
        // A HOLE at the segment's start says the same with more detail.
        let start = report.faults.iter().any(|f| f.offset == DATA_START);
        if !start {
            report.fault(
                Severity::Damage,
                DATA_START,
                format!(
                    "{} records are missing before this segment: {expected} to {}",
                    first.0 - expected.0,
                    Seq(first.0 - 1)
                ),
            );
        }
    }
}

fn lost(span: &HoleSpan) -> String {
    match span.to {
        Some(to) if to < span.from => "no record lost".to_owned(),
        Some(to) => format!("{} records lost: {} to {to}", to.0 - span.from.0 + 1, span.from),
        None => format!("records lost from {} on", span.from),
    }
}

/// A footer against the records it sums up.
fn compare(
    report: &mut SegmentReport,
    source: &Source,
    walk: &Walk,
    footer: &FooterSummary,
    end: u64,
    deep: bool,
) -> Result<(), ReadError> {
    let at = source.data_end();
    let Some((seal, _, seal_seq, seal_ts)) = walk.seal else {
        return Ok(());
    };
    let mut differs = |what: &str| {
        report.fault(Severity::Damage, at, format!("the footer does not fit the records: {what}"));
    };
    if footer.end_offset != end {
        differs("end of the data");
    }
    if footer.next != seal.next || seal.footer_offset != at {
        differs("SEAL");
    }
    let spans: Vec<HoleSpan> = walk.damaged.iter().map(|gap| gap.span).collect();
    let intact = walk.damaged.iter().all(|gap| gap.written);
    let mut crc = footer.data_crc;
    if deep {
        crc = data_crc(source, end)?;
        if crc != footer.data_crc && intact {
            differs("checksum over all data");
        }
    }
    // Damage since the seal is reported as such; counts can only be compared without it.
    if intact {
        let own = walk.summary(&FooterInput {
            log_uuid: footer.log_uuid,
            boot_id: footer.boot_id,
            id: footer.segment,
            epoch: footer.epoch,
            initial: footer.crc_initial,
            end,
            seal,
            seal_seq,
            ts: seal_ts,
            holes: &spans,
            data_crc: crc,
        });
        if own.records != footer.records {
            differs("number of records");
        }
        if (own.first_seq, own.last_seq) != (footer.first_seq, footer.last_seq) {
            differs("first and last seq");
        }
        let mut counts = footer.counts.clone();
        counts.sort_by_key(|count| count.kind);
        if deep && own.counts != counts {
            differs("counts per kind");
        }
        if own.holes_total != footer.holes_total {
            differs("number of HOLE spans");
        }
    }
    let used = footer_len(source, at)?;
    if let Some(dirty) = last_byte(source, at + used, source.file_bytes())? {
        report.fault(Severity::Damage, at + used, format!("bytes up to {dirty} after the footer are not zero"));
    }
    Ok(())
}

fn footer_len(source: &Source, at: u64) -> Result<u64, ReadError> {
    let mut prelude = [0; crate::layout::PRELUDE_BYTES];
    source.read_exact_at(&mut prelude, at)?;
    Ok(FooterSummary::encoded_len(&prelude) as u64)
}

fn data_crc(source: &Source, end: u64) -> Result<u32, ReadError> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; walk::CHUNK_BYTES];
    let mut at = DATA_START;
    while at < end {
        let step = usize::try_from(end - at).unwrap_or(usize::MAX).min(walk::CHUNK_BYTES);
        let piece = buffer.get_mut(..step).unwrap_or(&mut []);
        source.read_exact_at(piece, at)?;
        hasher.update(piece);
        at += step as u64;
    }
    Ok(hasher.finalize())
}

/// Raises a lost range to `DurableLost` where somebody vouched for what is lost.
pub(super) fn below_durable(
    report: &mut SegmentReport,
    walk: &Walk,
    footer: Option<&FooterSummary>,
    control: Option<&control::ControlState>,
) {
    let cut = walk.cut.map(|span| DamagedSpan { span, written: true });
    for gap in walk.damaged.iter().chain(&cut) {
        if gap.span.to.is_some_and(|to| to < gap.span.from) {
            continue;
        }
        // A footer over synced data vouches for every record that was valid when it was written;
        // a SYNC record after the gap vouches for all before it.
        let by_footer = !gap.written && footer.is_some_and(|footer| footer.synced);
        let by_sync = walk.durable.is_some_and(|durable| durable >= gap.span.from);
        let by_control = control
            .and_then(|control| control.durable_of(gap.span.from.epoch()))
            .is_some_and(|durable| durable >= gap.span.from);
        if by_footer || by_sync || by_control || gap.span.below_durable {
            for fault in &mut report.faults {
                if fault.offset == gap.span.offset && fault.severity == Severity::Damage {
                    fault.severity = Severity::DurableLost;
                    fault.what.push_str("; they were known to be on disk");
                }
            }
        }
    }
    let cut_off = footer.is_some_and(|footer| footer.synced && footer.end_offset > walk.end) && walk.seal.is_none();
    if cut_off {
        report.fault(Severity::DurableLost, walk.end, "the end of the segment is lost; it was known to be on disk");
    }
}
