//! The pretend networks: small stateful servers on loopback, for integration tests and the demo. They know nothing of the host.
//!
//! Each takes a free port, keeps a ledger of what was asked of it, and has a side door ([`Next`], [`Trouble`]) for what should go wrong.

mod blog;
mod crm;
mod dice;
mod discourse;
mod door;
mod form;
mod http;
mod mail;
mod mastodon;
mod meta;
mod oauth;
mod server;
mod shop;
pub mod sign;
mod trouble;
mod x;

pub use blog::Blog;
pub use crm::{Crm, Told};
pub use dice::Dice;
pub use discourse::{Discourse, DiscourseHook, ForumPost, ForumTopic};
pub use door::{LONE, Next};
pub use http::{Answer, call};
pub use mail::{Letter, Mail, Mishap};
pub use mastodon::{Mastodon, Post};
pub use meta::{ACCOUNT, Fetched, Meta, PAGE, Shape, Side, US, fetch, sign_hex};
pub use oauth::{Oauth, OauthServer};
pub use server::{Asked, Ledger};
pub use shop::{Dress, Shop};
pub use trouble::{Trouble, Woe};
pub use x::{Direct as XDirect, Hook as XHook, Post as XPost, X};
