//! From what a manifest wants and an admin grants to a door.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{Grant, Plugin, Secret};
use crate::egress::{
    self, Budget, Cidr, Client, ClientAuth, Credential, Door, DoorConfig, Egress, HostPort, HttpGrant, Inject, Meter, Renewals, Signer, Tokens,
};
use crate::plugin::{Manifest, WantsCredential, WantsOauth1, WantsOauth2, Wished};

/// What a sink is told at once: a text of 1 MiB as JSON, which may take six bytes for one, and what stands around it. Units: bytes.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// What doors are made with.
pub(super) struct Doors<'a> {
    pub(super) egress: &'a Arc<Egress>,
    /// Signatures and tokens carry times.
    pub(super) clock: &'a Clock,
    /// Renewals of tokens, which outlive the configuration.
    pub(super) renewals: &'a Arc<Renewals>,
    /// Where tokens are sealed.
    pub(super) credentials: PathBuf,
    /// Where it is kept what channels spent.
    pub(super) budgets: PathBuf,
}

/// Inside the folder of the store.
pub(super) fn budgets(data: &Path) -> PathBuf {
    data.join("budgets")
}

impl<'a> Doors<'a> {
    /// `data`: the folder of the store.
    pub(super) fn new(egress: &'a Arc<Egress>, clock: &'a Clock, renewals: &'a Arc<Renewals>, data: &Path) -> Self {
        Self { egress, clock, renewals, credentials: data.join("credentials"), budgets: budgets(data) }
    }

    /// The way out of one plugin: what its manifest wants and the admin grants, both. `None` where it wants none. The grants'
    /// forms were checked with the configuration.
    pub(super) fn of_plugin(&self, manifest: &Manifest, section: &Plugin) -> Option<Arc<Door>> {
        let wants = &manifest.wants;
        if wants.http.is_none() && wants.net.is_none() {
            return None;
        }
        let Grant { http, net, private, .. } = &section.grant;
        let meter = (section.budget != Budget::default())
            .then(|| Arc::new(Meter::new(&section.name, section.budget, manifest.tariff(), self.clock.clone(), &self.budgets)));
        let mut config = DoorConfig { private: ranges(private), meter, ..DoorConfig::default() };
        if let Some(wanted) = &wants.http {
            let wished = Wished::of(&wanted.hosts, &section.config);
            let origins = origins(&wished.named);
            let granted = http.iter().filter_map(|text| HttpGrant::parse(text).ok());
            config.http = granted.filter(|grant| wished.is_any || origins.iter().any(|origin| origin.has_origin_of(grant))).collect();
            config.methods.clone_from(&wanted.methods);
            for (name, want) in &wanted.credentials {
                let bound = if want.hosts.is_empty() { origins.clone() } else { self::origins(&Wished::of(&want.hosts, &section.config).named) };
                config.credentials.extend(self.for_http(manifest, section, name, want, bound));
            }
        }
        if let Some(wanted) = &wants.net {
            let places = places(&Wished::of(&wanted.endpoints, &section.config).named);
            let granted = net.iter().filter_map(|text| HostPort::parse(text).ok());
            config.net = granted.filter(|grant| places.iter().any(|place| place.has_place_of(grant))).collect();
            for (name, want) in &wanted.credentials {
                let bound = if want.hosts.is_empty() { places.clone() } else { self::places(&Wished::of(&want.hosts, &section.config).named) };
                let secrets = secrets(section, &want.secret);
                config.credentials.extend(secrets.map(|secrets| Credential::plain(name, secrets, Inject::Write, Vec::new(), bound)));
            }
        }
        Some(Arc::new(self.egress.door(config)))
    }

    /// The host's own way to plain URLs of files, for a channel that keeps them: wherever the admin lets it go, be it wanted by the
    /// manifest or not, and without any credential: the addresses are the network's.
    pub(super) fn of_media(&self, section: &Plugin, file_bytes: u32) -> Arc<Door> {
        let granted = section.grant.http.iter().filter_map(|text| HttpGrant::parse(text).ok());
        Arc::new(self.egress.door(DoorConfig {
            http: granted.collect(),
            methods: vec!["GET".to_owned()],
            private: ranges(&section.grant.private),
            answer_max: Some(file_bytes as usize),
            ..DoorConfig::default()
        }))
    }

