//! The first-party plugins, built and embedded
