//! What went wrong with etcd so far, counted. Written by the adapter's tasks, read by whoever tells of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::failure::Failure;

/// Counts since the adapter's start.
#[derive(Debug, Default)]
pub struct Tally {
    late: AtomicU64,
    silent: AtomicU64,
    failed: AtomicU64,
    lease_gone: AtomicU64,
    watch_failed: AtomicU64,
    watch_compacted: AtomicU64,
    watch_ordered: AtomicU64,
    watch_left: AtomicU64,
}

/// Why a watch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// The member or the way to it failed.
    Failed,
    /// What was to be told is compacted.
    Compacted,
    /// The election wanted all read again.
    Ordered,
    /// Another member, or another connection, is used from now on.
    Left,
}

impl Tally {
    /// Renewals that went wrong: late, for which another member was asked as well (its answer still counts), without an
    /// answer for a whole TTL, failed, or of a lease that is gone.
    pub fn renewals(&self) -> [(&'static str, &AtomicU64); 4] {
        [("late", &self.late), ("silent", &self.silent), ("failed", &self.failed), ("lease_gone", &self.lease_gone)]
    }

    /// Watches that broke.
    pub fn watches(&self) -> [(&'static str, &AtomicU64); 4] {
        [
            ("failed", &self.watch_failed),
            ("compacted", &self.watch_compacted),
            ("ordered", &self.watch_ordered),
            ("left", &self.watch_left),
        ]
    }

    pub(super) fn late(&self) {
        self.late.fetch_add(1, Relaxed);
    }

    pub(super) fn renewal(&self, failure: &Failure) {
        let which = match failure {
            Failure::Silent(_) => &self.silent,
            Failure::LeaseNotFound => &self.lease_gone,
            _ => &self.failed,
        };
        which.fetch_add(1, Relaxed);
    }

    pub(super) fn watch(&self, why: Broken) {
        let which = match why {
            Broken::Failed => &self.watch_failed,
            Broken::Compacted => &self.watch_compacted,
            Broken::Ordered => &self.watch_ordered,
            Broken::Left => &self.watch_left,
        };
        which.fetch_add(1, Relaxed);
    }
}
