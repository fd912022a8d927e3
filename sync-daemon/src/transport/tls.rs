//! TLS 1.3 with raw public keys (RFC 7250) on both sides: no certificates, no
//! names, no resumption, no 0-RTT.
//!
//! A caller whose key is not pinned is refused inside the handshake, unless an
//! invitation is open; a dialled node must prove exactly the expected key.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms,
        aws_lc_rs::{cipher_suite, default_provider},
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use sync_core::wire::ALPN;

use crate::{
    identity::{Identity, NodeId},
    trust::Trusted,
};

/// QUIC wants a server name; nothing looks at it.
pub(super) const SERVER_NAME: &str = "apim-sync";

/// Says whether callers without a pinned key may come in now.
pub(super) type Invited = Arc<dyn Fn() -> bool + Send + Sync>;

/// The configuration to accept callers with.
pub(super) fn server(identity: &Identity, trusted: Trusted, invited: Invited) -> QuicServerConfig {
    let verifier = PinnedClient {
        trusted,
        invited,
        algorithms: ed25519_only(),
    };
    let resolver = AlwaysResolvesServerRawPublicKeys::new(identity.certified_key());
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    QuicServerConfig::try_from(config).expect("the provider has the suite of QUIC's first packets")
}

/// The configuration to dial the node `expected` with, and where the key that
/// answers is noted.
pub(super) fn client(identity: &Identity, expected: NodeId) -> (QuicClientConfig, Showed) {
    let (config, showed) = client_tls(identity, expected);
    let config = QuicClientConfig::try_from(config)
        .expect("the provider has the suite of QUIC's first packets");
    (config, showed)
}

/// Apart from [`client`] so that tests can spoil it.
pub(super) fn client_tls(identity: &Identity, expected: NodeId) -> (rustls::ClientConfig, Showed) {
    let showed = Showed::default();
    let verifier = ExpectedServer {
        expected,
        showed: showed.clone(),
        algorithms: ed25519_only(),
    };
    let resolver = AlwaysResolvesClientRawPublicKeys::new(identity.certified_key());
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    (config, showed)
}

/// The key at the other end of an established connection.
pub(super) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let keys = connection
        .peer_identity()?
        .downcast::<Vec<CertificateDer<'static>>>()
        .ok()?;
    NodeId::from_spki(keys.first()?)
}

/// The key that a dialled node showed, right or wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Showed(Arc<OnceLock<NodeId>>);

impl Showed {
    pub(super) fn id(&self) -> Option<NodeId> {
        self.0.get().copied()
    }
}

/// The default provider without TLS 1.2, AES-128 first: it is the fastest on
/// processors with AES instructions, and as strong as Ed25519.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        signature_verification_algorithms: ed25519_only(),
        ..default_provider()
    })
}

fn ed25519_only() -> WebPkiSupportedAlgorithms {
    let mapping = default_provider().signature_verification_algorithms.mapping;
    let position = mapping
        .iter()
        .position(|(scheme, _)| *scheme == SignatureScheme::ED25519)
        .expect("the provider verifies Ed25519");
    WebPkiSupportedAlgorithms {
        all: mapping[position].1,
        mapping: &mapping[position..=position],
    }
}

/// Admits pinned callers, and others while an invitation is open.
struct PinnedClient {
    trusted: Trusted,
    invited: Invited,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for PinnedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedClient")
    }
}

impl ClientCertVerifier for PinnedClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let id = NodeId::from_spki(key).ok_or(CertificateError::BadEncoding)?;
        if self.trusted.trusts(&id) || (self.invited)() {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts one key.
#[derive(Debug)]
struct ExpectedServer {
    expected: NodeId,
    showed: Showed,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ExpectedServer {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let id = NodeId::from_spki(key).ok_or(CertificateError::BadEncoding)?;
        let first = *self.showed.0.get_or_init(|| id);
        if first == id && id == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken".into())
}

#[cfg(test)]
mod tests {
    use rustls::{NamedGroup, ProtocolVersion};

    use super::*;

    #[test]
    fn this_build_has_no_tls_before_1_3() {
        let versions: Vec<_> = rustls::ALL_VERSIONS.iter().map(|v| v.version).collect();
        assert_eq!(versions, [ProtocolVersion::TLSv1_3]);
        for suite in &provider().cipher_suites {
            assert!(suite.tls13().is_some(), "{suite:?}");
        }
    }

    #[test]
    fn the_key_exchange_prefers_the_post_quantum_hybrid() {
        let first = provider().kx_groups[0].name();
        assert_eq!(first, NamedGroup::X25519MLKEM768);
    }

    #[test]
    fn ed25519_is_the_only_signature_scheme() {
        let schemes = ed25519_only().supported_schemes();
        assert_eq!(schemes, [SignatureScheme::ED25519]);
    }
}
