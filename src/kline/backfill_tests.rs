//! Tests of the backfill.
