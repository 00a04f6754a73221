//! Calls of the Graph API: addresses, lists and their next pages, and how much of the limits is used.

use std::cell::Cell;

use membrana_sdk::http::{Request, Response, send};
use membrana_sdk::limits::Allowance;
use membrana_sdk::{Fault, Result, Timestamp, clock};
use serde_json::Value as Json;
use url::Url;

use crate::faults::{REFUSED, is_gone, is_refused, judged};
use crate::read::list;

/// The name of the credential in the manifests.
const CREDENTIAL: &str = "page";
/// Where the network's window slides over an hour and it does not say when it is free again. Units: milliseconds.
const HOUR_MS: u64 = 3_600_000;
/// What of a page's `next` address is kept: it also holds the token.
const NEXT_KEYS: [&str; 5] = ["after", "until", "since", "__paging_token", "offset"];
/// Units: bytes.
const NEXT_BYTES_MAX: usize = 2048;
/// Below this share of the limit only what must be asked is asked.
const SHARE_SCARCE: f64 = 0.1;
/// Above it calls are no matter.
const SHARE_EASY: f64 = 0.5;

/// What a call is for: a read changes nothing, of a write the outcome may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Nothing changes.
    Read,
    /// Something may have been done.
    Write,
}

/// Where the next page of a list begins. Shape: names and values of a query.
pub type Next = Vec<(String, String)>;

/// One page of a list.
#[derive(Debug)]
pub struct Listed {
    /// As sent; may be empty though more follows.
    pub items: Vec<Json>,
    /// None at the end of the list, and only there.
    pub next: Option<Next>,
}

/// The API of one network.
pub struct Graph {
    root: Url,
    allowance: Cell<Option<Allowance>>,
    answered_at: Cell<Timestamp>,
}

impl Graph {
    /// `base`: `https://graph.facebook.com`; `version`: `v23.0`. Errors: `config` where that is no address.
    pub fn new(base: &str, version: &str) -> Result<Self> {
        let root = Url::parse(&format!("{}/{version}", base.trim_end_matches('/')));
        let root = root.ok().filter(|root| matches!(root.scheme(), "http" | "https") && !root.cannot_be_a_base());
        let root = root.ok_or_else(|| Fault::config("meta.base-url", format!("`{base}` is not an address")))?;
        Ok(Self { root, allowance: Cell::new(None), answered_at: Cell::new(clock::now()) })
    }

    /// How much of the tightest limit is left, as the network said last.
    pub fn allowance(&self) -> Option<Allowance> {
        self.allowance.get()
    }

    /// The network's clock, as its last answer had it; ours before the first. What was said there is dated by it.
    pub fn answered_at(&self) -> Timestamp {
        self.answered_at.get()
    }

    /// Says whether favours must wait.
    pub fn is_scarce(&self) -> bool {
        self.allowance.get().is_some_and(|allowance| allowance.left < SHARE_SCARCE)
    }

    /// Of `n` favours, how many may be asked for: few where half of the limit is used.
    pub fn favours(&self, n: usize) -> usize {
        if self.allowance.get().is_some_and(|allowance| allowance.left < SHARE_EASY) { n.min(2) } else { n }
    }

    /// One object. `at`: the parts of the path.
    pub fn get(&self, at: &[&str], query: &[(&str, &str)]) -> Result<Json> {
        let answer = send(&self.request("GET", at, query)).map_err(|error| error.fault("meta"))?;
        self.judged(&answer, Call::Read)
    }

