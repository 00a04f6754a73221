//! What the host does for a plugin. On Wasm these call the host; elsewhere they call [`crate::testing`].

#[cfg(target_family = "wasm")]
use crate::bindings::everything::membrana::plugin as imports;
#[cfg(not(target_family = "wasm"))]
use crate::testing as imports;

/// Lines for the admin's log. Never log text, names, addresses or secrets. At most 64 KiB/s, then dropped and counted.
pub mod log {
    pub use crate::bindings::everything::membrana::plugin::log::Level;

    /// Writes one line.
    pub fn write(level: Level, message: impl core::fmt::Display) {
        super::imports::log::write(level, &message.to_string());
    }

    /// Something an admin would note.
    pub fn info(message: impl core::fmt::Display) {
        write(Level::Info, message);
    }

    /// Something went wrong and was got over.
    pub fn warn(message: impl core::fmt::Display) {
        write(Level::Warn, message);
    }
}

/// The plugin's own section of the configuration.
pub mod config {
    use std::any::Any;
    use std::cell::RefCell;
    use std::rc::Rc;

    use crate::Result;

    /// JSON. A secret appears as its name; `x_file = "..."` appears as `x` with the file's text.
    pub fn json() -> String {
        super::imports::config::json()
    }

    thread_local! {
        /// What was read last, with what it was read from.
        static READ: RefCell<Option<(String, Rc<dyn Any>)>> = const { RefCell::new(None) };
    }

    /// The section as `read` makes it of the JSON: once for as long as it stays the same, for a section does not change between calls.
    /// Errors: those of `read`.
    pub fn read_once<T: 'static>(read: impl FnOnce(&str) -> Result<T>) -> Result<Rc<T>> {
        let json = json();
        let known = READ.with_borrow(|last| last.as_ref().filter(|(of, _)| *of == json).and_then(|(_, read)| Rc::clone(read).downcast().ok()));
        if let Some(known) = known {
            return Ok(known);
        }
        let fresh = Rc::new(read(&json)?);
        READ.set(Some((json, Rc::clone(&fresh) as Rc<dyn Any>)));
        Ok(fresh)
    }
}

/// The time, coarse on purpose. Connectors only.
pub mod clock {
    use crate::Timestamp;

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn now() -> Timestamp {
        super::imports::clock::now()
    }

    /// Milliseconds until the host ends this call.
    pub fn remaining_ms() -> u64 {
        super::imports::clock::remaining_ms()
    }
}

/// Key-value state, durable and private to one channel, committed with what the call returns. Connectors only;
/// `send` and `probe` may only read.
pub mod state {
    /// Shape: at most 256 bytes a key, 64 KiB a value.
    pub fn get(key: &str) -> Option<Vec<u8>> {
        super::imports::state::get(key)
    }

    /// Errors: over the quota, or a call that may only read; in words.
    pub fn set(key: &str, value: &[u8]) -> Result<(), String> {
        super::imports::state::set(key, value)
    }

    /// Absent is fine.
    pub fn delete(key: &str) {
        super::imports::state::delete(key);
    }

    /// Keys with this prefix in order, after `after`, at most `limit` (1000).
    pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Vec<String> {
        super::imports::state::keys(prefix, after, limit)
    }
}

/// HTTP by the host: grants, addresses, TLS, time-outs, sizes and credentials are its business.
pub mod http {
    pub use crate::bindings::everything::membrana::plugin::http::{HttpError, Request, Response};

    /// Sends and waits. A redirect is returned, never followed.
    pub fn send(request: &Request) -> Result<Response, HttpError> {
        super::imports::http::send(request)
    }

    impl Request {
        /// A request without body. Shape: `method` upper case, `url` absolute.
        pub fn new(method: &str, url: impl Into<String>) -> Self {
            Self { method: method.to_owned(), url: url.into(), headers: Vec::new(), body: Vec::new(), auth: None, timeout_ms: None }
        }

        /// Adds a header.
        pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
            self.headers.push((name.to_owned(), value.into()));
            self
        }

