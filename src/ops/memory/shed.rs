//! What each level gives up, and in which order: compute and comfort, never capture.
//!
//! | order | what | elevated | critical | where |
//! |---|---|---|---|---|
//! | 1 | records between two looks at memory and clock | a quarter | a sixteenth | compactor, at once |
//! | 2 | rows of a row group | a half | a quarter | compactor, parts that begin from then on |
//! | 3 | rows held in memory before they are staged | a half | an eighth | compactor, at once |
//! | 4 | wait before an idle table is staged | 60 s | 10 s | compactor, at once |
//! | 5 | zstd level | one less | 1 | compactor, parts that begin from then on |
//! | 6 | history | smaller chunks | no new jobs | history |
//! | 7 | swaps of the candles | 5 times rarer | 20 times rarer | candles |
//! | 7 | recent trades of a symbol that the API answers with | a fifth | a twentieth | candles |
//! | 7 | writes to one WebSocket | 100 ms apart | 500 ms apart | API |
//! | 8 | new WebSockets | taken | refused | API |
//!
//! Published bytes stay a function of the log and the manifest: row groups and zstd level change with the next part
//! only and are in its manifest, which is what a replay goes by; where staged pieces end never shows in a file.
//! The collector gives up nothing: what it holds besides a few MiB per connection is the mapped log and the segments
//! prepared for it, page cache that the kernel writes back and takes by itself when it needs room.

use std::time::Duration;

use super::level::Level;

/// Fewer rows in a row group would make files that are slow to read.
const ROW_GROUP_MIN: usize = 8_192;

impl Level {
    fn pick<T>(self, normal: T, elevated: T, critical: T) -> T {
        match self {
            Level::Normal => normal,
            Level::Elevated => elevated,
            Level::Critical => critical,
        }
    }

    /// Log records handled between two looks at memory and clock.
    pub fn batch_rows(self, configured: usize) -> usize {
        (configured / self.pick(1, 4, 16)).max(1)
    }

    /// Rows of a row group of parts that begin now.
    pub fn row_group_rows(self, configured: usize) -> usize {
        (configured / self.pick(1, 2, 4)).max(ROW_GROUP_MIN.min(configured))
    }

    /// zstd level of parts that begin now.
    pub fn zstd_level(self, configured: i32) -> i32 {
        self.pick(configured, configured - 1, 1).clamp(1, configured.max(1))
    }

    /// Bytes of rows held in memory before all of them are staged.
    pub fn buffered_bytes(self, configured: u64) -> u64 {
        configured / self.pick(1, 2, 8)
    }

    /// A table without new rows for this long is staged, s.
    pub fn idle_stage_s(self, configured: u64) -> u64 {
        configured.min(self.pick(u64::MAX, 60, 10))
    }

    /// True when history starts no new job.
    pub fn history_pauses(self) -> bool {
        self == Level::Critical
    }

    /// How many times longer swaps of the candles are apart.
    pub fn push_factor(self) -> u32 {
        self.pick(1, 5, 20)
    }

    /// Recent trades of a symbol that are kept for the API.
    pub fn recent_trades(self, configured: usize) -> usize {
        configured / self.pick(1, 5, 20)
    }

    /// Between two writes to one WebSocket; what changes meanwhile is conflated.
    pub fn push_delay(self) -> Duration {
        Duration::from_millis(self.pick(0, 100, 500))
    }

    /// True when new WebSockets are taken.
    pub fn takes_websockets(self) -> bool {
        self < Level::Critical
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_gives_up_at_least_as_much_as_the_one_before_and_normal_gives_up_nothing() {
        assert_eq!(Level::Normal.batch_rows(512), 512);
        assert_eq!(Level::Normal.row_group_rows(131_072), 131_072);
        assert_eq!(Level::Normal.zstd_level(3), 3);
        assert_eq!(Level::Normal.buffered_bytes(1 << 20), 1 << 20);
        assert_eq!(Level::Normal.idle_stage_s(300), 300);
        assert_eq!(Level::Normal.push_factor(), 1);
        assert_eq!(Level::Normal.push_delay(), Duration::ZERO);
        assert_eq!(Level::Normal.recent_trades(500), 500);
        for configured in [1_usize, 3, 1_000, 8_192, 20_000, 131_072] {
            for pair in Level::ALL.windows(2) {
                let (easy, tight) = (pair[0], pair[1]);
                assert!(tight.batch_rows(configured) <= easy.batch_rows(configured));
                assert!(tight.row_group_rows(configured) <= easy.row_group_rows(configured));
                assert!(tight.buffered_bytes(configured as u64) <= easy.buffered_bytes(configured as u64));
                assert!(tight.idle_stage_s(configured as u64) <= easy.idle_stage_s(configured as u64));
                assert!(tight.push_factor() > easy.push_factor());
                assert!(tight.recent_trades(configured) <= easy.recent_trades(configured));
                for zstd in [1, 3, 19] {
                    assert!(tight.zstd_level(zstd) <= easy.zstd_level(zstd) && tight.zstd_level(zstd) >= 1);
                }
            }
            assert!(Level::Critical.batch_rows(configured) >= 1 && Level::Critical.row_group_rows(configured) >= 1);
        }
    }

    #[test]
    fn only_critical_refuses_somebody() {
        assert!(Level::Elevated.takes_websockets() && !Level::Elevated.history_pauses());
        assert!(!Level::Critical.takes_websockets() && Level::Critical.history_pauses());
    }
}
