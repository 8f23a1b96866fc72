//! The guard of a put: what is held up between reading the clock and the kernel cannot leave any more.
//!
//! A put's life is counted from when the clock was read, but the kernel counts it from when the message arrives. A
//! process that is stopped (SIGSTOP, a debugger, a freezer cgroup, no processor for it) between the two would put the
//! address back when it goes on, long after the fence (seen: 2.4 s after it). No look at the clock before the send
//! helps: the stop may come after the look. So the send itself is made to fail.
//!
//! # How
//! A POSIX timer on `CLOCK_BOOTTIME` is armed to `bound`, *then* the clock is read and the message sent, then the timer
//! is disarmed. If it runs out before, its signal goes to this one thread (`SIGEV_THREAD_ID`), and the handler puts
//! `/dev/null` in the place of the descriptor that puts leave by (the exit; `dup3`). The send then ends in `ENOTSOCK`,
//! in the kernel's look-up of the descriptor, before it has read a byte of the message: nothing was changed, for certain.
//!
//! # Why that holds
//! - Armed before the clock is read, the timer runs out at the latest `bound` after the clock's value. It runs while the
//!   process does not, and counts suspended time.
//! - *In user mode* a thread that was held up goes on only by the kernel's way out, which goes round until, with
//!   interrupts off, no signal is left to deliver. A stop is a place on that way (`get_signal`), and so are the freezer
//!   and being scheduled away. Let go, the thread goes round again, finds the timer's signal and runs the handler before
//!   the next instruction of the step. Other signals cannot come between: their handlers run before that one as well.
//! - *In the kernel, in the send:* a stop does not act there, only on the way out. The message is processed within the
//!   send itself, by this thread, and nothing in there waits in a way that a signal interrupts. So the address came in
//!   time, with the right life, or the kernel held the thread up (its network configuration lock; no processor for a
//!   thread that is in the kernel), which nothing in user mode can prevent: the answer is late then, and the put's
//!   other rule takes the address off at once.
//! - The signal cannot get lost: its memory was set aside when the timer was made, it has a handler, and it is not
//!   blocked in this thread. It cannot come late and hit another step either: when disarming returns, the kernel has
//!   either not sent it or delivered it on the way out of that very call.
//! - It cannot hit another descriptor: the handler swaps only while a step runs on the thread that it interrupts, and
//!   the exit is open for as long as the step borrows it. A stray signal of this number, in whatever thread, does
//!   nothing or costs one put.
//! - If the swap itself fails, the process aborts: the kernel's own clock takes the address off then.
//!
//! What it costs: two system calls a put, 0.6 microseconds measured. While nothing is put, nothing.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering, compiler_fence};
use std::time::Duration;

use nix::libc;

use crate::node::guards;

/// No descriptor.
const NONE: RawFd = -1;

/// What the handler finds. Of the thread it interrupts and no other, so that a signal that went astray finds nothing.
struct Swap {
    /// The exit of the step that runs, else [`NONE`].
    exit: AtomicI32,
    /// `/dev/null`, open as long as this thread's guard is there, else [`NONE`].
    null: AtomicI32,
    /// Whether this step's exit was swapped away.
    swapped: AtomicBool,
}

thread_local! {
    // Constant and without a destructor: reading it is a plain memory access, also in a signal handler.
    static SWAP: Swap = const {
        Swap { exit: AtomicI32::new(NONE), null: AtomicI32::new(NONE), swapped: AtomicBool::new(false) }
    };
}

/// The guard of one thread's puts: made in it, and it stays there (the timer's handle is not `Send`).
#[derive(Debug)]
pub(super) struct Guard {
    timer: libc::timer_t,
    bound: Duration,
    _null: File,
}

