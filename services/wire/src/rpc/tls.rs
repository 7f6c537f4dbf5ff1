//! Mutual TLS between the processes of one Parley.

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// The name that every certificate of this Parley carries: who connects to an address of the roster knows no other.
const NAME: &str = "parley";

/// Who this process is to the others, and by whom the others must be vouched for. PEM.
#[derive(Clone)]
pub struct Tls {
    ca: Certificate,
    identity: Identity,
}

/// What can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificates between services can't be used")]
pub struct TlsError(#[source] pub(super) tonic::transport::Error);

impl Tls {
    /// From the certificate of the authority, and this process' own certificate (for the name `parley`) and key.
    #[must_use]
    pub fn new(ca: &[u8], certificate: &[u8], key: &[u8]) -> Self {
        Self { ca: Certificate::from_pem(ca), identity: Identity::from_pem(certificate, key) }
    }

    pub(super) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(self.identity.clone()).client_ca_root(self.ca.clone())
    }

    pub(super) fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(self.ca.clone())
            .identity(self.identity.clone())
            .domain_name(NAME)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(not shown)")
    }
}
