//! The faults that act on the data frames of one connection: silence, dropped and doubled frames. Counts and clocks only.

use tokio::time::Instant;

/// What is wrong with a connection's data just now.
#[derive(Debug, Default)]
pub(crate) struct Disorder {
    silences: Vec<Silence>,
    drops: Vec<(u64, Option<String>)>,
    doubles: u64,
}

#[derive(Debug)]
struct Silence {
    until: Option<Instant>,
    stream: Option<String>,
    pings: bool,
}

impl Disorder {
    /// No frame of `stream` (or of any) goes out until then.
    pub fn silence(&mut self, until: Option<Instant>, stream: Option<String>, pings: bool) {
        self.silences.push(Silence { until, stream, pings });
    }

    /// The next frames (of `stream`, or of any) are left out.
    pub fn drop(&mut self, frames: u64, stream: Option<String>) {
        self.drops.push((frames, stream));
    }

    /// The next frames go out twice.
    pub fn double(&mut self, frames: u64) {
        self.doubles += frames;
    }

    /// Forgets what is over.
    pub fn expire(&mut self) {
        if !self.silences.is_empty() {
            let now = Instant::now();
            self.silences.retain(|silence| silence.until.is_none_or(|until| until > now));
        }
        self.drops.retain(|(left, _)| *left > 0);
    }

    /// Whether pings still go out.
    pub fn pings(&self) -> bool {
        self.silences.iter().all(|silence| silence.pings)
    }

    /// How often the next frame of a stream goes out; uses up one drop or doubling.
    pub fn copies(&mut self, stream: &str) -> u64 {
        let concerns = |wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| wanted == stream);
        if self.silences.iter().any(|silence| concerns(&silence.stream)) {
            return 0;
        }
        if let Some((left, _)) = self.drops.iter_mut().find(|(left, wanted)| *left > 0 && concerns(wanted)) {
            *left -= 1;
            return 0;
        }
        if self.doubles > 0 {
            self.doubles -= 1;
            return 2;
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_and_doubles_are_used_up_one_frame_at_a_time() {
        let mut disorder = Disorder::default();
        disorder.drop(2, Some("a".into()));
        disorder.double(1);
        assert_eq!(["a", "b", "a", "a"].map(|stream| disorder.copies(stream)), [0, 2, 0, 1]);
    }

    #[test]
    fn a_silenced_stream_leaves_the_others_alone() {
        let mut disorder = Disorder::default();
        disorder.silence(None, Some("a".into()), false);
        assert_eq!((disorder.copies("a"), disorder.copies("b"), disorder.pings()), (0, 1, false));
        disorder.expire();
        assert_eq!(disorder.copies("a"), 0);
    }
}
