//! The safety mechanisms of the adapters by name, so that the lab can switch one off and show that it is missed.
//!
//! In a daemon as it is shipped all of them are on and none can be switched. Built with the feature `guards-off`, the one
//! that `VIPD_GUARD_OFF` names is off. (Those of the election are in [`crate::election::guards`].)

/// A safety mechanism of an adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// `kernel-lifetime`: an address is put until the fence, and not for ever.
    KernelLifetime,
    /// `kernels-word`: an address is said to be off when the kernel acknowledged it and a look does not show it.
    KernelsWord,
    /// `guarded-put`: a put that was held up in this process cannot leave.
    GuardedPut,
    /// `stand-if-absent`: a candidate key is written only if there is none.
    StandIfAbsent,
    /// `step-back-revision`: a candidate key is deleted only if it is the one that was meant.
    StepBackRevision,
    /// `leftovers`: what an earlier life left goes before anything else is done.
    Leftovers,
    /// `mark`: an address that somebody else put is not ours.
    Mark,
}

/// Whether this guard stands.
#[cfg(not(feature = "guards-off"))]
pub const fn on(_: Guard) -> bool {
    true
}

#[cfg(feature = "guards-off")]
pub use switched::on;

#[cfg(feature = "guards-off")]
mod switched {
    use std::sync::OnceLock;

    use super::Guard;

    /// The environment variable that names the guard to do without.
    const ASKED: &str = "VIPD_GUARD_OFF";

    /// Whether this guard stands.
    pub fn on(guard: Guard) -> bool {
        static OFF: OnceLock<Option<Guard>> = OnceLock::new();
        *OFF.get_or_init(|| std::env::var(ASKED).ok().map(|name| named(&name))) != Some(guard)
    }

    fn named(name: &str) -> Guard {
        tracing::error!(guard = name, "this daemon was built for the lab and runs without one of its guards");
        match name {
            "kernel-lifetime" => Guard::KernelLifetime,
            "kernels-word" => Guard::KernelsWord,
            "guarded-put" => Guard::GuardedPut,
            "stand-if-absent" => Guard::StandIfAbsent,
            "step-back-revision" => Guard::StepBackRevision,
            "leftovers" => Guard::Leftovers,
            "mark" => Guard::Mark,
            _ => panic!("{ASKED}={name} names no guard"),
        }
    }
}
