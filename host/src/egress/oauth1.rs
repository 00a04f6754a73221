//! OAuth 1.0a: one request signed by HMAC-SHA1. Source: RFC 5849 §3.4 and §3.5.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use url::{Url, form_urlencoded};

use crate::clock::Clock;

use super::Secret;

/// What signs.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The application's name.
    pub consumer_key: Secret,
    /// The application's secret.
    pub consumer_secret: Secret,
    /// The account's name.
    pub token: Secret,
    /// The account's secret.
    pub token_secret: Secret,
    /// Signatures carry the time.
    pub clock: Clock,
}

/// What is signed of a request beside its URL.
pub(super) struct Signed<'r> {
    pub(super) method: &'r str,
    /// Of the guest.
    pub(super) headers: &'r [(String, String)],
    pub(super) body: &'r [u8],
}

impl Signer {
    /// The value of `Authorization`. Errors: there are no random numbers.
    pub(super) fn authorization(&self, url: &Url, request: &Signed<'_>) -> Result<String, getrandom::Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.authorization_of(url, request, &nonce, self.clock.now().0 / 1000))
    }

    fn authorization_of(&self, url: &Url, request: &Signed<'_>, nonce: &str, seconds: u64) -> String {
        let seconds = seconds.to_string();
        let protocol = [
            ("oauth_consumer_key", self.consumer_key.expose()),
            ("oauth_nonce", nonce),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", seconds.as_str()),
            ("oauth_token", self.token.expose()),
            ("oauth_version", "1.0"),
        ];
        let mut all = parameters(url, request);
        all.extend(protocol.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let signature = signature(&base_string(request.method, url, all), self.consumer_secret.expose(), self.token_secret.expose());
        let mut parts: Vec<String> = protocol.iter().map(|(name, value)| format!("{name}=\"{}\"", encoded(value))).collect();
        parts.push(format!("oauth_signature=\"{}\"", encoded(&signature)));
        format!("OAuth {}", parts.join(", "))
    }
}

/// Names and values of the query, and of the body where it is a form. Source: §3.4.1.3.1.
fn parameters(url: &Url, request: &Signed<'_>) -> Vec<(String, String)> {
    let pairs = |bytes: &[u8]| form_urlencoded::parse(bytes).into_owned().collect::<Vec<_>>();
    let mut all = pairs(url.query().unwrap_or_default().as_bytes());
    let is_form = |(name, value): &(String, String)| {
        let media = value.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("content-type") && media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    };
    if request.headers.iter().any(is_form) {
        all.extend(pairs(request.body));
    }
    all
}

/// Source: §3.4.1.
fn base_string(method: &str, url: &Url, parameters: Vec<(String, String)>) -> String {
    let mut sorted: Vec<(String, String)> = parameters.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
    sorted.sort_unstable();
    let joined: Vec<String> = sorted.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Lower-case scheme and host, no port where it is the scheme's own: as the URL was read.
    let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
    format!("{}&{}&{}", method.to_ascii_uppercase(), encoded(&place), encoded(&joined.join("&")))
}

/// Source: §3.4.2.
fn signature(base: &str, consumer_secret: &str, token_secret: &str) -> String {
    let key = format!("{}&{}", encoded(consumer_secret), encoded(token_secret));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    STANDARD.encode(hmac::sign(&key, base.as_bytes()))
}

/// Everything but what RFC 3986 calls unreserved, percent-encoded. Source: §3.6, which is stricter than forms.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn signer(consumer_key: &str, consumer_secret: &str, token: &str, token_secret: &str) -> Signer {
        let [consumer_key, consumer_secret, token, token_secret] = [consumer_key, consumer_secret, token, token_secret].map(Secret::new);
        Signer { consumer_key, consumer_secret, token, token_secret, clock: Clock::simulated(Timestamp(1_318_622_958_999)) }
    }

    fn form() -> Vec<(String, String)> {
        vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded; charset=utf-8".to_owned())]
    }

    /// RFC 5849 §3.4.1.1, to the letter.
    #[test]
    fn the_base_string_of_the_rfc() {
        let url = Url::parse("http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b").unwrap();
        let request = Signed { method: "post", headers: &form(), body: b"c2&a3=2+q" };
        let mut all = parameters(&url, &request);
        let protocol = [
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
        ];
        all.extend(protocol.map(|(name, value)| (name.to_owned(), value.to_owned())));

        assert_eq!(
            base_string("post", &url, all),
            "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26\
             oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D\
             137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
        );
    }

    /// RFC 5849 §1.2, and OAuth Core 1.0a appendix A.5.
    #[test]
    fn the_signatures_of_the_rfc_and_of_oauth_core() {
        let url = Url::parse("http://photos.example.net/photos?file=vacation.jpg&size=original").unwrap();
        let request = Signed { method: "GET", headers: &[], body: b"" };
        let mut all = parameters(&url, &request);
        let protocol = [
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_token", "nnch734d00sl2jdk"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131202"),
            ("oauth_nonce", "chapoH"),
        ];
        all.extend(protocol.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(signature(&base_string("GET", &url, all), "kd94hf93k423kf44", "pfkkdhi9sl3r4s00"), "MdpQcU8iPSUjWoN/UDMsK2sui9I=");

        let signer = signer("dpf43f3p2l4k3l03", "kd94hf93k423kf44", "nnch734d00sl2jdk", "pfkkdhi9sl3r4s00");
        let header = signer.authorization_of(&url, &request, "kllo9940pd9333jh", 1_191_242_096);
        assert!(header.ends_with("oauth_signature=\"tR3%2BTy81lMeYAr%2FFid0kMTYa%2FWM%3D\""), "{header}");
    }

    /// X's own worked example, "Creating a signature": a form, a query, and the whole header.
    #[test]
    fn the_signature_of_x_s_documentation() {
        let signer = signer(
            "xvz1evFS4wEEPTGEFPHBog",
            "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
            "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
            "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
        );
        let url = Url::parse("https://api.twitter.com/1.1/statuses/update.json?include_entities=true").unwrap();
        let body = b"status=Hello%20Ladies%20%2b%20Gentlemen%2c%20a%20signed%20OAuth%20request%21";
        let request = Signed { method: "POST", headers: &form(), body };

        let header = signer.authorization_of(&url, &request, "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg", 1_318_622_958);

        assert_eq!(
            header,
            "OAuth oauth_consumer_key=\"xvz1evFS4wEEPTGEFPHBog\", oauth_nonce=\"kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg\", \
             oauth_signature_method=\"HMAC-SHA1\", oauth_timestamp=\"1318622958\", \
             oauth_token=\"370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb\", oauth_version=\"1.0\", \
             oauth_signature=\"hCtSmYh%2BiHYCEqBWrE7C7hYmtUk%3D\""
        );
        let again = [(); 2].map(|()| signer.authorization(&url, &request).unwrap());
        assert!(again[0] != again[1] && again.iter().all(|header| header.contains("oauth_timestamp=\"1318622958\"")), "{again:?}");
    }

    #[test]
    fn a_body_that_is_no_form_is_not_signed() {
        let url = Url::parse("https://api.x.com/2/tweets").unwrap();
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        assert!(parameters(&url, &Signed { method: "POST", headers: &headers, body: b"{\"a\":\"b=c\"}" }).is_empty());
    }
}
