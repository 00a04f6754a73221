//! TLS of everything that leaves: the machine's roots, and those that the admin adds.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::EgressError;
use super::traffic::Counted;

pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn new(extra_ca_pem: &[Vec<u8>]) -> Result<Self, EgressError> {
        let wrong = |error: String| EgressError::Roots(error);
        let mut roots = RootCertStore::empty();
        // A machine without roots can still speak to what the admin's own roots sign.
        let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for pem in extra_ca_pem {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|e| wrong(e.to_string()))?).map_err(|e| wrong(e.to_string()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| wrong(e.to_string()))?;
        Ok(Self(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))))
    }

    /// The handshake; the certificate must be for `host`.
    pub(super) async fn connect(&self, host: &str, stream: Counted) -> Result<TlsStream<Counted>, String> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| format!("`{host}` is no name for a certificate"))?;
        self.0.connect(name, stream).await.map_err(|error| format!("{host}: {error}"))
    }
}

/// Says whether this is at least one certificate that can be trusted, in PEM. Errors: in words.
pub fn check_roots(pem: &[u8]) -> Result<(), String> {
    let (mut roots, mut n_certificates) = (RootCertStore::empty(), 0u32);
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        n_certificates += 1;
    }
    if n_certificates == 0 { Err("there is no certificate in it".to_owned()) } else { Ok(()) }
}
