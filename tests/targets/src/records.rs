//! Records as they lie in the store: what can be read can be written, and comes back as it was.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Action, DeadLetter, Decision, Entry, Lineup, Media, Results, Tally, Task, Timer};

/// The first line names the kind; what follows is the record, as JSON or as the store has it.
pub(crate) fn record(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (kind, body) = (data.get(..at).unwrap_or_default(), data.get(at + 1..).unwrap_or_default());
    match kind {
        b"entry" => both::<Entry>(body),
        b"action" => both::<Action>(body),
        b"decision" => both::<Decision>(body),
        b"task" => both::<Task>(body),
        b"timer" => both::<Timer>(body),
        b"dead" => both::<DeadLetter>(body),
        b"results" => both::<Results>(body),
        b"lineup" => both::<Lineup>(body),
        b"media" => both::<Media>(body),
        b"tally" => both::<Tally>(body),
        _ => {}
    }
}

fn both<T: Serialize + DeserializeOwned>(body: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<T>(body) {
        kept(&record);
    }
    if let Ok(record) = postcard::from_bytes::<T>(body) {
        kept(&record);
    }
}

fn kept<T: Serialize + DeserializeOwned>(record: &T) {
    let written = postcard::to_stdvec(record).expect("what was read can be written");
    let read: T = postcard::from_bytes(&written).expect("what was written can be read");
    assert_eq!(postcard::to_stdvec(&read).expect("and written again"), written);
    for cut in [0, written.len() / 2, written.len().saturating_sub(1)] {
        assert!(cut == written.len() || postcard::from_bytes::<T>(&written[..cut]).is_err(), "a record that lost its end is read");
    }
}
