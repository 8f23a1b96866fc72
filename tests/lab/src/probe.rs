//! What a client sees of an address: an echo request every millisecond, and which of them were answered.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use crate::clock::{self, At};
use crate::netns::NetNs;
use crate::ping::{self, Version};
use crate::urgent;

/// From one request to the next.
const PACE: Duration = Duration::from_millis(1);

/// One request, and when its answer came.
#[derive(Clone, Copy, Debug)]
struct Echo {
    sent: At,
    answered: Option<At>,
}

/// A running probe; it stops when dropped.
pub(crate) struct Probe {
    shared: Arc<Shared>,
}

struct Shared {
    target: IpAddr,
    version: Version,
    socket: OwnedFd,
    echoes: Mutex<Vec<Echo>>,
    stop: AtomicBool,
}

impl Probe {
    /// Begins to ask `target` from within `namespace`.
    pub(crate) fn start(namespace: &NetNs, target: IpAddr) -> Result<Self> {
        let (version, socket) = namespace.run(|| open(target)).context("open the probe's socket")?;
        let (echoes, stop) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { target, version, socket, echoes, stop });
        let (sender, receiver) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::Builder::new().name("probe-send".to_owned()).spawn(move || sender.send())?;
        thread::Builder::new().name("probe-receive".to_owned()).spawn(move || receiver.receive())?;
        Ok(Self { shared })
    }

    /// The outage: the longest span from an answered request to the next answered one that reaches into the time
    /// between the two moments. At its end, unanswered requests count up to the last one sent.
    pub(crate) fn worst(&self, from: At, to: At) -> Duration {
        worst(&self.shared.echoes(), from, to)
    }

    /// Waits for an answer to a request sent from `from` on.
    pub(crate) fn answers(&self, from: At, within: Duration) -> bool {
        clock::poll_until(within, || {
            self.shared.echoes().iter().rev().any(|echo| echo.sent >= from && echo.answered.is_some())
        })
    }

    /// The share of requests answered in each of `steps` stretches of `step` before now, oldest first; `None`
    /// where nothing was sent.
    pub(crate) fn strip(&self, steps: u32, step: Duration) -> Vec<Option<f32>> {
        // The newest requests may just be under way.
        let end = clock::now() - Duration::from_millis(20);
        let echoes = self.shared.echoes();
        (0..steps).rev().map(|back| share(&echoes, end - step * (back + 1), end - step * back)).collect()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn worst(echoes: &[Echo], from: At, to: At) -> Duration {
    let mut answered: Vec<At> = echoes.iter().filter(|echo| echo.answered.is_some()).map(|echo| echo.sent).collect();
    answered.extend(echoes.last().map(|echo| echo.sent));
    let reaching = answered.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
    reaching.map(|pair| pair[1].since(pair[0])).max().unwrap_or_default()
}

fn share(echoes: &[Echo], from: At, to: At) -> Option<f32> {
    let first = echoes.partition_point(|echo| echo.sent < from);
    let end = echoes.partition_point(|echo| echo.sent < to);
    let asked = echoes.get(first..end).filter(|asked| !asked.is_empty())?;
    let answered = asked.iter().filter(|echo| echo.answered.is_some()).count();
    Some(answered as f32 / asked.len() as f32)
}

fn open(target: IpAddr) -> Result<(Version, OwnedFd)> {
    let (version, family, protocol) = match target {
        IpAddr::V4(_) => (Version::V4, AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (Version::V6, AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&fd, sockopt::RcvBuf, &(4 << 20))?;
    // So that the receiver notices the end even when nobody answers.
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(0, 200_000))?;
    Ok((version, fd))
}

impl Shared {
    fn echoes(&self) -> MutexGuard<'_, Vec<Echo>> {
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn send(&self) {
        urgent::this_thread();
        let to = match self.target {
            IpAddr::V4(_) => SocketAddr::new(self.target, 0),
            IpAddr::V6(ip) => SocketAddrV6::new(Ipv6Addr::from(ip.octets()), 0, 0, 0).into(),
        };
        let to = SockaddrStorage::from(to);
        let mut next = clock::now();
        while !self.stopped() {
            let sent = clock::now();
            let number = {
                let mut echoes = self.echoes();
                echoes.push(Echo { sent, answered: None });
                echoes.len() - 1
            };
            // Not sent (no route, no neighbour) is as good as not answered.
            let packet = ping::request(self.version, number as u64);
            let _ = sendto(self.socket.as_raw_fd(), &packet, &to, MsgFlags::MSG_DONTWAIT);
            // A late wake-up is not made good by a burst.
            next = (next + PACE).max(sent);
            clock::sleep_until(next);
        }
    }

    fn answered(&self, number: u64, at: At) {
        let Ok(place) = usize::try_from(number) else { return };
        if let Some(echo) = self.echoes().get_mut(place) {
            echo.answered = Some(at);
        }
    }

    fn receive(&self) {
        urgent::this_thread();
        let mut buffer = [0; 2048];
        while !self.stopped() {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                // An ICMP error of the way, reported on the socket: no answer, and no end.
                Err(_) => {
                    clock::sleep(PACE);
                    continue;
                }
            };
            let at = clock::now();
            let Some(number) = ping::reply(self.version, &buffer[..length]) else { continue };
            self.answered(number, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> At {
        At::since_boot(Duration::from_millis(millis))
    }

    /// Requests every 10 ms; those sent in [200, 260] were not answered.
    fn echoes() -> Vec<Echo> {
        let one = |n: u64| Echo { sent: at(n * 10), answered: (!(20..=26).contains(&n)).then(|| at(n * 10 + 1)) };
        (0..100).map(one).collect()
    }

    #[test]
    fn an_outage_runs_from_answered_to_answered() {
        assert_eq!(worst(&echoes(), at(100), at(400)), Duration::from_millis(80));
        assert_eq!(worst(&echoes(), at(300), at(400)), Duration::from_millis(10));
        assert_eq!(worst(&echoes(), at(230), at(240)), Duration::from_millis(80));
    }

    #[test]
    fn an_outage_that_lasts_counts_up_to_the_last_request() {
        let mut silent = echoes();
        silent.iter_mut().skip(50).for_each(|echo| echo.answered = None);
        assert_eq!(worst(&silent, at(400), at(990)), Duration::from_millis(500));
    }

    #[test]
    fn shares_are_of_what_was_asked() {
        assert_eq!(share(&echoes(), at(0), at(100)), Some(1.0));
        assert_eq!(share(&echoes(), at(200), at(250)), Some(0.0));
        assert_eq!(share(&echoes(), at(5000), at(6000)), None);
    }
}
