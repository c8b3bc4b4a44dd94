//! Tests of the crate from outside.

mod round_trip;