    /// `None` where nothing of it is configured.
    fn for_http(&self, manifest: &Manifest, section: &Plugin, name: &str, want: &WantsCredential, origins: Vec<HttpGrant>) -> Option<Credential> {
        let inject = Inject::parse(want.inject.as_deref().unwrap_or("bearer"))?;
        let (secrets, tokens) = (secrets(section, &want.secret), self.tokens(manifest, section, name));
        let signer = want.oauth1.as_ref().and_then(|keys| self.signer(section, keys));
        if secrets.is_none() && tokens.is_none() && signer.is_none() {
            return None;
        }
        let proof = want.proof.as_ref().and_then(|key| first(section, key));
        Some(Credential { proof, tokens, signer, ..Credential::plain(name, secrets.unwrap_or_default(), inject, origins, Vec::new()) })
    }

    fn signer(&self, section: &Plugin, keys: &WantsOauth1) -> Option<Signer> {
        Some(Signer {
            consumer_key: first(section, &keys.consumer_key)?,
            consumer_secret: first(section, &keys.consumer_secret)?,
            token: first(section, &keys.token)?,
            token_secret: first(section, &keys.token_secret)?,
            clock: self.clock.clone(),
        })
    }

    /// The tokens of a credential; `None` where nobody can log in: no `oauth2`, no application, no address.
    pub(super) fn tokens(&self, manifest: &Manifest, section: &Plugin, name: &str) -> Option<Arc<Tokens>> {
        let want = manifest.wants.http.as_ref()?.credentials.get(name)?.oauth2.as_ref()?;
        let client = client(manifest, section, want)?;
        let url = url::Url::parse(&client.token_url).ok()?;
        let granted = section.grant.http.iter().filter_map(|text| HttpGrant::parse(text).ok());
        let config = DoorConfig {
            http: granted.filter(|grant| grant.allows(&url)).collect(),
            methods: vec!["POST".to_owned()],
            private: ranges(&section.grant.private),
            ..DoorConfig::default()
        };
        let (whose, door) = ((section.name.as_str(), name), self.egress.door(config));
        Some(Tokens::new(client, whose, &self.credentials, door, self.clock.clone(), Arc::clone(self.renewals)))
    }
}

fn client(manifest: &Manifest, section: &Plugin, want: &WantsOauth2) -> Option<Client> {
    Some(Client {
        token_url: manifest.url_of(&want.token, &section.config)?,
        id: first(section, &want.client_id)?,
        secret: first(section, &want.client_secret),
        auth: ClientAuth::parse(&want.client_auth)?,
    })
}

fn origins(named: &[String]) -> Vec<HttpGrant> {
    named.iter().filter_map(|url| HttpGrant::origin(url).ok()).collect()
}

fn places(named: &[String]) -> Vec<HostPort> {
    named.iter().filter_map(|place| HostPort::parse(place).ok()).collect()
}

fn secrets(section: &Plugin, key: &str) -> Option<Vec<egress::Secret>> {
    Some(section.secrets.get(key)?.iter().map(|secret| egress::Secret::new(secret.expose())).collect())
}

fn first(section: &Plugin, key: &str) -> Option<egress::Secret> {
    section.secrets.get(key)?.first().map(|secret| egress::Secret::new(secret.expose()))
}

/// The way out of a sink: its own address and nothing else.
pub(super) fn of_sink(egress: &Arc<Egress>, url: &str, private: &[String], secrets: &[Secret]) -> Option<Arc<Door>> {
    let mut origin = url::Url::parse(url).ok()?;
    origin.set_query(None);
    origin.set_fragment(None);
    let http = vec![HttpGrant::parse(origin.as_str()).ok()?];
    let secrets = secrets.iter().map(|secret| egress::Secret::new(secret.expose())).collect();
    let credentials = vec![Credential::plain("secret", secrets, Inject::Write, Vec::new(), Vec::new())];
    let request_max = Some(EVENT_BYTES_MAX);
    Some(Arc::new(egress.door(DoorConfig { http, private: ranges(private), credentials, request_max, ..DoorConfig::default() })))
}

fn ranges(texts: &[String]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| Cidr::parse(text).ok()).collect()
}
