//! Why no connection came about.

use std::sync::Arc;

/// One line for people, and whether waiting helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub(super) why: Arc<str>,
    pub(super) lasts: Lasts,
}

/// Whether it does not pass by itself, so that somebody has to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lasts {
    /// It may pass.
    No,
    /// It looks like a matter of configuration, unless the member was of use before.
    Guess,
    /// It is a matter of configuration.
    Yes,
}

impl Trouble {
    pub(super) fn passing(why: impl Into<Arc<str>>) -> Self {
        Self { why: why.into(), lasts: Lasts::No }
    }

    pub(super) fn guess(why: impl Into<Arc<str>>) -> Self {
        Self { why: why.into(), lasts: Lasts::Guess }
    }

    pub(super) fn lasting(why: impl Into<Arc<str>>) -> Self {
        Self { why: why.into(), lasts: Lasts::Yes }
    }
}
