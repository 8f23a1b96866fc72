//! Listens, while VIPs are held here, for others who say that they have one of them.
//!
//! Owned by the driver, which says what is held. One socket for each link and family, however many VIPs there are, with
//! the kernel's sieve for just those: hearing nothing costs nothing. It reports what it heard, bounded in number whoever
//! floods the segment, and decides nothing; what is done about a claim is for the election to say.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::select_all;
use pnet::util::MacAddr;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::{select, time};
use tracing::{debug, warn};

use super::READ;
use crate::election::event::{Event, LinkId, VipId};
use crate::node::packet::PacketSocket;
use crate::node::{frame, ready};

/// Several VIPs are taken at once, and each would need a new sieve: so long is waited for more. For a second after the
/// taking claims count for little anyway, and the taking itself shall not wait for sockets.
const GATHER: Duration = Duration::from_millis(20);
/// After something was heard, so long nothing more is read: what comes meanwhile is reported as one.
const PAUSE: Duration = Duration::from_millis(100);
/// The most frames read in one go. The kernel keeps about half as many.
const MOST: usize = 512;
/// A socket that could not be opened, or broke, is opened again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What is held, and where.
type Held = BTreeMap<VipId, (LinkId, Vec<IpAddr>)>;

/// Hears claims of others. Ends when dropped.
#[derive(Debug)]
pub struct Lookout {
    held: watch::Sender<Held>,
}

impl Lookout {
    /// Begins, with nothing held; must be called within a tokio runtime.
    pub fn start(events: mpsc::Sender<Event>) -> Self {
        let (held, told) = watch::channel(Held::new());
        tokio::spawn(Watch { held: told, events, ears: BTreeMap::new(), deaf: false }.run());
        Self { held }
    }

    /// Listens on `link` for claims of all `addresses` of `vip`.
    pub fn watch(&self, vip: VipId, link: LinkId, addresses: &[IpAddr]) {
        self.held.send_if_modified(|held| {
            let new = held.get(&vip).is_none_or(|(l, a)| *l != link || a != addresses);
            if new {
                held.insert(vip, (link, addresses.to_vec()));
            }
            new
        });
    }

    /// Listens for claims of `vip` no more.
    pub fn leave(&self, vip: VipId) {
        self.held.send_if_modified(|held| held.remove(&vip).is_some());
    }
}

/// A socket's place: its link, and whether it is for IPv4.
type Place = (LinkId, bool);
/// Whose each address is.
type Owners = BTreeMap<IpAddr, VipId>;
/// For each VIP who claimed it last, and how often it was claimed.
type Claims = BTreeMap<VipId, (MacAddr, u32)>;

/// The task.
struct Watch {
    held: watch::Receiver<Held>,
    events: mpsc::Sender<Event>,
    ears: BTreeMap<Place, Ear>,
    /// It was said that some place cannot be listened at.
    deaf: bool,
}

/// Listens at one place.
struct Ear {
    fd: AsyncFd<PacketSocket>,
    owners: Owners,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let all = self.follow();
            select! {
                changed = self.held.changed() => match changed {
                    Ok(()) => time::sleep(GATHER).await,
                    Err(_nobody_holds_anything_any_more) => return,
                },
                () = heard(&self.ears) => {
                    for event in self.read() {
                        debug!(?event);
                        if self.events.send(event).await.is_err() {
                            return;
                        }
                    }
                    time::sleep(PAUSE).await;
                }
                () = time::sleep(AGAIN), if !all => {}
            }
        }
    }

    /// Listens wherever something is held, and nowhere else. Says whether it could.
    fn follow(&mut self) -> bool {
        let wanted = places(&self.held.borrow_and_update());
        self.ears.retain(|place, ear| wanted.contains_key(place) && ear.hears());
        let mut failed = None;
        for (place, owners) in wanted {
            if let Err(error) = self.listen(place, owners) {
                self.ears.remove(&place);
                failed = Some((place.0, error));
            }
        }
        if let Some((link, error)) = &failed
            && !self.deaf
        {
            warn!(link = link.0, "cannot hear whether another host claims a VIP that is held here: {error}");
        }
        self.deaf = failed.is_some();
        !self.deaf
    }

    fn listen(&mut self, place: Place, owners: Owners) -> io::Result<()> {
        match self.ears.get_mut(&place) {
            Some(ear) => ear.listen_for(owners),
            None => Ear::open(place.0, owners).map(|ear| drop(self.ears.insert(place, ear))),
        }
    }

    /// What was heard since.
    fn read(&mut self) -> Vec<Event> {
        let mut claims = Claims::new();
        self.ears.retain(|(link, _), ear| match ear.read(&mut claims) {
            Ok(()) => true,
            Err(error) => {
                debug!(link = link.0, %error, "a link is not listened on any more");
                false
            }
        });
        claims.into_iter().map(|(vip, (by, times))| Event::Claimed { vip, by: by.to_string(), times }).collect()
    }
}

/// Waits until there is something to read.
async fn heard(ears: &BTreeMap<Place, Ear>) {
    if ears.is_empty() {
        return std::future::pending().await;
    }
    select_all(ears.values().map(|ear| Box::pin(ear.stirs()))).await;
}

/// What to listen for at which place.
fn places(held: &Held) -> BTreeMap<Place, Owners> {
    let mut places: BTreeMap<Place, Owners> = BTreeMap::new();
    for (vip, (link, addresses)) in held {
        for address in addresses {
            places.entry((*link, address.is_ipv4())).or_default().insert(*address, *vip);
        }
    }
    places
}

impl Ear {
    fn open(link: LinkId, owners: Owners) -> io::Result<Self> {
        let addresses: Vec<IpAddr> = owners.keys().copied().collect();
        let socket = PacketSocket::listener(link, &addresses)?;
        socket.mac()?; // the link is one whose claims can be told from our own
        Ok(Self { fd: ready::register(socket)?, owners })
    }

    /// Whether its link is still there. One that was made anew under the same number is not the same.
    fn hears(&self) -> bool {
        self.fd.get_ref().mac().is_ok()
    }

    /// Something came, or the link went down or away: that is an error on its socket and nothing to read.
    async fn stirs(&self) {
        // A reactor that is gone is the daemon's end; the reading says what is wrong with a socket.
        select! {
            _ = self.fd.readable() => {}
            _ = self.fd.ready(Interest::ERROR) => {}
        }
    }

    fn listen_for(&mut self, owners: Owners) -> io::Result<()> {
        if self.owners != owners {
            let addresses: Vec<IpAddr> = owners.keys().copied().collect();
            self.fd.get_ref().listen_for(&addresses)?;
            self.owners = owners;
        }
        Ok(())
    }

    /// Counts the claims that came. Our own announcements may come back over a bridge or a bond, and are none; the link's
    /// MAC address may have changed since the socket was opened.
    fn read(&self, claims: &mut Claims) -> io::Result<()> {
        self.fd.get_ref().trouble()?;
        let own = self.fd.get_ref().mac()?;
        let mut buffer = [0; READ];
        for _ in 0..MOST {
            let length = match self.fd.try_io(Interest::READABLE, |socket| socket.receive(&mut buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            let claim = frame::claim_in(&buffer[..length], own);
            if let Some((vip, by)) = claim.and_then(|(ip, by)| Some((*self.owners.get(&ip)?, by))) {
                let times = claims.get(&vip).map_or(0, |(_, times)| *times);
                claims.insert(vip, (by, times + 1));
            }
        }
        Ok(())
    }
}