    /// As [`Graph::get`]; none where the thing is no more.
    pub fn get_if_there(&self, at: &[&str], query: &[(&str, &str)]) -> Result<Option<Json>> {
        match self.get(at, query) {
            Ok(json) => Ok(Some(json)),
            Err(fault) if is_gone(&fault) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// One page of a list, from `from` on.
    pub fn list(&self, at: &[&str], query: &[(&str, &str)], from: Option<&Next>) -> Result<Listed> {
        let from = from.map(Vec::as_slice).unwrap_or_default();
        // What the next page says of a parameter is in place of what the first was asked with.
        let first = query.iter().filter(|(key, _)| !from.iter().any(|(known, _)| known == key)).copied();
        let query: Vec<(&str, &str)> = first.chain(from.iter().map(|(key, value)| (key.as_str(), value.as_str()))).collect();
        listed(&self.get(at, &query)?)
    }

    /// What ended a read. A refusal is `permanent`, and concerns the one thing that was read, where the list `edge` of one of `others` can be
    /// read; where none can, the token lacks a permission.
    pub fn of_one(&self, fault: Fault, others: &[impl AsRef<str>], edge: &str, query: &[(&str, &str)]) -> Fault {
        let refusal = match fault {
            Fault::Auth(detail) if detail.code == REFUSED => detail,
            fault => return fault,
        };
        for other in others {
            match self.list(&[other.as_ref(), edge], query, None) {
                Ok(_) => return Fault::Permanent(refusal),
                Err(Fault::Permanent(_)) => {}
                Err(fault) if is_refused(&fault) => {}
                // That keeps the answer from being known.
                Err(fault) => return fault,
            }
        }
        Fault::Auth(refusal)
    }

    /// Does something. Errors: `outcome-unknown` where it may have been done.
    pub fn post(&self, at: &[&str], query: &[(&str, &str)], body: &Json) -> Result<Json> {
        let request = self.request("POST", at, query).body("application/json", body.to_string());
        let answer = send(&request).map_err(|error| error.fault_of_write("meta"))?;
        self.judged(&answer, Call::Write)
    }

    fn request(&self, method: &str, at: &[&str], query: &[(&str, &str)]) -> Request {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(at);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Request::new(method, url.as_str()).auth(CREDENTIAL)
    }

    fn judged(&self, answer: &Response, call: Call) -> Result<Json> {
        self.answered_at.set(answer.answered_at());
        self.allowance.set(usage(answer).map(|usage| usage.allowance).or(self.allowance.get()));
        judged(answer, call)
    }
}

/// A list that came as an answer, or with its node. Errors: `transient` where its end cannot be told.
pub fn listed(json: &Json) -> Result<Listed> {
    let items = list(json, "data").to_vec();
    let Some(next) = json.pointer("/paging/next").and_then(Json::as_str) else { return Ok(Listed { items, next: None }) };
    let pairs = Url::parse(next).map(|url| url.query_pairs().into_owned().collect::<Next>()).unwrap_or_default();
    let mut kept: Next = pairs.into_iter().filter(|(key, _)| NEXT_KEYS.contains(&key.as_str())).collect();
    if kept.iter().all(|(key, _)| key == "since") {
        let after = json.pointer("/paging/cursors/after").and_then(Json::as_str);
        kept.extend(after.map(|after| ("after".to_owned(), after.to_owned())));
    }
    let n_bytes: usize = kept.iter().map(|(_, value)| value.len()).sum();
    if kept.is_empty() || n_bytes > NEXT_BYTES_MAX {
        return Err(Fault::transient("meta.malformed", "a list goes on, and it cannot be told where"));
    }
    Ok(Listed { items, next: Some(kept) })
}

/// What the headers say of the limits.
pub(crate) struct Usage {
    pub(crate) allowance: Allowance,
    /// Until a throttled call is taken again; 0 where nothing is throttled.
    pub(crate) minutes: u64,
}

/// The tightest of `x-app-usage`, `x-page-usage` and `x-business-use-case-usage`; none where they say nothing.
pub(crate) fn usage(answer: &Response) -> Option<Usage> {
    let header = |name: &str| answer.header(name).and_then(|text| serde_json::from_str::<Json>(text).ok());
    let mut all: Vec<Json> = ["x-app-usage", "x-page-usage"].into_iter().filter_map(header).collect();
    if let Some(Json::Object(cases)) = header("x-business-use-case-usage") {
        all.extend(cases.into_values().filter_map(|of_case| if let Json::Array(list) = of_case { Some(list) } else { None }).flatten());
    }
    // Of two that leave the same, the one that says when it is over comes first.
    let mut used: Vec<Usage> = all.iter().filter_map(used).collect();
    used.sort_by_key(|usage| usage.minutes == 0);
    used.into_iter().reduce(|a, b| Usage { allowance: a.allowance.or_tighter(b.allowance), minutes: a.minutes.max(b.minutes) })
}

fn used(of: &Json) -> Option<Usage> {
    let per_cent = ["call_count", "total_time", "total_cputime"].into_iter().filter_map(|key| of.get(key).and_then(Json::as_f64));
    let per_cent = per_cent.filter(|share| share.is_finite()).reduce(f64::max)?;
    let minutes = of.get("estimated_time_to_regain_access").and_then(Json::as_u64).unwrap_or(0);
    let resets_in_ms = if minutes == 0 { HOUR_MS } else { minutes.saturating_mul(60_000) };
    Some(Usage { allowance: Allowance::used(per_cent, resets_in_ms), minutes })
}
