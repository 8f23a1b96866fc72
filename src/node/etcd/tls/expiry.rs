//! When certificates begin and end, and how urgent that is. It decides nothing: the other side judges a certificate by
//! its own clock, and rustls the other side's.

use std::path::{Path, PathBuf};
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
    /// Whose it is, for people.
    what: &'static str,
    path: PathBuf,
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
    /// How urgent it is at this time of the calendar (since 1970), and one line about it.
    pub(crate) fn at(&self, calendar: Duration) -> (Urgency, String) {
        let (begins, ends) = (self.begins.to_unix_duration(), self.ends.to_unix_duration());
        let (what, path) = (self.what, shown(&self.path));
        if calendar < begins {
            let text = format!("{path}: {what} is not valid before {}; is this node's clock right?", self.begins);
            return (Urgency::Over, text);
        }
        let Some(left) = ends.checked_sub(calendar) else {
            return (Urgency::Over, format!("{path}: {what} expired at {}", self.ends));
        };
        let urgency = match left {
            _ if left <= VERY_SOON => Urgency::Now,
            _ if left <= SOON => Urgency::Soon,
            _ => Urgency::None,
        };
        (urgency, format!("{path}: {what} expires in {}, at {}", days(left), self.ends))
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
    expiry("the client certificate", path, chain.first()?)
}

/// A bundle lasts as long as the certificate in it that lasts longest: old ones stay in it during a rollover.
pub(super) fn of_authorities(path: &Path, authorities: &[CertificateDer<'static>]) -> Option<Expiry> {
    let all = authorities.iter().filter_map(|certificate| expiry("the CA certificate", path, certificate));
    all.max_by_key(|expiry| expiry.ends.to_unix_duration())
}

/// What this reader cannot read, rustls may; then nothing is known of its end.
fn expiry(what: &'static str, path: &Path, certificate: &CertificateDer<'static>) -> Option<Expiry> {
    let validity = Certificate::from_der(certificate).ok()?.tbs_certificate.validity;
    Some(Expiry { what, path: path.to_owned(), begins: validity.not_before, ends: validity.not_after })
}
