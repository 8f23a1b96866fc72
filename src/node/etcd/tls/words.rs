//! Why a TLS connection did not come about, in words that name the next step: which side refused, and what.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};
use x509_cert::der::DateTime;

/// Why the handshake failed on our side, if a rule of TLS is the reason. `certificate`: whether we show one.
pub(in super::super) fn refusal(error: &io::Error, certificate: bool) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(reason) => format!("its certificate is refused: {}", certificate_words(reason)),
        Error::AlertReceived(description) => alert(*description, certificate),
        Error::InvalidMessage(_) => "it does not speak TLS; is it an http:// endpoint?".into(),
        Error::PeerIncompatible(reason) => format!("it has no version or cipher of TLS in common with us: {reason:?}"),
        Error::NoApplicationProtocol => "it does not speak HTTP/2, so it is no etcd".into(),
        other => format!("TLS failed: {other}"),
    })
}

/// What the other side means with an alert.
pub(in super::super) fn alert(description: AlertDescription, certificate: bool) -> String {
    use AlertDescription as A;
    let ours = match description {
        A::CertificateRequired => "it wants a client certificate; set tls.cert and tls.key",
        // Go's servers before TLS 1.3, and for a certificate that the CA did not sign.
        A::BadCertificate | A::HandshakeFailure if !certificate => {
            "it wants a client certificate, most likely; set tls.cert and tls.key"
        }
        A::BadCertificate => {
            "it refuses our client certificate: not signed by etcd's --trusted-ca-file, expired, or not for clients"
        }
        A::UnknownCA => "it refuses our client certificate: it does not know the CA that signed it",
        A::CertificateExpired => "it refuses our client certificate: expired or not yet valid by its clock",
        A::CertificateRevoked => "it refuses our client certificate: revoked",
        A::CertificateUnknown | A::UnsupportedCertificate | A::AccessDenied | A::DecryptError => {
            "it refuses our client certificate"
        }
        A::ProtocolVersion => "it has no version of TLS in common with us",
        A::NoApplicationProtocol => "it does not speak HTTP/2, so it is no etcd",
        A::UnrecognisedName => "it has no certificate for this name; set tls.serverName",
        _ => return format!("it ended TLS with {description:?}"),
    };
    format!("{ours} ({description:?})")
}

fn certificate_words(reason: &CertificateError) -> String {
    let date = |time: rustls::pki_types::UnixTime| {
        let moment = DateTime::from_unix_duration(std::time::Duration::from_secs(time.as_secs()));
        moment.map_or_else(|_| format!("{} s after 1970", time.as_secs()), |moment| moment.to_string())
    };
    match reason {
        CertificateError::UnknownIssuer => "it is signed by none of the CAs in tls.ca".into(),
        CertificateError::ExpiredContext { not_after, .. } => format!("it expired at {}", date(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("it is not valid before {}; is this node's clock right?", date(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name at all".into() } else { names(presented) };
            format!("it is not for {:?} but for {names}; tls.serverName can name another", expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for servers (extended key usage)".into()
        }
        other => other.to_string(),
    }
}

/// The names as people write them: the library gives them as `DnsName("x")` and `IpAddress(1.2.3.4)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    presented.iter().map(bare).collect::<Vec<_>>().join(", ")
}
