//! The three kinds as traits, and what turns an implementation into a component's exports.

use core::marker::PhantomData;

use crate::analyzer::{Batch, Item};
use crate::bindings;
use crate::connector::{Change, Message, Page, Raw, Receipt, Sent, Subscription};
use crate::rule::{Decision, Event};
use crate::{Annotation, Fault, Finding, Result, Surroundings, Value};

/// Speaks to one network. Functions have no `self`: nothing lives between calls but [`crate::state`].
pub trait Connector {
    /// Checks the plugin's section of the configuration (JSON) without any call outside. Called by `check` and before a load.
    fn validate(config: &str, around: &Surroundings) -> Vec<Finding>;

    /// What is new since `cursor` (none: never polled). Called by the host's pace, one call at a time per channel; what it
    /// returns, its cursor and its state are committed together or not at all. A pure webhook connector keeps the default.
    fn poll(cursor: Option<String>, max_items: u32, max_bytes: u32) -> Result<Page> {
        let _ = (max_items, max_bytes);
        Ok(Page { changes: Vec::new(), cursor: cursor.unwrap_or_default(), more: false, backfill: false, next_poll_ms: None, allowance: None })
    }

    /// Understands one raw thing (a webhook, a stream's frame, bytes of `poll`), durable before this call.
    fn receive(raw: Raw) -> Result<Vec<Change>> {
        let _ = raw;
        Err(Fault::unsupported("receive"))
    }

    /// Carries one action to the network; `key` makes a repeat recognisable.
    fn send(key: &str, message: &Message) -> Result<Receipt> {
        let _ = (key, message);
        Err(Fault::unsupported("send"))
    }

    /// After an unknown outcome: is it there?
    fn probe(key: &str, message: &Message) -> Result<(Sent, Option<Receipt>)> {
        let _ = (key, message);
        Ok((Sent::Unknown, None))
    }
}

/// Beside [`Connector`]: the network pushes over a connection that the host keeps.
pub trait Stream {
    /// What to connect to; asked before every connection, state is read only. Frames come to [`Connector::receive`], durable first.
    /// [`Fault::unsupported`]: this channel has no stream.
    fn open(cursor: Option<String>) -> Result<Subscription>;
}

/// Beside [`Connector`]: fetches attachments that have no plain URL, where an admin wants files kept.
pub trait Media {
    /// The bytes of the attachment whose `media_ref` this is, at most `max_bytes`; asked after its message was stored, state is read
    /// only. [`Fault::permanent`] with the code `too-large` where it does not fit, `gone` where it is no more; what time may mend is
    /// asked for again.
    fn fetch(media_ref: &str, max_bytes: u32) -> Result<Vec<u8>>;
}

/// Says something about interactions; pure.
pub trait Analyzer {
    /// Checks the plugin's section of the configuration (JSON).
    fn validate(config: &str, around: &Surroundings) -> Vec<Finding> {
        let _ = (config, around);
        Vec::new()
    }

    /// One list of annotations per item, same order; empty where it abstains.
    fn analyze(batch: &Batch) -> Result<Vec<Vec<Annotation>>>;
}

/// Decides what the company does; pure.
pub trait Rule {
    /// Checks the plugin's section of the configuration (JSON) and the files it names.
    fn validate(config: &str, around: &Surroundings) -> Vec<Finding>;

    /// One decision per event, same order.
    fn decide(events: &[Event]) -> Result<Vec<Decision>>;
}

/// Adapts an implementation to the generated export traits.
#[doc(hidden)]
pub struct Exported<T>(PhantomData<T>);

impl<T: Connector> bindings::connector::exports::membrana::plugin::connector::Guest for Exported<T> {
    fn validate(config: String, around: Surroundings) -> Vec<Finding> {
        T::validate(&config, &around)
    }
    fn poll(cursor: Option<String>, max_items: u32, max_bytes: u32) -> Result<Page> {
        T::poll(cursor, max_items, max_bytes)
    }
    fn receive(raw: Raw) -> Result<Vec<Change>> {
        T::receive(raw)
    }
    fn send(key: String, message: Message) -> Result<Receipt> {
        T::send(&key, &message)
    }
    fn probe(key: String, message: Message) -> Result<(Sent, Option<Receipt>)> {
        T::probe(&key, &message)
    }
}

impl<T: Stream> bindings::stream::exports::membrana::plugin::connector_stream::Guest for Exported<T> {
    fn open(cursor: Option<String>) -> Result<Subscription> {
        T::open(cursor)
    }
}

impl<T: Media> bindings::media::exports::membrana::plugin::connector_media::Guest for Exported<T> {
    fn fetch(media_ref: String, max_bytes: u32) -> Result<Vec<u8>> {
        T::fetch(&media_ref, max_bytes)
    }
}

impl Item {
    /// What an analyzer named in `after` said under this key.
    pub fn earlier(&self, key: &str) -> Option<&Value> {
        self.context.as_ref()?.earlier.iter().find(|said| said.key == key).map(|said| &said.value)
    }
}

impl<T: Analyzer> bindings::analyzer::exports::membrana::plugin::analyzer::Guest for Exported<T> {
    fn validate(config: String, around: Surroundings) -> Vec<Finding> {
        T::validate(&config, &around)
    }
    fn analyze(batch: Batch) -> Result<Vec<Vec<Annotation>>> {
        T::analyze(&batch)
    }
}

impl<T: Rule> bindings::rule::exports::membrana::plugin::rule::Guest for Exported<T> {
    fn validate(config: String, around: Surroundings) -> Vec<Finding> {
        T::validate(&config, &around)
    }
    fn decide(events: Vec<Event>) -> Result<Vec<Decision>> {
        T::decide(&events)
    }
}

/// Exports a [`Connector`] as this component. Off Wasm it only checks the type, so that a native workspace build works.
#[macro_export]
macro_rules! register_connector {
    ($plugin:ty) => {
        $crate::__register!(connector, Connector, $plugin);
    };
}

/// Exports a [`Stream`] beside the connector.
#[macro_export]
macro_rules! register_stream {
    ($plugin:ty) => {
        $crate::__register!(stream, Stream, $plugin);
    };
}

/// Exports a [`Media`] beside the connector.
#[macro_export]
macro_rules! register_media {
    ($plugin:ty) => {
        $crate::__register!(media, Media, $plugin);
    };
}

/// Exports an [`Analyzer`] as this component.
#[macro_export]
macro_rules! register_analyzer {
    ($plugin:ty) => {
        $crate::__register!(analyzer, Analyzer, $plugin);
    };
}

/// Exports a [`Rule`] as this component.
#[macro_export]
macro_rules! register_rule {
    ($plugin:ty) => {
        $crate::__register!(rule, Rule, $plugin);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ($world:ident, $kind:ident, $plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::__private::Exported<$plugin>;
    $crate::__private::$world::export!(Exported with_types_in $crate::__private::$world);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_a_plugin<T: $crate::$kind>() {}
            is_a_plugin::<$plugin>()
        };
    };
}
