//! The pretend networks: small stateful servers on loopback, for integration tests and the demo. They know nothing of the host.
//!
//! Each takes a free port, keeps a ledger of what was asked of it, and can be told to fail its next answers.

mod blog;
mod crm;
mod http;
mod server;
mod shop;

pub use blog::Blog;
pub use crm::{Crm, Told};
pub use http::{Answer, call};
pub use server::{Failing, Ledger};
pub use shop::{Dress, Shop};