impl Guard {
    /// A guard for this thread, which swaps the exit away `bound` after a step began.
    ///
    /// # Errors
    /// When the kernel gives no timer (its memory is part of `RLIMIT_SIGPENDING`) or no `/dev/null`.
    pub(super) fn new(bound: Duration) -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        SWAP.with(|swap| {
            swap.null
                .compare_exchange(NONE, null.as_raw_fd(), Ordering::Relaxed, Ordering::Relaxed)
                .map_err(|_| io::Error::other("this thread has a guard already"))
        })?;
        let timer = handle_signal().and_then(|()| make_timer());
        timer.map(|timer| Self { timer, bound, _null: null }).inspect_err(|_| forget_null())
    }

    /// Runs `step`, which sends by `exit`, and says whether that was swapped away under it: it is no socket any more
    /// then, and every send fails with `ENOTSOCK`.
    ///
    /// # Errors
    /// When the timer cannot be armed; `step` was not run then.
    pub(super) fn over<T>(&self, exit: &OwnedFd, step: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        if !guards::on(guards::Guard::GuardedPut) {
            return Ok((step(), false));
        }
        SWAP.with(|swap| {
            swap.swapped.store(false, Ordering::Relaxed);
            swap.exit.store(exit.as_raw_fd(), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            let armed = Armed { guard: self, swap };
            // A zero would disarm it.
            self.set(self.bound.max(Duration::from_nanos(1)))?;
            let done = step();
            drop(armed);
            Ok((done, swap.swapped.load(Ordering::Relaxed)))
        })
    }

    /// Sets the timer to so long from now; zero disarms it.
    fn set(&self, time: Duration) -> io::Result<()> {
        let value = *nix::sys::time::TimeSpec::from_duration(time).as_ref();
        let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        #[expect(unsafe_code, reason = "nix's timers know no real-time signals, and none of musl's")]
        // SAFETY: the timer is ours and not yet deleted; `once` is read during the call; the old setting is not asked for.
        let set = unsafe { libc::timer_settime(self.timer, 0, &raw const once, ptr::null_mut()) };
        result(set)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "nix's timers know no real-time signals, and none of musl's")]
        // SAFETY: the timer is ours and nobody uses its handle after this.
        let _ = unsafe { libc::timer_delete(self.timer) };
        // Only now: its signal, if it was sent, was delivered on the way out of that call.
        forget_null();
    }
}

/// A step that runs. Also when it panics, the handler must not find its exit any more.
struct Armed<'a> {
    guard: &'a Guard,
    swap: &'a Swap,
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        self.swap.exit.store(NONE, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        // If it cannot be disarmed, its signal finds no exit; the next step sets it anew.
        let _ = self.guard.set(Duration::ZERO);
    }
}

fn forget_null() {
    SWAP.with(|swap| swap.null.store(NONE, Ordering::Relaxed));
}

/// The signal: a real-time one, which has no meaning of its own, and not the first, which others take first.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 5
}

/// The handler. It interrupts this thread anywhere, so it does nothing but one system call and plain memory accesses.
extern "C" fn swap_away(_signal: libc::c_int) {
    SWAP.with(|swap| {
        let (exit, null) = (swap.exit.load(Ordering::Relaxed), swap.null.load(Ordering::Relaxed));
        if exit == NONE {
            return;
        }
        #[expect(unsafe_code, reason = "the exit is borrowed by the interrupted step, which no type can tell here")]
        // SAFETY: both are open: `/dev/null` as long as the guard, the exit as long as the step that borrows it, and
        // that step is what this signal interrupted. Its owner closes the number later, whatever it then stands for.
        // Both calls may be made in a handler; `errno` changes only if the process ends here.
        unsafe {
            if libc::dup3(null, exit, libc::O_CLOEXEC) == -1 {
                libc::abort();
            }
        }
        swap.swapped.store(true, Ordering::Relaxed);
    });
}

