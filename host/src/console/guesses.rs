//! Wrong tokens, counted by where they came from: who shows too many is not listened to for a while, whatever it shows. The same one
//! again is no guess: a client that was not told of a new token shuts nobody out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Digest, Timestamp};

/// From one place in one [`WINDOW`].
const WRONG_MAX: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Places remembered at once. Who has so many is not held up by this.
const PLACES_MAX: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<HashMap<IpAddr, Count>>);

#[derive(Debug)]
struct Count {
    since: Timestamp,
    /// Of different wrong tokens. Shape: at most [`WRONG_MAX`].
    wrong: Vec<Digest>,
}

impl Count {
    /// Units: milliseconds. None are where the clock was put back meanwhile.
    fn left(&self, now: Timestamp) -> u64 {
        if now < self.since { 0 } else { self.since.plus(WINDOW).since_ms(now) }
    }
}

impl Guesses {
    /// Whether somebody there may try. Errors: not for so many milliseconds.
    pub(super) fn admit(&self, from: IpAddr, now: Timestamp) -> Result<(), u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&place(from)).filter(|count| count.wrong.len() >= WRONG_MAX);
        match count.map_or(0, |count| count.left(now)) {
            0 => Ok(()),
            left => Err(left),
        }
    }

    /// A token that was none came from there.
    pub(super) fn wrong(&self, from: IpAddr, token: &str, now: Timestamp) {
        let wrong = Digest::of(token.as_bytes());
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= PLACES_MAX {
            counts.retain(|_, count| count.left(now) > 0);
        }
        if counts.len() >= PLACES_MAX {
            return;
        }
        let count = counts.entry(place(from)).or_insert(Count { since: now, wrong: Vec::new() });
        if count.left(now) == 0 {
            *count = Count { since: now, wrong: Vec::new() };
        }
        if count.wrong.len() < WRONG_MAX && !count.wrong.contains(&wrong) {
            count.wrong.push(wrong);
        }
    }
}

/// One caller of IPv6 has a whole network of 64 bits to itself.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_shows_ten_wrong_tokens_in_a_minute_waits_for_the_rest_of_it_and_nobody_else_does() {
        let guesses = Guesses::default();
        for n in 0..WRONG_MAX {
            assert_eq!(guesses.admit(from("192.0.2.1"), NOW), Ok(()), "{n}");
            guesses.wrong(from("192.0.2.1"), &n.to_string(), NOW);
        }
        let later = NOW.plus(Duration::from_secs(20));
        assert_eq!(guesses.admit(from("192.0.2.1"), later), Err(40_000));
        assert_eq!(guesses.admit(from("::ffff:192.0.2.1"), later), Err(40_000), "the same address in another dress");
        assert_eq!(guesses.admit(from("192.0.2.2"), later), Ok(()));
        assert_eq!(guesses.admit(from("192.0.2.1"), Timestamp(0)), Ok(()), "a clock that was put back holds nobody up");
        let next = NOW.plus(WINDOW);
        assert_eq!(guesses.admit(from("192.0.2.1"), next), Ok(()));
        guesses.wrong(from("192.0.2.1"), "x", next);
        assert_eq!(guesses.admit(from("192.0.2.1"), next), Ok(()), "a new minute begins with the first");
    }

    #[test]
    fn clients_that_show_their_old_tokens_on_and_on_shut_nobody_out() {
        let guesses = Guesses::default();
        (0..100).for_each(|n| guesses.wrong(from("127.0.0.1"), if n % 2 == 0 { "old" } else { "older" }, NOW));
        assert_eq!(guesses.admit(from("127.0.0.1"), NOW), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_place_and_many_places_are_forgotten_in_time() {
        let guesses = Guesses::default();
        (0..WRONG_MAX).for_each(|n| guesses.wrong(from(&format!("2001:db8::{n}")), &n.to_string(), NOW));
        assert!(guesses.admit(from("2001:db8::ffff"), NOW).is_err());
        assert!(guesses.admit(from("2001:db8:0:1::1"), NOW).is_ok());
        let many = |n: u32| IpAddr::from(n.to_be_bytes());
        (0..5000).for_each(|n| guesses.wrong(many(n), "x", NOW));
        assert_eq!(guesses.0.lock().unwrap().len(), PLACES_MAX);
        guesses.wrong(many(5000), "x", NOW.plus(WINDOW));
        assert_eq!(guesses.0.lock().unwrap().len(), 1);
    }
}
