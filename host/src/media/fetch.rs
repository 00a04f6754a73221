//! The two ways to the bytes of an attachment: a plain URL through the host's own door, or the connector.

use url::Url;

use crate::egress::{HttpError, HttpRequest};
use crate::model::{Attachment, Detail, Fault};
use crate::plugin::PluginState;

use super::Media;

/// Redirects that are followed, each judged by the grant like the first address.
const REDIRECTS_MAX: usize = 3;
/// Statuses that time may mend: a link that is not signed yet or for a moment, a server that is busy.
const PASSING: [u16; 4] = [401, 403, 408, 425];

impl Media {
    /// The bytes, within the bound of a file.
    pub(super) async fn fetch(&self, attachment: &Attachment) -> Result<Vec<u8>, Fault> {
        match (&attachment.url, &attachment.media_ref) {
            (Some(url), _) => self.download(url).await,
            (None, Some(media_ref)) => {
                let state =
                    PluginState::new(self.journal.store.plugin_state(&self.channel).await.map_err(|_| later("the store does not answer"))?, 0);
                self.plugin.fetch(state, media_ref, self.bounds.file_bytes).await
            }
            (None, None) => Err(Fault::Unsupported(detail("no-way", "the connector gives no way to fetch it"))),
        }
    }

    async fn download(&self, url: &str) -> Result<Vec<u8>, Fault> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let request =
                HttpRequest { method: "GET".to_owned(), url: url.clone(), headers: Vec::new(), body: Vec::new(), auth: None, timeout: None };
            let answer = self.door.http(request).await.map_err(|error| self.fault_of(&error))?;
            let header = |name: &str| answer.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            match answer.status {
                200 => return Ok(answer.body),
                301 | 302 | 303 | 307 | 308 => {
                    let next = Url::parse(&url).ok().zip(header("location")).and_then(|(base, to)| base.join(to).ok());
                    url = next.ok_or_else(|| Fault::Permanent(detail("redirect", "it leads to another address, which cannot be read")))?.into();
                }
                429 => {
                    let wait_s = header("retry-after").and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0);
                    return Err(Fault::RateLimited(detail(Fault::ITEM_LATER, "the network answers 429"), wait_s.saturating_mul(1000)));
                }
                404 | 410 => return Err(Fault::Permanent(detail("gone", "the network has it no more"))),
                status if status >= 500 || PASSING.contains(&status) => return Err(later(&format!("the network answers {status}"))),
                status => return Err(Fault::Permanent(detail("refused", &format!("the network answers {status}")))),
            }
        }
        Err(Fault::Permanent(detail("redirect", "it leads from one address to the next without end")))
    }

    fn fault_of(&self, error: &HttpError) -> Fault {
        match error {
            HttpError::Denied(_) => Fault::Permanent(detail("denied", &error.to_string())),
            HttpError::TooLarge(_) => Fault::Permanent(detail("too-large", &self.too_large("more bytes than may be"))),
            HttpError::Timeout | HttpError::Dns(_) | HttpError::Connect(_) | HttpError::Tls(_) | HttpError::Protocol(_) => later(&error.to_string()),
        }
    }
}

fn later(message: &str) -> Fault {
    Fault::Transient(detail("not-now", message))
}

fn detail(code: &str, message: &str) -> Detail {
    Detail { code: code.to_owned(), message: message.to_owned() }
}
