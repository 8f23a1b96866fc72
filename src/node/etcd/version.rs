//! Which server answers, and what is known of its version.
//!
//! Facts from etcd's change logs; it decides nothing but whether this is an etcd at all.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use etcd_client::StatusResponse;

use super::trouble::Trouble;

/// A version of etcd.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Version(u64, u64, u64);

impl Version {
    /// `3.5.16`, or `3.6.0-rc.1`, which counts as what it becomes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['-', '+']).next()?.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }

    /// Whether it is older than the first good one of its own line, or of the first line that never was bad.
    fn is_before(self, fixed: &[Self]) -> bool {
        match fixed.iter().find(|f| (f.0, f.1) == (self.0, self.1)) {
            Some(fixed) => self < *fixed,
            None => fixed.last().is_some_and(|last| self < *last),
        }
    }

    /// What it does wrong that matters here.
    fn faults(self) -> Vec<&'static str> {
        let stale = self.is_before(&[Self(3, 4, 31), Self(3, 5, 13)]);
        let revoked = self.is_before(&[Self(3, 4, 38), Self(3, 5, 23), Self(3, 6, 5)]);
        let stale = stale.then_some("a leader that was deposed may go on renewing leases (fixed in 3.4.31 and 3.5.13)");
        let revoked = revoked.then_some("a lease that was revoked may be renewed (fixed in 3.4.38, 3.5.23 and 3.6.5)");
        stale.into_iter().chain(revoked).collect()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The versions whose faults were told.
#[derive(Default)]
pub(super) struct Known(Mutex<BTreeSet<Version>>);

impl Known {
    /// A line for people, once for each version that has a fault.
    pub(super) fn warning(&self, version: Version) -> Option<String> {
        let faults = version.faults();
        let news = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(version);
        (news && !faults.is_empty()).then(|| {
            format!(
                "etcd {version} has a known fault: {}. Two holders cannot come of it, because every renewal is proved \
                 by a read; the VIP may be without a holder for longer. Better update etcd",
                faults.join("; ")
            )
        })
    }
}

/// What a member says about itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Status {
    pub(super) version: Option<Version>,
    /// The id of its cluster.
    pub(super) cluster: Option<u64>,
}

/// The version and the cluster, from a member's answer about itself.
///
/// # Errors
/// When it is no etcd: kine, which k3s puts before its databases, has neither cluster nor member, and leases that it
/// neither renews nor revokes.
pub(super) fn of_status(status: &StatusResponse) -> Result<Status, Trouble> {
    let header = status.header().filter(|header| header.cluster_id() != 0 || header.member_id() != 0);
    let cluster = header.ok_or_else(|| Trouble::lasting(NOT_ETCD))?.cluster_id();
    Ok(Status { version: Version::parse(status.version()), cluster: Some(cluster) })
}

/// In plain words, with the way out.
pub(super) const NOT_ETCD: &str = "this is not etcd but something that looks like it from afar, such as kine (k3s with SQLite or another database), \
     and its leases cannot hold a VIP; k3s runs a real etcd when its first server starts with --cluster-init";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(Version::parse("3.5.16"), Some(Version(3, 5, 16)));
        assert_eq!(Version::parse("3.6.0-rc.1"), Some(Version(3, 6, 0)));
        for text in ["", "3", "3.5", "3.5.x", "3.5.1.2", "kine"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_faults_of_a_version() {
        for (version, faults) in [
            ("3.3.27", 2),
            ("3.4.23", 2),
            ("3.4.31", 1),
            ("3.4.38", 0),
            ("3.5.12", 2),
            ("3.5.13", 1),
            ("3.5.16", 1),
            ("3.5.23", 0),
            ("3.6.0", 1),
            ("3.6.4", 1),
            ("3.6.5", 0),
            ("3.7.0", 0),
            ("4.0.0", 0),
        ] {
            assert_eq!(Version::parse(version).unwrap().faults().len(), faults, "{version}");
        }
    }

    #[test]
    fn a_version_is_told_once() {
        let known = Known::default();
        let old = Version(3, 4, 23);
        assert!(known.warning(old).is_some());
        assert!(known.warning(old).is_none());
        assert!(known.warning(Version(3, 5, 16)).is_some());
        assert!(known.warning(Version(3, 6, 9)).is_none());
    }
}
