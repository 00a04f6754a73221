//! What a channel's calls cost, and its budget of a day: at 80 % the admin is warned, with the next call over it the network is left
//! alone until the day is over. What was spent survives a restart.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::Clock;
use crate::model::Timestamp;

/// Where the manifest does not say when the network's day begins.
const UTC: &str = "UTC0";
/// Of a budget: here the admin is warned.
const WARN_SHARE: f64 = 0.8;

/// What may be spent in a day; what is absent has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// Requests.
    pub calls: Option<u64>,
    /// The network's own quota units.
    pub units: Option<u64>,
    /// In the network's currency.
    pub money: Option<f64>,
}

/// The `cost` of a connector's capability record.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// When a day begins: a time zone in POSIX form, such as `PST8PDT,M3.2.0,M11.1.0`; absent: UTC.
    pub day: Option<String>,
    /// Of every price, such as `USD`.
    pub currency: Option<String>,
    /// The first that fits a call is its price; a call that none fits costs one unit and no money.
    #[serde(default)]
    pub calls: Vec<Price>,
}

/// What some calls cost.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Upper case; absent: any.
    pub method: Option<String>,
    /// How the path begins; empty: any.
    #[serde(default)]
    pub path: String,
    /// Of the network's quota.
    pub units: Option<u64>,
    /// In the tariff's currency.
    #[serde(default)]
    pub money: f64,
}

/// What was spent on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// When the day is over. Units: milliseconds since 1970.
    pub ends: u64,
    /// Requests.
    pub calls: u64,
    /// Quota units.
    pub units: u64,
    /// In the tariff's currency.
    pub money: f64,
}

impl Spent {
    /// As it was kept for this channel; nothing where the day is over, or nothing can be read.
    pub fn read(dir: &Path, channel: &str, now: Timestamp) -> Self {
        let kept = std::fs::read(file_of(dir, channel)).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        kept.filter(|spent| spent.ends > now.0).unwrap_or_default()
    }
}

fn file_of(dir: &Path, channel: &str) -> PathBuf {
    dir.join(format!("{channel}.json"))
}

/// Counts one channel's calls.
pub struct Meter {
    channel: String,
    budget: Budget,
    tariff: Tariff,
    zone: TimeZone,
    clock: Clock,
    /// Of what each channel spent.
    dir: PathBuf,
    /// None until the first call.
    spent: Mutex<Option<Spent>>,
}

impl Tariff {
    /// Errors: what is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        let day = self.day.as_deref().unwrap_or(UTC);
        TimeZone::posix(day).map_err(|error| format!("`day` is `{day}`: {error}"))?;
        let is_price = |price: &Price| price.money.is_finite() && price.money >= 0.0;
        if self.calls.iter().all(is_price) { Ok(()) } else { Err("a price is no amount of money".to_owned()) }
    }

    fn price(&self, method: &str, path: &str) -> (u64, f64) {
        let fits = |price: &&Price| price.method.as_ref().is_none_or(|wanted| wanted == method) && path.starts_with(&price.path);
        self.calls.iter().find(fits).map_or((1, 0.0), |price| (price.units.unwrap_or(1), price.money))
    }
}

impl Budget {
    /// The largest share of it that is spent; 0 where nothing is bounded.
    #[expect(clippy::cast_precision_loss, reason = "a share for a person")]
    pub fn share(&self, spent: &Spent) -> f64 {
        let of = |spent: f64, of: Option<f64>| of.map_or(0.0, |of| if of > 0.0 { spent / of } else { f64::INFINITY });
        let calls = of(spent.calls as f64, self.calls.map(|calls| calls as f64));
        calls.max(of(spent.units as f64, self.units.map(|units| units as f64))).max(of(spent.money, self.money))
    }
}

impl Meter {
    /// `dir` holds what each channel spent.
    pub fn new(channel: &str, budget: Budget, tariff: Tariff, clock: Clock, dir: &Path) -> Self {
        let zone = TimeZone::posix(tariff.day.as_deref().unwrap_or(UTC)).unwrap_or(TimeZone::UTC);
        Self { channel: channel.to_owned(), budget, tariff, zone, clock, dir: dir.to_owned(), spent: Mutex::default() }
    }

    /// Counts a call before it is made. Errors: it would go over the budget; how long until the next day.
    pub fn charge(&self, method: &str, path: &str) -> Result<(), Duration> {
        let (ends, left) = self.today();
        let (units, money) = self.tariff.price(method, path);
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        // As late as this: until its first call the meter before it, of the configuration before, may still count.
        let known = spent.unwrap_or_else(|| Spent::read(&self.dir, &self.channel, self.clock.now()));
        let before = if known.ends == ends { known } else { Spent { ends, ..Spent::default() } };
        let after = Spent { calls: before.calls + 1, units: before.units.saturating_add(units), money: before.money + money, ends };
        let (was, is) = (self.budget.share(&before), self.budget.share(&after));
        // A sum of prices is off by less than a millionth of any bill.
        if is > 1.0 + 1e-9 {
            return Err(left);
        }
        if was < WARN_SHARE && is >= WARN_SHARE {
            warn!(channel = self.channel, calls = after.calls, units = after.units, money = after.money, "80 % of the day's budget is spent.");
        }
        self.keep(&after);
        *spent = Some(after);
        Ok(())
    }

