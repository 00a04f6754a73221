//! What becomes of an action.

mod outcome;

pub use outcome::SendClass;
