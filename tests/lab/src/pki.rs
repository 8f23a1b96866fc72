//! Certificates: an authority, and what it signs for members, daemons and the lab's own tools.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::clock;

/// As long as anything in a lab has to last.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Who signs. Its key never leaves memory.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What is signed.
pub(crate) struct Wish<'a> {
    /// The common name: to etcd with RBAC, the user.
    pub(crate) name: &'a str,
    /// What a server may be called.
    pub(crate) addresses: &'a [IpAddr],
    /// From now on.
    pub(crate) lasts: Duration,
}

/// A certificate and its key, as PEM.
pub(crate) struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    /// A new one of that name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let mut wish = params(name, YEAR)?;
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self(CertifiedIssuer::self_signed(wish, KeyPair::generate()?)?))
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs, with a new key. For servers and clients alike, as kubeadm does it for etcd: its gateway is both.
    pub(crate) fn sign(&self, wish: &Wish) -> Result<Signed> {
        let mut wanted = params(wish.name, wish.lasts)?;
        wanted.use_authority_key_identifier_extension = true;
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if !wish.addresses.is_empty() {
            let names = wish.addresses.iter().map(IpAddr::to_string).chain(["localhost".to_owned()]);
            wanted.subject_alt_names = CertificateParams::new(names.collect::<Vec<_>>())?.subject_alt_names;
        }
        let key = KeyPair::generate()?;
        let certificate = wanted.signed_by(&key, &self.0)?.pem();
        Ok(Signed { certificate, key: key.serialize_pem() })
    }
}

/// Valid since an hour ago, like anything signed by a machine whose clock is a little ahead.
fn params(name: &str, lasts: Duration) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let now = date_time_ymd(1970, 1, 1) + clock::since_epoch()?;
    params.not_before = now - Duration::from_secs(3600);
    params.not_after = now + lasts;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

impl Signed {
    /// As `NAME.crt` and `NAME.key`, each put in place of an older one at once: certificate first, so for a moment they
    /// do not belong together, as with any tool that renews them.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> Result<()> {
        put(directory, &format!("{name}.crt"), &self.certificate)?;
        put(directory, &format!("{name}.key"), &self.key)
    }
}

/// A file that nobody else may read, in place of what was there, at once.
pub(crate) fn put(directory: &Path, name: &str, text: &str) -> Result<()> {
    let (part, whole) = (directory.join(format!("{name}.part")), directory.join(name));
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .with_context(|| format!("write {}", part.display()))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&part, &whole).with_context(|| format!("put {}", whole.display()))
}
