//! When certificates begin and end, and how urgent that is. It decides nothing: the other side judges a certificate by
//! its own clock, and rustls the other side's.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

use super::shown;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// So long before the end it is told: look today, then wake up.
const SOON: Duration = DAY.saturating_mul(14);
const VERY_SOON: Duration = DAY.saturating_mul(2);

/// When one certificate begins and ends.
#[derive(Clone, Debug)]
pub(crate) struct Expiry {
    /// `client`, `authority` or `member`.
    pub(crate) kind: &'static str,
    /// The file it was read from; empty: a member showed it.
    pub(crate) of: String,
    /// Whose it is, for people.
    what: String,
    begins: Time,
    ends: Time,
}

/// How urgent an end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    /// It is far away.
    None,
    /// Look today.
    Soon,
    /// Wake up.
    Now,
    /// It is past, or the beginning is not.
    Over,
}

impl Expiry {
    /// When it ends, since 1970.
    pub(crate) fn ends(&self) -> Duration {
        self.ends.to_unix_duration()
    }

    /// How urgent it is at this time of the calendar (since 1970), and one line about it.
    pub(crate) fn at(&self, calendar: Duration) -> (Urgency, String) {
        let (begins, ends) = (self.begins.to_unix_duration(), self.ends.to_unix_duration());
        let what = &self.what;
        if calendar < begins {
            let text = format!("{what} is not valid before {}; is this node's clock right?", self.begins);
            return (Urgency::Over, text);
        }
        let Some(left) = ends.checked_sub(calendar) else {
            return (Urgency::Over, format!("{what} expired at {}", self.ends));
        };
        let urgency = match left {
            _ if left <= VERY_SOON => Urgency::Now,
            _ if left <= SOON => Urgency::Soon,
            _ => Urgency::None,
        };
        (urgency, format!("{what} expires in {}, at {}", days(left), self.ends))
    }
}

fn days(left: Duration) -> String {
    match (left.as_secs() / DAY.as_secs(), left.as_secs() / 3600) {
        (0, 0) => "less than an hour".into(),
        (0, 1) => "1 hour".into(),
        (0, hours) => format!("{hours} hours"),
        (1, _) => "1 day".into(),
        (days, _) => format!("{days} days"),
    }
}

/// This client's certificate: the first of its chain.
pub(super) fn of_certificate(path: &Path, chain: &[CertificateDer<'static>]) -> Option<Expiry> {
    expiry("client", path, format!("{}: the client certificate", shown(path)), chain.first()?)
}

/// The certificate that a member showed: the first of its chain.
pub(in super::super) fn of_member(chain: &[CertificateDer<'_>]) -> Option<Expiry> {
    expiry("member", Path::new(""), "the certificate of this member of etcd".into(), chain.first()?)
}

/// A bundle lasts as long as the certificate in it that lasts longest: old ones stay in it during a rollover.
pub(super) fn of_authorities(path: &Path, authorities: &[CertificateDer<'static>]) -> Option<Expiry> {
    let all = authorities
        .iter()
        .filter_map(|cert| expiry("authority", path, format!("{}: the CA certificate", shown(path)), cert));
    all.max_by_key(|expiry| expiry.ends.to_unix_duration())
}

/// What this reader cannot read, rustls may; then nothing is known of its end.
fn expiry(kind: &'static str, path: &Path, what: String, certificate: &CertificateDer<'_>) -> Option<Expiry> {
    let validity = Certificate::from_der(certificate).ok()?.tbs_certificate.validity;
    Some(Expiry { kind, of: path.display().to_string(), what, begins: validity.not_before, ends: validity.not_after })
}
