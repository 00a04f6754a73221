//! From what a manifest wants and an admin grants to a door.

use std::sync::Arc;

use crate::config::{Grant, Plugin, Secret};
use crate::egress::{self, Cidr, Credential, Door, DoorConfig, Egress, HostPort, HttpGrant, Inject};
use crate::plugin::{Manifest, WantsCredential, Wished};

/// The way out of one plugin: what its manifest wants and the admin grants, both. `None` where it wants none. The grants'
/// forms were checked with the configuration.
pub(super) fn of_plugin(egress: &Arc<Egress>, manifest: &Manifest, section: &Plugin) -> Option<Arc<Door>> {
    let wants = &manifest.wants;
    if wants.http.is_none() && wants.net.is_none() {
        return None;
    }
    let Grant { http, net, private, .. } = &section.grant;
    let mut config = DoorConfig { private: ranges(private), ..DoorConfig::default() };
    if let Some(wanted) = &wants.http {
        let wished = Wished::of(&wanted.hosts, &section.config);
        let origins = origins(&wished.named);
        let granted = http.iter().filter_map(|text| HttpGrant::parse(text).ok());
        config.http = granted.filter(|grant| wished.is_any || origins.iter().any(|origin| origin.has_origin_of(grant))).collect();
        config.methods.clone_from(&wanted.methods);
        for (name, want) in &wanted.credentials {
            let inject = Inject::parse(want.inject.as_deref().unwrap_or("bearer"));
            let bound = if want.hosts.is_empty() { origins.clone() } else { self::origins(&Wished::of(&want.hosts, &section.config).named) };
            config.credentials.extend(inject.and_then(|inject| credential(name, want, section, inject, bound, Vec::new())));
        }
    }
    if let Some(wanted) = &wants.net {
        let places = places(&Wished::of(&wanted.endpoints, &section.config).named);
        let granted = net.iter().filter_map(|text| HostPort::parse(text).ok());
        config.net = granted.filter(|grant| places.iter().any(|place| place.has_place_of(grant))).collect();
        for (name, want) in &wanted.credentials {
            let bound = if want.hosts.is_empty() { places.clone() } else { self::places(&Wished::of(&want.hosts, &section.config).named) };
            config.credentials.extend(credential(name, want, section, Inject::Write, Vec::new(), bound));
        }
    }
    Some(Arc::new(egress.door(config)))
}

fn origins(named: &[String]) -> Vec<HttpGrant> {
    named.iter().filter_map(|url| HttpGrant::origin(url).ok()).collect()
}

fn places(named: &[String]) -> Vec<HostPort> {
    named.iter().filter_map(|place| HostPort::parse(place).ok()).collect()
}

fn credential(
    name: &str,
    want: &WantsCredential,
    section: &Plugin,
    inject: Inject,
    origins: Vec<HttpGrant>,
    endpoints: Vec<HostPort>,
) -> Option<Credential> {
    let secrets = section.secrets.get(&want.secret)?.iter().map(|secret| egress::Secret::new(secret.expose())).collect();
    Some(Credential { name: name.to_owned(), secrets, inject, origins, endpoints })
}

/// The way out of a sink: its own address and nothing else.
pub(super) fn of_sink(egress: &Arc<Egress>, url: &str, private: &[String], secrets: &[Secret]) -> Option<Arc<Door>> {
    let mut origin = url::Url::parse(url).ok()?;
    origin.set_query(None);
    origin.set_fragment(None);
    let http = vec![HttpGrant::parse(origin.as_str()).ok()?];
    let secrets = secrets.iter().map(|secret| egress::Secret::new(secret.expose())).collect();
    let credentials = vec![Credential { name: "secret".to_owned(), secrets, inject: Inject::Write, origins: Vec::new(), endpoints: Vec::new() }];
    Some(Arc::new(egress.door(DoorConfig { http, private: ranges(private), credentials, ..DoorConfig::default() })))
}

fn ranges(texts: &[String]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| Cidr::parse(text).ok()).collect()
}
