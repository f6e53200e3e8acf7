//! Panics that a test requests, so that what becomes of a task is rehearsed.
//!
//! In debug builds and with the cargo feature `failpoints`, `TAPEDECK_PANIC=<task>[@<of>][:<times>[:<after ms>]]` makes
//! a task panic: `venue.clock:3`, `compact@gate-spot:1:5000`. Threads panic where they begin, or at a named point of
//! [`crate::failpoint`] with `TAPEDECK_PANIC=<point>`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The panics of one such text.
#[derive(Debug)]
pub struct Rehearsal {
    name: String,
    of: Option<String>,
    left: Mutex<u32>,
    after: Duration,
}

impl Rehearsal {
    /// What `TAPEDECK_PANIC` says.
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    pub(crate) fn of_environment() -> Option<Rehearsal> {
        std::env::var("TAPEDECK_PANIC").ok().filter(|text| !text.is_empty()).map(|text| Self::read(&text))
    }

    #[cfg(not(any(debug_assertions, feature = "failpoints")))]
    pub(crate) fn of_environment() -> Option<Rehearsal> {
        None
    }

    /// `<task>[@<of>][:<times>[:<after ms>]]`, as the module says.
    #[cfg(any(debug_assertions, feature = "failpoints", feature = "testing", test))]
    pub fn read(text: &str) -> Rehearsal {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let (name, of) = name.split_once('@').map_or((name, None), |(name, of)| (name, Some(of.to_owned())));
        let mut number = |otherwise: u32| parts.next().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
        let left = Mutex::new(number(1));
        Rehearsal { name: name.to_owned(), of, left, after: Duration::from_millis(number(0).into()) }
    }

    fn is_for(&self, name: &str, of: &str) -> bool {
        self.name == name && self.of.as_ref().is_none_or(|wanted| wanted == of)
    }

    /// How long after its start this work is to panic, if it is to.
    pub fn due(&self, name: &str, of: &str) -> Option<Duration> {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        (self.is_for(name, of) && left > 0).then_some(self.after)
    }

    /// Panics where it is to.
    pub(crate) fn come_by(&self, name: &str, of: &str) {
        if !self.is_for(name, of) {
            return;
        }
        {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(fewer) = left.checked_sub(1) else { return };
            *left = fewer;
        }
        panic!("TAPEDECK_PANIC asks for it");
    }
}
