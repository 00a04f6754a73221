//! Whom the door opens to.

mod address;
mod grant;

pub use address::Cidr;
pub use grant::{GrantError, HostPort, HttpGrant};
