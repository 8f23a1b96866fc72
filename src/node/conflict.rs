//! Asks the network whether somebody has a VIP, before it is put here: ARP probes (RFC 5227) and neighbour
//! solicitations (RFC 4862). And listens, while it is here, for others who say so ([`lookout`]).
//!
//! One thing RFC 5227 (2.1.1) takes for a conflict is none here: another host's probe for the address that we probe for.
//! The other candidates probe as well, and who of us has the turn is decided in etcd, not on the wire. A host that is no
//! candidate and probes will hear our announcement, and it is for him to do without the address.
//!
//! Owned by the driver. Each probing is a task of its own that ends by itself, so several VIPs probe side by side. It
//! reports what it heard and decides nothing; above all it must never report silence unless it listened all the time
//! and every probe left this machine.

pub mod lookout;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::select_all;
use pnet::util::MacAddr;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::{select, task, time};
use tracing::debug;

use super::clock::now;
use super::frame::{self, Frame};
use super::packet::PacketSocket;
use super::ready;
use crate::election::event::{Answer, Event, LinkId, VipId};
use crate::moment::Moment;

/// When the probes go out, from the start. A host on the segment answers in well under a millisecond, and a switch port
/// or a bridge may lose one frame; three of them a third of the time apart outlast that.
const PROBES_AT: [Duration; 3] = [Duration::ZERO, Duration::from_millis(33), Duration::from_millis(66)];
/// How long is listened, from the start. RFC 5227 waits seconds; here a turn in etcd already says that the address is
/// free, and the probes look for what etcd cannot know.
const LISTEN: Duration = Duration::from_millis(100);
/// Bytes of a frame that are read: all of an ARP packet, and a neighbour advertisement with several options.
const READ: usize = 256;
/// How many frames are read in one go at the end. More in the last instant come only in an attack.
const LAST_LOOK: usize = 64;

/// Sends probes and reports what they found.
#[derive(Clone, Debug)]
pub struct Prober {
    events: mpsc::Sender<Event>,
}

impl Prober {
    /// A prober that reports to `events`.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events }
    }

    /// Asks on `link` for all `addresses` of `vip`, and returns at once; must be called within a tokio runtime.
    ///
    /// Reported is one event of this `round`: `ProbeAnswered` as soon as anybody answers for any of the addresses,
    /// else, 100 ms after the start, `ProbeSilent`. Where probing was not possible (no CAP_NET_RAW, link gone or down,
    /// a probe not sent) nothing is known, and that is not silence: `ProbeAnswered` after those 100 ms, saying why.
    pub fn probe(&self, vip: VipId, addresses: &[IpAddr], link: LinkId, round: u64) {
        let (events, addresses) = (self.events.clone(), addresses.to_vec());
        tokio::spawn(async move {
            let event = match ask(link, &addresses).await {
                None => Event::ProbeSilent { vip, round },
                Some(by) => Event::ProbeAnswered { vip, round, by },
            };
            debug!(vip = vip.0, round, ?event, "probed");
            // Nobody listens any more only when the process ends.
            let _ = events.send(event).await;
        });
    }
}

/// Whether somebody on `link` answers for `ip` now, and his hardware address.
///
/// # Errors
/// When probing is not possible: no CAP_NET_RAW, the link gone or down.
pub async fn who_has(link: LinkId, ip: IpAddr) -> io::Result<Option<String>> {
    let answer = listen_and_probe(link, &[ip], now()).await?;
    Ok(answer.map(|(mac, _)| mac.to_string()))
}

/// Who answered, or why that cannot be known.
async fn ask(link: LinkId, addresses: &[IpAddr]) -> Option<Answer> {
    let start = now();
    match listen_and_probe(link, addresses, start).await {
        Ok(answer) => answer
            .map(|(mac, ip)| if addresses.len() > 1 { format!("{mac} for {ip}") } else { mac.to_string() })
            .map(Answer::Host),
        Err(error) => {
            // Only now, so that a fault that stays is not reported a thousand times a second.
            until(start + LISTEN).await;
            Some(Answer::NotAsked(format!("could not probe: {error}")))
        }
    }
}

/// Who answered first, and for which address.
async fn listen_and_probe(link: LinkId, addresses: &[IpAddr], start: Moment) -> io::Result<Option<(MacAddr, IpAddr)>> {
    let ears = addresses.iter().map(|ip| Ear::open(link, *ip)).collect::<io::Result<Vec<_>>>()?;
    if ears.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no address to probe for"));
    }
    select! {
        biased;
        (answer, ..) = select_all(ears.iter().map(|ear| Box::pin(ear.answer()))) => return answer.map(Some),
        sent = send_probes(&ears, start) => sent?,
    }
    ears.iter().map(Ear::last_look).find_map(Result::transpose).transpose()
}

/// Sends the probes at their times, and returns when the time to listen is over.
async fn send_probes(ears: &[Ear], start: Moment) -> io::Result<()> {
    for at in PROBES_AT {
        until(start + at).await;
        ears.iter().try_for_each(|ear| ear.socket().send(&ear.probe.bytes))?;
    }
    until(start + LISTEN).await;
    Ok(())
}

/// Waits for a moment, to the next whole millisecond, and for none that is there.
async fn until(moment: Moment) {
    let left = moment.since(now());
    if !left.is_zero() {
        time::sleep(left).await;
    }
}

/// Listens for, and asks for, one address.
struct Ear {
    fd: AsyncFd<PacketSocket>,
    address: IpAddr,
    mac: MacAddr,
    probe: Frame,
}

impl Ear {
    /// Listens from now on; nothing is asked yet.
    fn open(link: LinkId, address: IpAddr) -> io::Result<Self> {
        let socket = PacketSocket::listener(link, &[address])?;
        let mac = socket.mac()?;
        Ok(Self { fd: ready::register(socket)?, address, mac, probe: frame::probe(address, mac) })
    }

    fn socket(&self) -> &PacketSocket {
        self.fd.get_ref()
    }

    /// Waits until somebody says that he has the address.
    async fn answer(&self) -> io::Result<(MacAddr, IpAddr)> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Ok(heard) = ready.try_io(|_| self.hear())
                && let Some(mac) = heard?
            {
                return Ok((mac, self.address));
            }
            // Whoever floods us with frames that pass the filter and say nothing must not keep the daemon from its loop.
            task::yield_now().await;
        }
    }

    /// What has come and was not read yet, whether or not tokio knows of it.
    fn last_look(&self) -> io::Result<Option<(MacAddr, IpAddr)>> {
        for _ in 0..LAST_LOOK {
            match self.hear() {
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                heard => return Ok(heard?.map(|mac| (mac, self.address))),
            }
        }
        Err(io::Error::other("more frames than can be read"))
    }

    /// Reads one frame.
    fn hear(&self) -> io::Result<Option<MacAddr>> {
        let mut buffer = [0; READ];
        let length = self.socket().receive(&mut buffer)?;
        Ok(frame::answer_in(&buffer[..length], self.address, self.mac))
    }
}
