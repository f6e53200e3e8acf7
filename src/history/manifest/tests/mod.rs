//! The same tests on both databases: SQLite always, Postgres on a throw-away server where its programs are.
#![allow(clippy::unwrap_used)]

mod cases;

use std::path::Path;

use super::*;
use crate::error::HistoryError;
use crate::select::{Selection, Symbols};

/// A manifest of a test.
struct Place<'a> {
    url: String,
    dir: &'a Path,
}

impl Place<'_> {
    fn open(&self) -> Box<dyn Queue> {
        open(&self.url, self.dir).unwrap()
    }

    /// Runs a statement behind the program's back.
    fn run(&self, sql: &str) {
        match self.url.strip_prefix("sqlite:") {
            Some(file) => rusqlite::Connection::open(self.dir.join(file)).unwrap().execute_batch(sql).unwrap(),
            None => postgres::Client::connect(&self.url, postgres::NoTls).unwrap().batch_execute(sql).unwrap(),
        }
    }
}

macro_rules! suite {
    ($($case:ident),+ $(,)?) => {
        mod sqlite_file {
            $(#[test]
            fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::cases::$case(&super::Place { url: "sqlite:manifest.db".to_owned(), dir: dir.path() });
            })+
        }

        #[test]
        fn a_postgres_server_passes_what_the_file_passes() {
            let Some(mut cluster) = sql::cluster::Cluster::start() else {
                eprintln!("skipped: no initdb and postgres here (apt-get install postgresql)");
                return;
            };
            $({
                eprintln!("postgres: {}", stringify!($case));
                let url = cluster.database();
                cases::$case(&Place { url, dir: cluster.dir() });
            })+
        }
    };
}

suite!(
    a_file_goes_from_listed_to_here_and_reads_back_whole,
    two_holders_never_get_the_same_file_and_share_all_of_them,
    a_lease_that_ran_out_is_anybodys_and_its_old_holder_changes_nothing,
    a_renewed_lease_stays_and_a_killed_holder_gets_its_files_back_at_once,
    failures_wait_then_die_and_come_back_only_when_asked_or_changed,
    an_upload_that_replaces_a_file_is_noticed_by_tag_size_or_checksum,
    a_file_that_somebody_took_away_is_queued_again_by_its_own_holder_only,
    cleaned_means_these_bytes_and_no_others,
    a_selection_sees_its_files_in_order_over_many_pages,
    a_lease_stays_inside_its_scope,
    runs_and_the_days_they_finished_files_on_are_reported,
    what_is_left_and_the_room_of_other_mirrors_are_reported,
    a_newer_schema_is_refused,
);

fn listed(path: &str) -> Listed {
    Listed {
        path: path.parse().unwrap(),
        etag: Some(format!("tag-{}", path.len())),
        size: 1_000,
        last_modified: "2024-01-02T03:04:05.000Z".to_owned(),
        checksum_tag: Some("c1".to_owned()),
    }
}

/// Daily trades of a symbol in January 2024.
fn days(symbol: &str, n: u8) -> Vec<Listed> {
    (1..=n).map(|d| listed(&format!("data/spot/daily/trades/{symbol}/{symbol}-trades-2024-01-{d:02}.zip"))).collect()
}

fn offer(queue: &mut dyn Queue, holder: &str, files: &[Listed]) -> Vec<Offered> {
    let offer = Offer { base_url: "https://h/p", holder, retry_dead: false, is_there: &|_| true };
    queue.offer(files, &offer).unwrap()
}

fn done(sha256: &str) -> Done {
    Done {
        etag: Some("tag".to_owned()),
        size: 1_000,
        sha256: sha256.to_owned(),
        published_sha256: Some(sha256.to_owned()),
    }
}

fn all() -> Scope {
    Scope::default()
}