/// Installs the handler, for the process, and lets the signal through to this thread.
fn handle_signal() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = swap_away;
    #[expect(unsafe_code, reason = "nix knows no real-time signals")]
    // SAFETY: zeroes are a valid `sigaction` and, initialised once more, a valid set; all pointers are to values that
    // live during the calls; the handler does what a handler may do.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        result(libc::sigemptyset(&raw mut action.sa_mask))?;
        result(libc::sigaction(signal(), &raw const action, ptr::null_mut()))?;
        let mut ours: libc::sigset_t = MaybeUninit::zeroed().assume_init();
        result(libc::sigemptyset(&raw mut ours))?;
        result(libc::sigaddset(&raw mut ours, signal()))?;
        match libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const ours, ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// A timer whose signal goes to this thread.
fn make_timer() -> io::Result<libc::timer_t> {
    #[expect(unsafe_code, reason = "nix's timers know no real-time signals, and none of musl's")]
    // SAFETY: zeroes are a valid `sigevent`; both pointers are to values that live during the call; the handle is read
    // only if the call wrote it.
    unsafe {
        let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer = MaybeUninit::uninit();
        result(libc::timer_create(libc::CLOCK_BOOTTIME, &raw mut event, timer.as_mut_ptr()))?;
        Ok(timer.assume_init())
    }
}

fn result(returned: libc::c_int) -> io::Result<()> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use nix::sys::socket::{SockType, getsockopt, sockopt};

    use super::*;
    use crate::node::clock::now;

    const BOUND: Duration = Duration::from_millis(20);

    /// Stays in user mode and looks at nothing but the clock.
    fn spin(time: Duration) {
        let start = now();
        while now().since(start) < time {}
    }

    fn socket() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    fn is_socket(exit: &OwnedFd) -> bool {
        getsockopt(&exit.as_fd(), sockopt::SockType) == Ok(SockType::Stream)
    }

    #[test]
    fn a_step_within_the_bound_keeps_its_exit_also_afterwards() {
        let guard = Guard::new(BOUND).unwrap();
        let exit = socket();
        for _ in 0..3 {
            assert_eq!(guard.over(&exit, || is_socket(&exit)).unwrap(), (true, false));
        }
        spin(2 * BOUND);
        assert!(is_socket(&exit));
    }

    #[test]
    fn a_step_beyond_the_bound_loses_its_exit_and_nothing_else() {
        let guard = Guard::new(BOUND).unwrap();
        let (exit, other) = (socket(), socket());
        let late = || {
            spin(2 * BOUND);
            is_socket(&exit)
        };
        assert_eq!(guard.over(&exit, late).unwrap(), (false, true));
        assert!(is_socket(&other));
        assert_eq!(guard.over(&other, || is_socket(&other)).unwrap(), (true, false));
    }

    #[test]
    fn a_thread_has_one_guard_at_a_time() {
        let first = Guard::new(BOUND).unwrap();
        assert!(Guard::new(BOUND).is_err());
        std::thread::scope(|s| s.spawn(|| drop(Guard::new(BOUND).unwrap())).join()).unwrap();
        drop(first);
        assert!(Guard::new(BOUND).is_ok());
    }

    #[test]
    fn a_step_that_panics_leaves_nothing_to_swap() {
        let guard = Guard::new(BOUND).unwrap();
        let exit = socket();
        let step = || guard.over(&exit, || resume_unwind(Box::new(()))).map(|((), _)| ());
        assert!(catch_unwind(AssertUnwindSafe(step)).is_err());
        spin(2 * BOUND);
        assert!(is_socket(&exit));
    }

    #[test]
    fn a_stray_signal_does_nothing_outside_of_a_step_and_costs_one_within() {
        let guard = Guard::new(BOUND).unwrap();
        let exit = socket();
        let stray = || {
            #[expect(unsafe_code, reason = "nix knows no real-time signals")]
            // SAFETY: it takes a number and touches no memory; the handler is installed.
            let raised = unsafe { libc::raise(signal()) };
            assert_eq!(raised, 0);
            is_socket(&exit)
        };
        assert!(stray());
        assert_eq!(guard.over(&exit, stray).unwrap(), (false, true));
    }
}
