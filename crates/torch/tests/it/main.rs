//! Tests of the crate from outside.

mod dialects;
mod golden;
mod hostile;
mod hub;
mod round_trip;
