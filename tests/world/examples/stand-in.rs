//! A pretend network by hand, with a little said on it: `cargo run --release --package membrana-world --example stand-in -- x`.
//!
//! Prints where it is, and the secrets that it knows; ends with Ctrl-C. The judges in `tests/judges` drive it.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use membrana_world::{Discourse, Meta, Side, US, X};

#[expect(clippy::disallowed_methods, reason = "a pretend network begins at the real time")]
#[tokio::main]
async fn main() -> std::io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = u64::try_from(now).unwrap_or(0);
    match name.as_str() {
        "x" => {
            let x = X::start("app", "user", now).await?;
            for n in 1..=12 {
                x.say("ann", &format!("@acme my parcel {n} never came"), None);
            }
            stay(&x.url(), "app token `app`, user token `user`").await
        }
        "meta" => {
            let meta = Meta::start("page", "app-secret").await?;
            let (news, medium) = (meta.post(US, "Our new parcel shop is open."), meta.medium("Our new parcel shop"));
            for n in 1..=5 {
                meta.comment("Ann", &news, &format!("Parcel {n} never came"));
                meta.comment("bob", &medium, &format!("Nice shop, {n} of 5"));
            }
            meta.message(Side::Messenger, "Ann", "Where is my parcel?");
            stay(&meta.url(), "token `page`, app secret `app-secret`").await
        }
        "discourse" => {
            let forum = Discourse::start("key", "acme").await?;
            forum.open("ann", "Where is my parcel?", "It never came.");
            stay(&forum.url(), "key `key`, user `acme`").await
        }
        other => Err(std::io::Error::other(format!("`{other}` is not x, meta or discourse"))),
    }
}

/// The network lives as long as its caller waits here.
async fn stay(url: &str, secrets: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{url} ({secrets})")?;
    tokio::signal::ctrl_c().await
}
