//! What is in a PEM file, or why it is not one. rustls takes some junk for nothing and says nothing; we say it.

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroize;

use super::{Source, shown};

/// The certificates of a file: at least one.
pub(super) fn certificates(file: &Source<'_>) -> Result<Vec<CertificateDer<'static>>, String> {
    let sections = sections(file)?;
    let has_key = sections.iter().any(|(kind, _)| is_key(*kind));
    let (certificates, others): (Vec<_>, Vec<_>) =
        sections.into_iter().partition(|(kind, _)| *kind == SectionKind::Certificate);
    others.into_iter().for_each(|(_, mut der)| der.zeroize());
    if certificates.is_empty() {
        let but = if has_key { ", but a private key; are cert and key swapped?" } else { "" };
        return Err(format!("{}: there is no certificate in it{but}", shown(file.path)));
    }
    Ok(certificates.into_iter().map(|(_, der)| CertificateDer::from(der)).collect())
}

/// The private key of a file: the first one, which may have certificates beside it.
pub(super) fn private_key(file: &Source<'_>) -> Result<PrivateKeyDer<'static>, String> {
    if contains(file.bytes, b"ENCRYPTED") {
        return Err(format!(
            "{}: the private key is encrypted, and a daemon has nobody to ask for the passphrase",
            shown(file.path)
        ));
    }
    let sections = sections(file)?;
    let has_certificate = sections.iter().any(|(kind, _)| *kind == SectionKind::Certificate);
    let mut key = None;
    for (kind, mut der) in sections {
        if key.is_none() && is_key(kind) {
            key = PrivateKeyDer::from_pem(kind, der);
        } else {
            der.zeroize();
        }
    }
    key.ok_or_else(|| {
        let but = if has_certificate { ", but a certificate; are cert and key swapped?" } else { "" };
        format!("{}: there is no private key in it{but}", shown(file.path))
    })
}

fn sections(file: &Source<'_>) -> Result<Vec<(SectionKind, Vec<u8>)>, String> {
    let path = shown(file.path);
    if file.bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("{path}: the file is empty"));
    }
    if !contains(file.bytes, b"-----BEGIN ") {
        let der = if file.bytes.starts_with(&[0x30]) { " (it looks like DER; openssl converts it)" } else { "" };
        return Err(format!("{path}: this is not PEM: there is no -----BEGIN line in it{der}"));
    }
    // The library's own words quote bytes of the file, which may be those of a key.
    <(SectionKind, Vec<u8>)>::pem_slice_iter(file.bytes).collect::<Result<_, _>>().map_err(|e| {
        let what = match e {
            pem::Error::MissingSectionEnd { .. } => "a section has no -----END line; was it cut short?",
            pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is damaged",
            pem::Error::Base64Decode(_) => "what stands between the BEGIN and END lines is not base64",
            _ => "it cannot be read",
        };
        format!("{path}: this is not PEM: {what}")
    })
}

const fn is_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
}

/// Whether a file has these bytes somewhere.
pub(in super::super) fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
