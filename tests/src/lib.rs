//! What judges a run of a host from outside. See `bin/membrana-judge.rs`.

#![warn(missing_docs)]

pub mod judge;
