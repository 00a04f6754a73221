//! x
mod bindings;
pub mod host { 
/// c
pub struct Conn; }
