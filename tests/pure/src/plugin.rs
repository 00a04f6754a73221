//! What goes into a plugin and what comes out of it.

mod shapes;

pub use shapes::*;
