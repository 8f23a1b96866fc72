//! What tells the series of one metric apart: few values, all known beforehand, none from the network.

use prometheus_client::encoding::EncodeLabelSet;

use crate::election::action::Cause;
use crate::election::event::Answer;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: String,
    pub(super) node: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct OfVip {
    pub(super) vip: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct OfLink {
    pub(super) vip: String,
    pub(super) link: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct Transition {
    pub(super) vip: String,
    pub(super) to: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct Conflict {
    pub(super) vip: String,
    pub(super) kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

/// A certificate: `client`, `authority` or `member`, and its file or the member's URL.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct OfCertificate {
    pub(super) kind: &'static str,
    pub(super) of: String,
}

/// All reasons to let go, as [`reason`] gives them.
pub(super) const REASONS: [&str; 16] = [
    "stopping",
    "removed",
    "key_gone",
    "lease_lost",
    "fenced",
    "link_down",
    "put_failed",
    "not_ours",
    "fought",
    "answered",
    "not_asked",
    "fruitless",
    "another_history",
    "no_kernel_word",
    "unwanted",
    "in_the_way",
];

/// A cause in a word.
pub fn reason(cause: &Cause) -> &'static str {
    match cause {
        Cause::Stopping => "stopping",
        Cause::Removed => "removed",
        Cause::KeyGone => "key_gone",
        Cause::LeaseLost => "lease_lost",
        Cause::Fenced => "fenced",
        Cause::LinkDown => "link_down",
        Cause::PutFailed(_) => "put_failed",
        Cause::NotOurs(_) => "not_ours",
        Cause::Fought => "fought",
        Cause::Answered(Answer::Host(_)) => "answered",
        Cause::Answered(Answer::NotAsked(_)) => "not_asked",
        Cause::Fruitless => "fruitless",
        Cause::AnotherHistory => "another_history",
        Cause::NoKernelWord => "no_kernel_word",
        Cause::Unwanted => "unwanted",
        Cause::InTheWay => "in_the_way",
    }
}