    /// When the day ends, and how long that is.
    fn today(&self) -> (u64, Duration) {
        let now = self.clock.now();
        let at = i64::try_from(now.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or(jiff::Timestamp::MAX);
        let tomorrow = self.zone.to_datetime(at).date().tomorrow().ok();
        let midnight = tomorrow.and_then(|next| self.zone.to_timestamp(next.to_datetime(Time::midnight())).ok());
        let ends = midnight.and_then(|midnight| u64::try_from(midnight.as_millisecond()).ok()).unwrap_or(now.0);
        (ends, Duration::from_millis(ends.saturating_sub(now.0)))
    }

    /// Written aside and renamed, so that it is whole; a power cut may cost the last few calls.
    fn keep(&self, spent: &Spent) {
        let file = file_of(&self.dir, &self.channel);
        let aside = file.with_extension("json.new");
        let written = std::fs::create_dir_all(&self.dir).and_then(|()| std::fs::write(&aside, serde_json::to_vec(spent).unwrap_or_default()));
        if let Err(error) = written.and_then(|()| std::fs::rename(&aside, &file)) {
            warn!(channel = self.channel, %error, "What was spent cannot be kept; after a restart it would count from nothing.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-05-02T10:00:00Z.
    const NOW: Timestamp = Timestamp(1_777_716_000_000);

    fn tariff() -> Tariff {
        toml::from_str(
            "day = \"PST8PDT,M3.2.0,M11.1.0\"\ncurrency = \"USD\"\ncalls = [{ method = \"POST\", path = \"/2/tweets\", money = 0.015 }, { path = \"/search\", units = 100 }]",
        )
        .unwrap()
    }

    #[test]
    fn a_budget_ends_and_begins_again_where_the_network_lives() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::simulated(NOW);
        let budget = Budget { calls: Some(1000), money: Some(0.03), units: None };
        let meter = || Meter::new("x", budget, tariff(), clock.clone(), dir.path());
        let first = meter();
        assert_eq!(
            (first.charge("POST", "/2/tweets"), first.charge("GET", "/2/tweets"), first.charge("POST", "/2/tweets")),
            (Ok(()), Ok(()), Ok(()))
        );
        // 10:00 UTC is 3:00 in California.
        let left = Duration::from_secs(21 * 3600);
        assert_eq!((first.charge("POST", "/2/tweets"), first.charge("GET", "/2/tweets")), (Err(left), Ok(())), "what costs nothing goes on");

        // A restart forgets nothing.
        let second = meter();
        assert_eq!(second.charge("POST", "/2/tweets"), Err(left));
        assert_eq!(Spent::read(dir.path(), "x", clock.now()).calls, 4);
        clock.advance(left);
        assert_eq!(Spent::read(dir.path(), "x", clock.now()), Spent::default(), "another day");
        assert_eq!(second.charge("POST", "/2/tweets"), Ok(()));
        assert_eq!(Spent::read(dir.path(), "x", clock.now()).calls, 1);
    }

    #[test]
    fn what_the_meter_before_counted_until_the_first_call_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let meter = || Meter::new("x", Budget { calls: Some(3), ..Budget::default() }, tariff(), Clock::simulated(NOW), dir.path());
        // A reload prepares the next one while this one's channel still runs.
        let (before, after) = (meter(), meter());
        assert_eq!((before.charge("GET", "/"), before.charge("GET", "/")), (Ok(()), Ok(())));
        assert!(after.charge("GET", "/").is_ok() && after.charge("GET", "/").is_err());
    }

    #[test]
    fn a_day_that_gains_or_loses_an_hour_has_one_budget() {
        // Midnight in California before the clocks change: 2026-03-08T08:00:00Z and 2026-11-01T07:00:00Z.
        for (midnight, hours) in [(1_772_956_800_000, 23), (1_793_516_400_000, 25)] {
            let dir = tempfile::tempdir().unwrap();
            let clock = Clock::simulated(Timestamp(midnight));
            let meter = Meter::new("x", Budget { calls: Some(1), ..Budget::default() }, tariff(), clock.clone(), dir.path());
            let spent_in: Vec<u64> = (0..hours + 20)
                .filter(|_| {
                    let is_let = meter.charge("GET", "/").is_ok();
                    clock.advance(Duration::from_secs(3600));
                    is_let
                })
                .collect();
            assert_eq!(spent_in, [0, hours]);
        }
    }

    #[test]
    fn units_and_calls_are_bounded_each_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        for (budget, expected) in [
            (Budget { units: Some(250), ..Budget::default() }, 2),
            (Budget { calls: Some(3), ..Budget::default() }, 3),
            (Budget { calls: Some(0), ..Budget::default() }, 0),
            (Budget::default(), 10),
        ] {
            let meter = Meter::new(&format!("{expected}"), budget, tariff(), Clock::simulated(NOW), dir.path());
            assert_eq!((0..10).filter(|_| meter.charge("GET", "/search?q=a").is_ok()).count(), expected, "{budget:?}");
        }
        assert!(tariff().check().is_ok());
        assert!(Tariff { day: Some("Mars/Olympus".to_owned()), ..Tariff::default() }.check().is_err());
    }
}
