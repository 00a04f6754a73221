//! What an admin and the author of a plugin write: the configuration, manifests, grants.

use std::net::IpAddr;

use url::Url;

use crate::egress::{Cidr, HostPort, HttpGrant};
use crate::plugin::{Manifest, embed, embedded};

/// The smallest component: a header and no section.
const COMPONENT: [u8; 8] = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/// A file is read, or refused with the place and the cure of each mistake.
pub(crate) fn config(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("membrana.toml");
    std::fs::write(&file, data).expect("a file");
    let n_lines = u32::try_from(data.split(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX);
    let (whole, read) = (crate::config::read_what_is_there(&file, &|_| None), crate::config::read(&file, &|_| None));
    for finding in &whole.1.findings {
        let place = &finding.place;
        assert!(place.line <= n_lines && (place.line == 0 || place.column > 0) || place.file != file, "{finding:?}");
        assert!(!finding.message.is_empty() && !finding.cure.is_empty(), "{finding:?}");
    }
    assert_eq!(read.is_err(), whole.0.is_none() || whole.1.has_errors());
    if let Ok((config, _)) = read {
        let names: Vec<&str> = config.channels.iter().map(|channel| channel.plugin.name.as_str()).collect();
        let is_name = |name: &&str| (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(names.iter().all(is_name), "{names:?}");
        assert!((1..names.len()).all(|n| !names[..n].contains(&names[n])), "{names:?}");
    }
}

/// A manifest that is taken keeps its bounds, and is found again in the plugin it is put into.
pub(crate) fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert!((1..=32).contains(&manifest.name.len()) && manifest.state_quota() <= 16 << 20, "{manifest:?}");
            manifest.reply_terms(&serde_json::json!({ "length_max": 9 }));
            manifest.tariff();
            manifest.key_window();
            manifest.check_config(&serde_json::json!({ "base_url": 7 }));
            let file = embed(&COMPONENT, text).expect("a manifest fits into a component");
            assert_eq!(embedded(&file).expect("and is found"), text);
        }
        Err(refused) => assert!(refused.to_string().len() > "manifest: ".len(), "{refused}"),
    }
}

/// A file that says it is a plugin: its manifest is believed only with the digest that covers it.
pub(crate) fn plugin(data: &[u8]) {
    if let Ok(text) = embedded(data) {
        let mut other = data.to_vec();
        other[8..].reverse();
        assert!(other == data || embedded(&other).ok() != Some(text), "the digest covers nothing");
    }
    let whole = [&COMPONENT, data].concat();
    if let Err(refused) = embedded(&whole) {
        assert!(!refused.to_string().is_empty());
    }
}

/// A grant in the first line and an address in the second: nothing is let out that does not lie inside, however it is written.
pub(crate) fn egress(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (granted, asked) = text.split_once('\n').unwrap_or((text, ""));
    http(granted, asked);
    if let (Ok(grant), Some((host, port))) = (HostPort::parse(granted), asked.rsplit_once(':')) {
        let port: u16 = port.parse().unwrap_or_default();
        let bare = granted.strip_prefix("plain://").unwrap_or(granted);
        assert!(!grant.allows(host, port) || bare.eq_ignore_ascii_case(&format!("{host}:{port}")) || bare.contains(":0") || bare.contains(":+"));
    }
    if let (Ok(range), Ok(address)) = (Cidr::parse(granted), asked.parse::<IpAddr>()) {
        let mapped = match address {
            IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
            IpAddr::V6(_) => address,
        };
        assert_eq!(range.contains(address), range.contains(mapped), "{range:?} {address}");
        let base: IpAddr = granted.split('/').next().unwrap_or_default().parse().expect("it was read as a range");
        assert!(range.contains(base), "{range:?}");
    }
}

fn http(granted: &str, asked: &str) {
    let (Ok(grant), Ok(url)) = (HttpGrant::parse(granted), Url::parse(asked)) else { return };
    let inside = Url::parse(granted).expect("it was read as a grant");
    assert!(grant.allows(&inside), "a grant allows what it names: {granted}");
    assert!(HttpGrant::origin(granted).is_ok_and(|origin| origin.has_origin_of(&grant) && origin.allows(&inside)), "{granted}");
    if !grant.allows(&url) {
        return;
    }
    let place = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    assert_eq!(place(&url), place(&inside), "{granted} let out {asked}");
    // As a server might read it: decoded, as often as it takes, and walked.
    let mut path = url.path().to_owned();
    for _ in 0..3 {
        assert!(depth(&path) >= depth(inside.path().trim_end_matches('/')).min(1), "{granted} let out {asked}");
        path = decoded(&path);
        if inside.path() == "/" {
            return;
        }
        let walked = walk(&path);
        let prefix = walk(inside.path());
        assert!(walked.starts_with(&prefix) || decoded(&path) != path, "{granted} let out {asked}, which leads to {walked:?}");
    }
}

fn depth(path: &str) -> usize {
    walk(path).len()
}

/// The steps that are left once those upwards are taken.
fn walk(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for step in path.replace('\\', "/").split('/') {
        match step.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(steps.pop()),
            _ => steps.push(step.to_owned()),
        }
    }
    steps
}

/// With each escape of a separator or a dot replaced once.
fn decoded(path: &str) -> String {
    let mut text = path.to_owned();
    for (escape, sign) in [("%2e", "."), ("%2f", "/"), ("%5c", "\\"), ("%3b", ";")] {
        text = text.replace(escape, sign).replace(&escape.to_ascii_uppercase(), sign);
    }
    text
}
