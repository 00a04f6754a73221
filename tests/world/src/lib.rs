//! The pretend networks of tests and demo
