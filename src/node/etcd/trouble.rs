//! Why no connection came about.

use std::sync::Arc;

/// One line for people, and whether waiting helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub(super) why: Arc<str>,
    /// A matter of configuration: it does not pass by itself, and somebody has to be told.
    pub(super) lasting: bool,
}

impl Trouble {
    pub(super) fn passing(why: impl Into<Arc<str>>) -> Self {
        Self { why: why.into(), lasting: false }
    }

    pub(super) fn lasting(why: impl Into<Arc<str>>) -> Self {
        Self { why: why.into(), lasting: true }
    }
}
