//! From three files to what a TLS connection is made with, and every way in which they may not do.
//!
//! Pure but for the ring provider: bytes in, a client configuration or one line that names the file and the rule out.
//! Who reads the files, and when, is [`super::credentials`]'s affair; who is refused, [`super::connect`]'s.

mod expiry;
mod pem;
mod words;

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore};

pub(super) use self::expiry::{Expiry, Urgency, of_member};
pub(super) use self::pem::contains;
pub(super) use self::words::{alert, refusal};

/// What a TLS connection is made with.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) config: Arc<ClientConfig>,
    /// Whether a certificate of ours is in it.
    pub(super) has_client_certificate: bool,
    /// When what is in it ends.
    pub(super) expiries: Vec<Expiry>,
}

/// One file's content.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
}

/// Reads the CA's certificates, and this client's certificate and key, if it has any.
///
/// # Errors
/// One line for people: the file, and what is wrong with it.
pub(super) fn identity(ca: &Source<'_>, client: Option<(&Source<'_>, &Source<'_>)>) -> Result<Identity, String> {
    let provider = Arc::new(ring::default_provider());
    let authorities = pem::certificates(ca)?;
    let mut expiries = Vec::from_iter(expiry::of_authorities(ca.path, &authorities));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be used: {e}"))?
        .with_root_certificates(roots(ca.path, &authorities)?);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = pem::certificates(cert)?;
            expiries.extend(expiry::of_certificate(cert.path, &chain));
            let certified = pair(&provider, (cert.path, chain), (key.path, pem::private_key(key)?))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    // etcd speaks gRPC, which is HTTP/2; newer servers insist on hearing that.
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Every connection proves both sides again: a certificate that was replaced or ran out shows at once.
    config.resumption = Resumption::disabled();
    Ok(Identity { config: Arc::new(config), has_client_certificate: client.is_some(), expiries })
}

fn roots(path: &Path, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (i, certificate) in authorities.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|_| format!("{}: certificate {} of {} in it is damaged", shown(path), i + 1, authorities.len()))?;
    }
    Ok(roots)
}

/// The key is one that can be used, and it is the certificate's.
fn pair(
    provider: &CryptoProvider,
    (cert_path, chain): (&Path, Vec<CertificateDer<'static>>),
    (key_path, key): (&Path, PrivateKeyDer<'static>),
) -> Result<CertifiedKey, String> {
    // The library's own words may tell of the key's insides.
    let usable = provider.key_provider.load_private_key(key).map_err(|_| {
        let known = "RSA of 2048 bits and more, ECDSA with P-256 or P-384, Ed25519";
        format!("{}: the private key is damaged or of a kind that is not known ({known})", shown(key_path))
    })?;
    let certified = CertifiedKey::new(chain, usable);
    match certified.keys_match() {
        // A kind of key that does not tell its public half is left to the handshake.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            Err(format!("{}: the private key is not that of the certificate in {}", shown(key_path), shown(cert_path)))
        }
        Err(_) => Err(format!("{}: the certificate is damaged", shown(cert_path))),
    }
}

fn shown(path: &Path) -> String {
    format!("{path:?}")
}
