//! The one writer of addresses: a thread with a netlink socket of its own, which puts and takes off, one after the other.
//!
//! Reading the clock, computing the address's life and sending must be one step (protocol 5.3): whatever comes between
//! them lengthens the life beyond the fence. So there is no reactor, no queue and no allocation between them, only
//! `send_with_life`, and over that stands the `guard`: a put that is held up there cannot leave any more. An answer
//! that is late says that the kernel held it up, and the address goes at once. Taking off goes through the same thread: a
//! put that the kernel still holds up is over before it.

mod guard;
mod line;
mod message;
mod pause;
#[cfg(test)]
mod stopped;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use tokio::sync::oneshot;

use super::clock::now;
use super::guards;
use super::netlink::host_prefix;
use crate::election::event::LinkId;
use crate::election::lifetime::{SECOND, whole_seconds};
use crate::moment::Moment;
use guard::Guard;
use line::{Line, is_shut, leave};
use message::Bytes;
use pause::Step;

/// How long after the clock was read a put may leave this process and the kernel's answer may come: part of the margin
/// between fence and end of lease.
pub const LATE: Duration = Duration::from_millis(50);

/// How long the thread waits for the kernel's answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the thread is waited for: longer than it waits itself, for the send may block in the kernel's lock.
const PATIENCE_WITH_THREAD: Duration = Duration::from_millis(1500);

/// Why an address was not written.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// No socket or no thread. Nothing was changed.
    #[error("cannot open a netlink socket to write addresses")]
    Open(#[source] io::Error),
    /// No guard for puts that are held up. Nothing was changed, and without it nothing is put.
    #[error("cannot set up the timer that guards puts")]
    Guard(#[source] io::Error),
    /// The request could not be sent. Nothing was changed.
    #[error("cannot send to the kernel")]
    Send(#[source] io::Error),
    /// The kernel said no. Nothing was changed.
    #[error("the kernel refuses")]
    Refused(#[source] io::Error),
    /// The kernel did not answer in time, or its answer was lost: it may have been done or may still be.
    #[error("the kernel did not answer in time")]
    Silent,
}

/// What became of a put.
#[derive(Debug)]
pub enum Put {
    /// The kernel has it, until this moment at the latest by its own count (plus its lateness, which the margin holds).
    Done(Moment),
    /// The kernel's answer came too late after the clock was read (`took`), so it was taken off again at once; whether
    /// that is the kernel's word too stands in `off`.
    Late {
        /// From reading the clock to the answer.
        took: Duration,
        /// What the kernel said to taking it off.
        off: Result<(), Error>,
    },
    /// This process was held up between reading the clock and sending, and so nothing was sent.
    HeldUp,
    /// Less than a second is left until the fence, or it would not end later than it does: nothing was sent.
    NotSent,
}

/// What a put may find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Nothing: the address must not be there, whosever it is.
    Nothing,
    /// Ours, which the kernel keeps until then: it gets a later end or stays as it is.
    Until(Moment),
    /// Ours, with an end that is not known or beyond the fence: it gets the fence's.
    Whatever,
}

/// Writes addresses, through its thread. The thread ends with it; what it put stays until the kernel's own clock ends it.
#[derive(Debug)]
pub struct Putter {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Put { bytes: Bytes, off: Bytes, fence: Moment, over: Over, answer: oneshot::Sender<Result<Put, Error>> },
    TakeOff { bytes: Bytes, answer: oneshot::Sender<Result<(), Error>> },
}

impl Putter {
    /// Starts the thread, in this thread's network namespace.
    ///
    /// # Errors
    /// When there is no socket or no thread to be had.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(LATE)
    }

    /// Starts the thread with another bound for the kernel's answer than [`LATE`]; for tests.
    ///
    /// # Errors
    /// As [`Putter::start`].
    pub fn start_with(late: Duration) -> Result<Self, Error> {
        Self::start_guarded(late, LATE)
    }

    /// Starts the thread, with these bounds for the kernel's answer and for what leaves this process.
    fn start_guarded(late: Duration, leaves: Duration) -> Result<Self, Error> {
        let line = Line::open(PATIENCE).map_err(Error::Open)?;
        let (orders, taken) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let run = move || match Guard::new(leaves) {
            Ok(guard) => {
                let mut writer = Writer { line, guard, sequence: 0, late };
                let _ = tell.send(Ok(()));
                taken.iter().for_each(|order| writer.carry_out(order));
            }
            Err(e) => drop(tell.send(Err(e))),
        };
        std::thread::Builder::new().name("vipd-put".into()).spawn(run).map_err(Error::Open)?;
        // The guard is made in its thread, which takes microseconds.
        let begun = told.recv().unwrap_or_else(|_| Err(io::Error::other("the writing thread ended")));
        begun.map_err(Error::Guard)?;
        Ok(Self { orders })
    }

    /// Puts `ip` on `link` for as many whole seconds as are left until `fence`.
    ///
    /// # Errors
    /// When the kernel refuses (`EEXIST`: [`Over::Nothing`], and it is there) or is silent.
    pub async fn put(&self, link: LinkId, ip: IpAddr, fence: Moment, over: Over) -> Result<Put, Error> {
        let bytes = Bytes::put(link, ip, over == Over::Nothing);
        let off = Bytes::take_off(link, ip, host_prefix(ip));
        let (answer, answered) = oneshot::channel();
        self.order(Order::Put { bytes, off, fence, over, answer }, answered).await
    }

    /// Takes `ip` with this mask off `link`. Ok is the kernel's own word: it acknowledged, or there was no such address.
    ///
    /// # Errors
    /// When the kernel refuses for another reason or is silent.
    pub async fn take_off(&self, link: LinkId, ip: IpAddr, prefix: u8) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::TakeOff { bytes: Bytes::take_off(link, ip, prefix), answer }, answered).await
    }

    /// Gives the order up when the bound is past: the thread skips a put that nobody waits for any more.
    async fn order<T>(&self, order: Order, answered: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        self.orders.send(order).map_err(|_| Error::Open(io::Error::other("the writing thread ended")))?;
        match tokio::time::timeout(PATIENCE_WITH_THREAD, answered).await {
            Ok(Ok(answer)) => answer,
            // The thread ended, or it took too long.
            Ok(Err(_)) | Err(_) => Err(Error::Silent),
        }
    }
}

