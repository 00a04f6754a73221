//! From what a manifest wants and an admin grants to a door.

use std::sync::Arc;

use crate::config::{Grant, Plugin, Secret};
use crate::egress::{self, Cidr, Credential, Door, DoorConfig, Egress, HostPort, HttpGrant, Inject};
use crate::plugin::{Manifest, WantsCredential};

/// The way out of one plugin; `None` where it wants none. The grants' forms were checked with the configuration.
pub(super) fn of_plugin(egress: &Arc<Egress>, manifest: &Manifest, section: &Plugin) -> Option<Arc<Door>> {
    let wants = &manifest.wants;
    if wants.http.is_none() && wants.net.is_none() {
        return None;
    }
    let Grant { http, net, private, .. } = &section.grant;
    let mut config = DoorConfig { private: ranges(private), ..DoorConfig::default() };
    if let Some(wanted) = &wants.http {
        config.http = http.iter().filter_map(|text| HttpGrant::parse(text).ok()).collect();
        config.methods.clone_from(&wanted.methods);
        config.credentials.extend(wanted.credentials.iter().filter_map(|(name, want)| credential(name, want, section, false)));
    }
    if let Some(wanted) = &wants.net {
        config.net = net.iter().filter_map(|text| HostPort::parse(text).ok()).collect();
        config.credentials.extend(wanted.credentials.iter().filter_map(|(name, want)| credential(name, want, section, true)));
    }
    Some(Arc::new(egress.door(config)))
}

fn credential(name: &str, want: &WantsCredential, section: &Plugin, is_written: bool) -> Option<Credential> {
    let secrets = section.secrets.get(&want.secret)?.iter().map(|secret| egress::Secret::new(secret.expose())).collect();
    let inject = if is_written { Inject::Write } else { Inject::parse(want.inject.as_deref().unwrap_or("bearer"))? };
    Some(Credential { name: name.to_owned(), secrets, inject })
}

/// The way out of a sink: its own address and nothing else.
pub(super) fn of_sink(egress: &Arc<Egress>, url: &str, private: &[String], secrets: &[Secret]) -> Option<Arc<Door>> {
    let mut origin = url::Url::parse(url).ok()?;
    origin.set_query(None);
    origin.set_fragment(None);
    let http = vec![HttpGrant::parse(origin.as_str()).ok()?];
    let secrets = secrets.iter().map(|secret| egress::Secret::new(secret.expose())).collect();
    let credentials = vec![Credential { name: "secret".to_owned(), secrets, inject: Inject::Write }];
    Some(Arc::new(egress.door(DoorConfig { http, private: ranges(private), credentials, ..DoorConfig::default() })))
}

fn ranges(texts: &[String]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| Cidr::parse(text).ok()).collect()
}
