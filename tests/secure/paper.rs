//! Certificates and keys for tests, made anew each time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// A directory that goes with its value.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vipd-secure-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file of that mode, whole at once as a careful tool does.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.0);
    }
}

/// Who signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// Days from today.
pub(crate) type Days = i64;

pub(crate) fn days(from_today: Days) -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc() + time::Duration::days(from_today)
}

/// What to have signed.
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    pub(crate) also: Vec<String>,
    pub(crate) for_server: bool,
    pub(crate) from: Days,
    pub(crate) to: Days,
}

impl Wanted {
    pub(crate) fn server() -> Self {
        let also = vec!["localhost".into(), "127.0.0.1".into(), "::1".into()];
        Self { name: "etcd", also, for_server: true, from: -1, to: 365 }
    }

    pub(crate) fn client(name: &'static str) -> Self {
        Self { name, also: Vec::new(), for_server: false, from: -1, to: 365 }
    }

    pub(crate) fn valid(self, from: Days, to: Days) -> Self {
        Self { from, to, ..self }
    }

    pub(crate) fn named(self, also: &[&str]) -> Self {
        Self { also: also.iter().map(ToString::to_string).collect(), ..self }
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::valid(name, -1, 3650)
    }

    pub(crate) fn valid(name: &str, from: Days, to: Days) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (days(from), days(to));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn sign(&self, wanted: Wanted) -> Pair {
        self.sign_key(wanted, &KeyPair::generate().unwrap())
    }

    pub(crate) fn sign_key(&self, wanted: Wanted, key: &KeyPair) -> Pair {
        let mut params = CertificateParams::new(wanted.also).unwrap();
        params.distinguished_name.push(DnType::CommonName, wanted.name);
        params.extended_key_usages = if wanted.for_server {
            // etcd's gateway is its own client.
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        } else {
            vec![ExtendedKeyUsagePurpose::ClientAuth]
        };
        (params.not_before, params.not_after) = (days(wanted.from), days(wanted.to) + time::Duration::HOUR);
        let cert = params.signed_by(key, &self.0).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}