/// The thread's side.
#[derive(Debug)]
struct Writer {
    line: Line,
    guard: Guard,
    sequence: u32,
    late: Duration,
}

impl Writer {
    fn carry_out(&mut self, order: Order) {
        // Nobody listening to the answer is no fault of the kernel's: a put is then not wanted any more.
        match order {
            Order::Put { answer, .. } if answer.is_closed() => {}
            Order::Put { bytes, off, fence, over, answer } => drop(answer.send(self.put(bytes, off, fence, over))),
            Order::TakeOff { bytes, answer } => drop(answer.send(self.take_off(bytes))),
        }
    }

    fn put(&mut self, mut bytes: Bytes, off: Bytes, fence: Moment, over: Over) -> Result<Put, Error> {
        self.number(&mut bytes);
        pause::at(Step::Before);
        let step = || send_with_life(self.line.exit(), &mut bytes, fence, over);
        let (sent, shut) = self.guard.over(self.line.exit(), step).map_err(Error::Guard)?;
        if shut && self.line.mend_exit().is_err() {
            self.renew();
        }
        let (read_at, end) = match sent {
            Ok(Some(sent)) => sent,
            Ok(None) => return Ok(Put::NotSent),
            Err(e) if shut && is_shut(&e) => return Ok(Put::HeldUp),
            Err(e) => return Err(self.reopen(e)),
        };
        let answer = self.answer();
        let took = now().since(read_at);
        match answer {
            // Refused late is refused: nothing is there.
            Err(Error::Refused(e)) => Err(Error::Refused(e)),
            Ok(()) if took <= self.late => Ok(Put::Done(end)),
            _ => Ok(Put::Late { took, off: self.take_off(off) }),
        }
    }

    fn take_off(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        self.number(&mut bytes);
        if let Err(e) = self.line.send(bytes.as_slice()) {
            // A fault of the socket is no reason to leave an address there: once more, on another.
            self.reopen(e);
            self.line.send(bytes.as_slice()).map_err(Error::Send)?;
        }
        match self.answer() {
            Err(Error::Refused(e)) if says_gone(&e) => Ok(()),
            said => said,
        }
    }

    /// The socket failed: another, so that neither its fault nor its late answers meet the next order.
    fn reopen(&mut self, fault: io::Error) -> Error {
        self.renew();
        Error::Send(fault)
    }

    /// If there is no other to be had, the old one stays, and the next order that fails on it tries again.
    fn renew(&mut self) {
        if let Ok(line) = Line::open(PATIENCE) {
            self.line = line;
        }
    }

    fn number(&mut self, bytes: &mut Bytes) {
        self.sequence = self.sequence.wrapping_add(1);
        bytes.number(self.sequence);
    }

    /// Waits for the answer to the last request; answers to older ones, given up by now, are thrown away.
    fn answer(&mut self) -> Result<(), Error> {
        let deadline = now() + PATIENCE;
        let mut buffer = Vec::with_capacity(8 * 1024);
        // It is read at least once: a process that was stopped here finds the answer that has long been there.
        loop {
            buffer.clear();
            match self.line.receive(&mut buffer) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The time is up, or the kernel had no memory for the answer.
                Err(e) => {
                    self.reopen(e);
                    return Err(Error::Silent);
                }
            }
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer) {
                Ok(m) if m.header.sequence_number == self.sequence => match m.payload {
                    NetlinkPayload::Error(e) if e.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(e) => return Err(Error::Refused(e.to_io())),
                    _ => {}
                },
                _ => {}
            }
            if now() >= deadline {
                return Err(Error::Silent);
            }
        }
    }
}

/// The one step: clock, life, send. Gives the moment the clock was read and the kernel's end.
///
/// A process held up exactly here would put the address back when it goes on, so the guard goes round these lines and
/// nothing else.
fn send_with_life(
    exit: &OwnedFd,
    bytes: &mut Bytes,
    fence: Moment,
    over: Over,
) -> io::Result<Option<(Moment, Moment)>> {
    pause::at(Step::Armed);
    let read_at = now();
    pause::at(Step::Clock);
    let Some(seconds) = whole_seconds(read_at, fence) else { return Ok(None) };
    let end = read_at + seconds * SECOND;
    // A moment too late for a good one, rounding would shorten its life.
    if matches!(over, Over::Until(before) if end <= before) {
        return Ok(None);
    }
    bytes.live(if guards::on(guards::Guard::KernelLifetime) { seconds } else { u32::MAX });
    pause::at(Step::Life);
    leave(exit, bytes.as_slice())?;
    pause::at(Step::Sent);
    Ok(Some((read_at, end)))
}

/// Whether a refusal to take an address off says that it is not there: no such address, no such link, or no such
/// protocol on the link.
fn says_gone(e: &io::Error) -> bool {
    [Errno::EADDRNOTAVAIL, Errno::ENODEV, Errno::ENXIO].iter().any(|gone| e.raw_os_error() == Some(*gone as i32))
}
