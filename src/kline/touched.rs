//! Which bars of an interval a gap touches that no other gap does: those that are whole once it is filled. Pure.

use model::interval::Interval;

/// First and last open time, us, of bars in a row.
pub(super) type Opens = (i64, i64);

/// The bars that a gap between two times touches.
fn bars(interval: Interval, (from_us, to_us): (i64, i64)) -> Opens {
    (interval.open_of(from_us), interval.open_of(to_us))
}

/// The bars that `filled` touches and none of `left` does, oldest first. Times are those of the trades before and
/// after a gap, us.
pub(super) fn whole(interval: Interval, filled: (i64, i64), left: &[(i64, i64)]) -> Vec<Opens> {
    let mut parts = vec![bars(interval, filled)];
    for gap in left {
        let (first, last) = bars(interval, *gap);
        if parts.iter().all(|(from, to)| last < *from || *to < first) {
            continue;
        }
        let before = |(from, to): &Opens| (*from, (*to).min(interval.open_of(first - 1)));
        let behind = |(from, to): &Opens| ((*from).max(interval.next(last)), *to);
        parts = parts.iter().flat_map(|p| [before(p), behind(p)]).filter(|(from, to)| from <= to).collect();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = 60_000_000;

    #[test]
    fn bars_of_a_filled_gap_are_whole_but_where_another_one_touches_them() {
        let m = |from: i64, to: i64| (from * MIN + 1, to * MIN + 2);
        let opens = |filled, left: &[(i64, i64)]| -> Vec<(i64, i64)> {
            whole(Interval::M1, filled, left).into_iter().map(|(a, b)| (a / MIN, b / MIN)).collect()
        };
        assert_eq!(opens(m(3, 9), &[]), [(3, 9)]);
        assert_eq!(opens(m(3, 9), &[m(0, 2), m(10, 11)]), [(3, 9)]);
        assert_eq!(opens(m(3, 9), &[m(0, 3), m(9, 11)]), [(4, 8)]);
        assert_eq!(opens(m(3, 9), &[m(5, 5), m(7, 8)]), [(3, 4), (6, 6), (9, 9)]);
        assert_eq!(opens(m(3, 9), &[m(1, 20)]), []);
        assert_eq!(opens(m(3, 3), &[m(3, 3)]), []);
        assert_eq!(whole(Interval::W1, m(3, 9), &[m(5_000, 5_001)]), []);
    }
}
