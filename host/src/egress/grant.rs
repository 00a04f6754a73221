//! What an admin grants, as written: origins with a path prefix, and hosts with a port.

use url::Url;

/// A grant in the wrong form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a grant: {cure}")]
pub struct GrantError {
    /// As written.
    pub text: String,
    /// How it is written right.
    pub cure: String,
}

impl GrantError {
    pub(super) fn new(text: &str, cure: &str) -> Self {
        Self { text: text.to_owned(), cure: cure.to_owned() }
    }
}

/// `scheme://host[:port][/path-prefix]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    scheme: String,
    host: String,
    port: u16,
    prefix: String,
}

impl HttpGrant {
    /// Reads a grant.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let wrong = |cure: &str| GrantError::new(text, cure);
        let url = Url::parse(text).map_err(|_| wrong("write `https://host[:port][/path-prefix]`"))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(wrong("it has no host")) };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("only http and https can be granted"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("leave out user, query and fragment"));
        }
        if climbs(url.path()) {
            return Err(wrong("write its path without `..`"));
        }
        Ok(Self { scheme: url.scheme().to_owned(), host: host.to_owned(), port, prefix: url.path().trim_end_matches('/').to_owned() })
    }

    /// The whole origin of a URL, whatever its path and query. Errors: no http or https.
    pub fn origin(text: &str) -> Result<Self, GrantError> {
        let mut url = Url::parse(text).map_err(|_| GrantError::new(text, "write `https://host[:port][/path-prefix]`"))?;
        url.set_path("");
        url.set_query(None);
        url.set_fragment(None);
        Self::parse(url.as_str())
    }

    /// Says whether both are of one origin.
    pub fn has_origin_of(&self, other: &Self) -> bool {
        (&self.scheme, &self.host, self.port) == (&other.scheme, &other.host, other.port)
    }

    /// Says whether a URL lies inside. `/api` holds `/api` and `/api/x`, not `/apix`, nor `/api/..%2fx`: many servers decode before they
    /// look where a path leads.
    pub fn allows(&self, url: &Url) -> bool {
        let rest = url.path().strip_prefix(self.prefix.as_str());
        url.scheme() == self.scheme
            && url.host_str() == Some(self.host.as_str())
            && url.port_or_known_default() == Some(self.port)
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && (self.prefix.is_empty() || !climbs(url.path()))
    }
}

/// Says whether a path has a step upwards behind an encoding.
fn climbs(path: &str) -> bool {
    let decoded = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace("%3b", ";");
    // What follows a `;` is a parameter of the step, for servers that know them.
    decoded.split('/').any(|part| part.split(';').next() == Some(".."))
}

/// `host:port`, or `plain://host:port` where a credential may go in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_plain: bool,
}

impl HostPort {
    /// Reads a grant.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let wrong = || GrantError::new(text, "write `host:port`");
        let (is_plain, place) = text.strip_prefix("plain://").map_or((false, text), |place| (true, place));
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_[]:".contains(c));
        if is_host { Ok(Self { host: host.to_ascii_lowercase(), port, is_plain }) } else { Err(wrong()) }
    }

    /// Says whether both lead to the same place.
    pub fn has_place_of(&self, other: &Self) -> bool {
        self.allows(&other.host, other.port)
    }

    /// Says whether this place may be spoken to.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host == host.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(grant: &str, url: &str) -> bool {
        HttpGrant::parse(grant).unwrap().allows(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_grant_is_an_origin_and_a_prefix_of_whole_segments() {
        assert!(allows("https://a.example", "https://a.example/x?y"));
        assert!(allows("https://a.example:443/api/", "https://a.example/api/x"));
        assert!(allows("https://a.example/api", "https://a.example/api"));
        assert!(allows("https://a.example/api", "https://a.example/api/a..b/..%20/%2f"));
        for (grant, url) in [
            ("https://a.example", "http://a.example/"),
            ("https://a.example", "https://a.example:8443/"),
            ("https://a.example", "https://a.example.evil.example/"),
            ("https://a.example", "https://b.a.example/"),
            ("https://a.example/api", "https://a.example/apix"),
            ("https://a.example/api", "https://a.example/api/../admin"),
            ("https://a.example/api", "https://a.example/api/..%2Fadmin"),
            ("https://a.example/api", "https://a.example/api/x/..%3by/..%3B/admin"),
            ("https://a.example/api", "https://a.example/api/x%2f%2e.%5cadmin"),
            ("https://127.0.0.1", "https://a.example/"),
        ] {
            assert!(!allows(grant, url), "{grant} {url}");
        }
    }

    #[test]
    fn a_grant_that_climbs_is_none_for_nothing_would_lie_inside() {
        for path in ["/api/%2e%2e;b", "/api/x%2f..%5cy", "/..;"] {
            let refused = HttpGrant::parse(&format!("https://a.example{path}")).unwrap_err();
            assert!(refused.cure.contains("`..`"), "{path}: {refused}");
        }
    }

    #[test]
    fn two_grants_are_of_one_origin_whatever_their_paths() {
        let of_one = |a: &str, b: &str| HttpGrant::origin(a).unwrap().has_origin_of(&HttpGrant::parse(b).unwrap());
        assert!(of_one("https://a.example/x?y#z", "https://a.example:443/api"));
        for other in ["http://a.example", "https://b.example", "https://a.example:8443"] {
            assert!(!of_one("https://a.example/", other), "{other}");
        }
        let whole = HttpGrant::origin("https://a.example/api?q").unwrap();
        assert!(whole.allows(&Url::parse("https://a.example/elsewhere").unwrap()), "an origin has no prefix");
        assert!(HttpGrant::origin("ftp://a.example").is_err() && HttpGrant::origin("nowhere").is_err());
    }

    #[test]
    fn an_endpoint_is_one_host_and_one_port() {
        let imap = HostPort::parse("imap.example.org:993").unwrap();
        assert!(!imap.is_plain && imap.allows("Imap.Example.Org", 993));
        assert!(!imap.allows("imap.example.org", 143) && !imap.allows("smtp.example.org", 993));
        for (other, is_there) in [("IMAP.example.org:993", true), ("imap.example.org:143", false), ("example.org:993", false)] {
            assert_eq!(imap.has_place_of(&HostPort::parse(other).unwrap()), is_there, "{other}");
        }
        assert!(HostPort::parse("[::1]:143").unwrap().allows("[::1]", 143));
    }

    #[test]
    fn what_is_no_grant_says_so() {
        for wrong in
            ["a.example", "ftp://a.example", "https://user@a.example", "https://:pass@a.example", "https://a.example/?q", "https://a.example/#f", ""]
        {
            assert!(HttpGrant::parse(wrong).is_err(), "{wrong}");
        }
        assert!(HostPort::parse("imap.example.org:993").unwrap().allows("IMAP.example.org", 993));
        let plain = HostPort::parse("plain://imap.lan:143").unwrap();
        assert!(plain.is_plain && plain.has_place_of(&HostPort::parse("IMAP.lan:143").unwrap()));
        for wrong in ["imap.example.org", ":993", "a b:1", "h:70000"] {
            assert!(HostPort::parse(wrong).is_err(), "{wrong}");
        }
    }
}
