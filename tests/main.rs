//! The suite that drives the real binaries, in the order the data flows.
//!
//! `tests/README.md` maps every promise to its guard. Seeds are printed; `TAPEDECK_SEED` replays one and
//! `TAPEDECK_RUNS` sets how often the random campaigns run (small here, large in `tests/campaigns/`).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod support;

mod capture {
    mod binary;
    mod bytes_kept;
    mod lines;
    mod listing;
    mod paced;
    mod proxy;
    mod reconnect;
    mod reload;
    mod stops;
    mod supervised;
    mod weights;
}
mod lake {
    mod archived;
    mod deletes_after_fsync;
    mod gaps_repaired;
    mod kill_anywhere;
    mod s3;
    mod version_1;
}
mod playback {
    mod candles;
    mod served;
}
mod candles {
    mod repaired;
    mod seeded;
}
mod klines {
    mod crosscheck;
    mod kill_anywhere;
}
mod api {
    mod page;
}
mod cli {
    mod bad_input;
    mod checks;
    mod demo;
    mod doctor;
    mod klines;
    mod observe;
    mod pressure;
    mod units;
}
mod history {
    mod clean;
    mod defects;
    mod download;
    mod faults;
    mod kinds;
    mod moto;
    mod pressure;
    mod queue;
    mod shared;
    mod verify;
    mod whole;
}
mod any_fault;
mod docs {
    mod tidy;
}
