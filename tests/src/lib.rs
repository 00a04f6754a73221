//! Integration tests of membrana and their harness