        /// Names the credential that the host adds.
        pub fn auth(mut self, credential: &str) -> Self {
            self.auth = Some(credential.to_owned());
            self
        }

        /// Sets body and content type.
        pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
            let mut with_type = self.header("content-type", content_type);
            with_type.body = body.into();
            with_type
        }
    }

    /// A network whose clock is further off than that is not believed what time it is. Units: milliseconds.
    #[cfg(feature = "limits")]
    const SKEW_MS_MAX: u64 = 3_600_000;

    impl Response {
        /// Feature `limits`: when it was answered by the network's own clock, as far as its `Date` can be believed; else by ours. The moments that a
        /// network names are in its time. Units: ms since 1970.
        #[cfg(feature = "limits")]
        pub fn answered_at(&self) -> crate::Timestamp {
            let now = super::clock::now();
            let date = self.header("date").and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
            let told = date.and_then(|date| u64::try_from(date.timestamp().as_millisecond()).ok());
            told.filter(|told| told.abs_diff(now) <= SKEW_MS_MAX).unwrap_or(now)
        }

        /// The first header of this lower-case name.
        pub fn header(&self, name: &str) -> Option<&str> {
            self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        }

        /// The body as text, wrong bytes replaced.
        pub fn text(&self) -> std::borrow::Cow<'_, str> {
            String::from_utf8_lossy(&self.body)
        }
    }

    /// A network that cannot be reached is asked to take something again after this. Units: milliseconds.
    const UNREACHABLE_MS: u64 = 60_000;

    impl HttpError {
        /// As the fault of a call that changes nothing; `plugin` begins its code.
        pub fn fault(&self, plugin: &str) -> crate::Fault {
            match self {
                HttpError::Denied(_) => crate::Fault::config(&format!("{plugin}.denied"), self.words()),
                _ => crate::Fault::transient(&format!("{plugin}.unreachable"), self.words()),
            }
        }

        /// As the fault of a call that changes something: where it may have arrived, nobody knows how it ended. Where nothing was sent, the
        /// network is away for all: the host waits, and counts no try, so that an outage costs no reply.
        pub fn fault_of_write(&self, plugin: &str) -> crate::Fault {
            match self {
                HttpError::Timeout | HttpError::Protocol(_) | HttpError::TooLarge(_) => crate::Fault::outcome_unknown(self.words()),
                HttpError::Dns(_) | HttpError::Connect(_) | HttpError::Tls(_) => {
                    crate::Fault::rate_limited(&format!("{plugin}.unreachable"), self.words(), UNREACHABLE_MS)
                }
                HttpError::Denied(_) => self.fault(plugin),
            }
        }

        /// What went wrong, in words for an admin.
        pub fn words(&self) -> String {
            match self {
                HttpError::Denied(grant) => format!("not granted: {grant}"),
                HttpError::Timeout => "no answer in time".to_owned(),
                HttpError::TooLarge(limit) => format!("answer over {limit} bytes"),
                HttpError::Dns(why) => format!("name not resolved: {why}"),
                HttpError::Connect(why) => format!("no connection: {why}"),
                HttpError::Tls(why) => format!("tls: {why}"),
                HttpError::Protocol(why) => format!("http: {why}"),
            }
        }
    }
}

/// A byte stream to a granted host and port. TLS and certificates are the host's.
pub mod net {
    #[cfg(target_family = "wasm")]
    pub use crate::bindings::everything::membrana::plugin::net::Connection;
    pub use crate::bindings::everything::membrana::plugin::net::{NetError, Security};
    #[cfg(not(target_family = "wasm"))]
    pub use crate::testing::Connection;

    impl NetError {
        /// What went wrong, in words for an admin.
        pub fn words(&self) -> String {
            match self {
                NetError::Denied(grant) => format!("not granted: {grant}"),
                NetError::Timeout => "no answer in time".to_owned(),
                NetError::Closed => "connection closed".to_owned(),
                NetError::Tls(why) => format!("tls: {why}"),
                NetError::Io(why) => format!("connection broke: {why}"),
            }
        }
    }
}
