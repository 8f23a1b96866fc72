//! Why a call to etcd brought nothing: named after what was tried, so that one line of log tells the next step.
//!
//! It must not decide what follows; [`super::members`] only asks whose fault it was.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::config;

/// A call that brought nothing.
#[derive(Clone, Debug, Error)]
pub enum Failure {
    /// No connection, so nothing was sent.
    #[error("not connected: {0}")]
    NotConnected(Arc<str>),
    /// No answer in this time. What was asked for may still be carried out.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The connection or stream broke. What was asked for may still be carried out.
    #[error("connection broke: {0}")]
    Broken(String),
    /// etcd answered, and said no.
    #[error("etcd refused: {0}")]
    Refused(String),
    /// etcd has authentication on, and does not know who asks: without a user, or with a token it knows no more.
    #[error("etcd does not know who asks: {0}")]
    Unknown(String),
    /// etcd knows who asks, and does not allow it.
    #[error("etcd refused: permission denied")]
    Denied,
    /// etcd says that the lease does not exist (any more).
    #[error("the lease does not exist")]
    LeaseNotFound,
}

impl From<etcd_client::Error> for Failure {
    fn from(e: etcd_client::Error) -> Self {
        use etcd_client::Error;
        match e {
            Error::GRpcStatus(status) if status.message().contains("requested lease not found") => Self::LeaseNotFound,
            // etcd signs its refusals; everything else was said by a transport on the way.
            Error::GRpcStatus(status) if status.message().starts_with("etcdserver:") => Self::said(status.message()),
            Error::GRpcStatus(status) => {
                let mut text = status.message().to_owned();
                add_causes(&mut text, status.source());
                Self::Broken(text)
            }
            // etcd-client opens a keepalive stream with a renewal, and reports its TTL 0 like this.
            Error::LeaseKeepAliveError(text) if text == "lease not found" => Self::LeaseNotFound,
            other => Self::Broken(other.to_string()),
        }
    }
}

impl Failure {
    /// What etcd said about a call.
    pub(super) fn said(message: &str) -> Self {
        let unknown = ["user name is empty", "invalid auth token", "revision of auth store is old"];
        if message.contains("permission denied") {
            Self::Denied
        } else if unknown.iter().any(|words| message.contains(words)) {
            Self::Unknown(message.to_owned())
        } else {
            Self::Refused(message.to_owned())
        }
    }

    /// For people, with the way out where there is one.
    pub(super) fn in_words(&self, config: &config::Etcd) -> String {
        let user = config.user.as_ref().map(|user| user.name.as_str());
        match (self, user) {
            (Self::Denied, user) => {
                let who = user.map_or("the user of our client certificate".into(), |user| format!("user {user:?}"));
                format!(
                    "etcd refused: permission denied: {who} needs a role that may read and write all below {0:?}: \
                     etcdctl role grant-permission ROLE readwrite --prefix=true {0}/",
                    config.prefix
                )
            }
            (Self::Unknown(said), None) => format!(
                "etcd has authentication on and does not know who asks ({said}): set user and passwordFile, or show it \
                 a client certificate whose common name is a user"
            ),
            (failure, _) => failure.to_string(),
        }
    }
}

/// An error with all its causes, on one line.
pub(super) fn whole(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    add_causes(&mut text, e.source());
    text
}

fn add_causes(text: &mut String, mut cause: Option<&(dyn std::error::Error + 'static)>) {
    while let Some(e) = cause {
        let words = e.to_string();
        // Wrappers like to repeat what they wrap.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = e.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::Error;
    use tonic::Status;

    #[test]
    fn etcds_own_words_are_told_from_a_broken_connection() {
        let of = |status| Failure::from(Error::GRpcStatus(status));
        assert!(matches!(of(Status::not_found("etcdserver: requested lease not found")), Failure::LeaseNotFound));
        assert!(matches!(of(Status::unavailable("etcdserver: no leader")), Failure::Refused(_)));
        assert!(matches!(of(Status::unavailable("tcp connect error")), Failure::Broken(_)));
        for said in ["user name is empty", "invalid auth token", "revision of auth store is old"] {
            assert!(
                matches!(of(Status::invalid_argument(format!("etcdserver: {said}"))), Failure::Unknown(_)),
                "{said}"
            );
        }
        assert!(matches!(of(Status::permission_denied("etcdserver: permission denied")), Failure::Denied));
        let opened = Error::LeaseKeepAliveError("lease not found".into());
        assert!(matches!(Failure::from(opened), Failure::LeaseNotFound));
    }
}
