//! Whether a listing gets on. S3 lists in the order of names (UTF-8 bytes), so every page begins after the end of the
//! one before. A server that comes back to where it was would be read for ever, each entry kept: it is given up.
//! Sans I/O.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::s3::{Next, Page};
use crate::download_error::{DownloadError, What};

/// Names of one folder: the largest of the archive has some thousands.
const NAMES_MAX: usize = 1_000_000;
/// S3 may send pages without a name, in theory, but not many in a row.
const EMPTY_PAGES_MAX: u32 = 100;

/// The pages of one folder so far.
#[derive(Default)]
pub(super) struct Turns {
    last: Option<String>,
    marker: Option<String>,
    tokens: HashSet<u64>,
    hasher: RandomState,
    names: usize,
    empty: u32,
}

impl Turns {
    /// Listing begins at `at`.
    pub(super) fn from(at: Option<&Next>) -> Self {
        let marker = at.and_then(|at| if let Next::Behind(name) = at { Some(name.clone()) } else { None });
        Self { marker, ..Self::default() }
    }

    /// Looks at the next page.
    ///
    /// # Errors
    /// When it does not lie after the one before, or there is no end to it.
    pub(super) fn take(&mut self, page: &Page) -> Result<(), DownloadError> {
        let bad = |what: String| Err(DownloadError::new(What::Protocol, format!("the listing does not end: {what}")));
        let names = || page.objects.iter().map(|o| &o.key).chain(&page.prefixes);
        if let (Some(last), Some(first)) = (&self.last, names().min())
            && first <= last
        {
            return bad(format!("{first:?} comes after {last:?}"));
        }
        self.names = self.names.saturating_add(names().count());
        if self.names > NAMES_MAX {
            return bad(format!("more than {NAMES_MAX} names"));
        }
        match names().max() {
            Some(last) => (self.last, self.empty) = (Some(last.clone()), 0),
            None => self.empty = self.empty.saturating_add(1),
        }
        if self.empty > EMPTY_PAGES_MAX {
            return bad(format!("{EMPTY_PAGES_MAX} pages without a name"));
        }
        match &page.next {
            None => {}
            Some(Next::Token(token)) if !self.tokens.insert(self.hasher.hash_one(token)) => {
                return bad(format!("the token {token:?} comes again"));
            }
            Some(Next::Token(_)) => {}
            Some(Next::Behind(marker)) => {
                if self.marker.as_ref().is_some_and(|before| marker <= before) {
                    return bad(format!("the marker {marker:?} does not go on"));
                }
                self.marker = Some(marker.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::s3::Object;
    use super::*;

    fn page(names: &[&str], next: Option<Next>) -> Page {
        let objects = names.iter().map(|n| Object { key: (*n).to_owned(), ..Object::default() }).collect();
        Page { objects, prefixes: Vec::new(), next }
    }

    fn behind(name: &str) -> Option<Next> {
        Some(Next::Behind(name.to_owned()))
    }

    fn token(name: &str) -> Option<Next> {
        Some(Next::Token(name.to_owned()))
    }

    #[test]
    fn pages_behind_each_other_are_a_listing() {
        let mut turns = Turns::from(behind("a").as_ref());
        turns.take(&page(&["b", "c"], behind("c"))).unwrap();
        turns.take(&page(&[], behind("d"))).unwrap();
        turns.take(&page(&["e"], None)).unwrap();
        let mut turns = Turns::from(None);
        turns.take(&page(&["b", "a"], token("2"))).unwrap();
        turns.take(&page(&["c"], token("1"))).unwrap();
        turns.take(&page(&["d"], None)).unwrap();
    }

    #[test]
    fn pages_that_lead_back_to_each_other_are_none_in_either_version() {
        let mut markers = Turns::from(None);
        markers.take(&page(&[], behind("b"))).unwrap();
        assert!(markers.take(&page(&[], behind("a"))).unwrap_err().detail.contains("does not go on"));
        let mut tokens = Turns::from(None);
        for word in ["b", "a"] {
            tokens.take(&page(&[], token(word))).unwrap();
        }
        assert!(tokens.take(&page(&[], token("b"))).unwrap_err().detail.contains("comes again"));
        let mut names = Turns::from(None);
        names.take(&page(&["a", "b"], token("1"))).unwrap();
        assert!(names.take(&page(&["b", "c"], token("2"))).unwrap_err().detail.contains("does not end"));
    }

    #[test]
    fn a_listing_that_makes_up_tokens_for_ever_comes_to_an_end() {
        let mut turns = Turns::from(None);
        let ended = (0..1_000).find_map(|n| turns.take(&page(&[], token(&n.to_string()))).err());
        assert!(ended.unwrap().detail.contains("without a name"));
    }
}
