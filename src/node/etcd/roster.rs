//! Who belongs to the cluster, from what etcd's member list says and what is known: whom to add, whom to retire.
//!
//! Pure, and patient: a list may be odd, stale or another cluster's, so nobody is retired for one answer. The operator's
//! own endpoints never are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// A list with more members is none: etcd's clusters have 3 to 7.
const MOST_MEMBERS: usize = 64;
/// URLs of one member that are looked at, and the longest of them.
const MOST_URLS: usize = 8;
const LONGEST_URL: usize = 300;
/// Who is not in the list for so many answers and for so long is a member no more.
const ANSWERS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// A member, as etcd's list has it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) id: u64,
    pub(super) learner: bool,
    /// None before it is started.
    pub(super) urls: Vec<String>,
}

/// A way to a member that is in use.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) place: usize,
    pub(super) url: String,
    /// By the operator.
    pub(super) configured: bool,
    /// The member that answered there last.
    pub(super) member: Option<u64>,
}

/// What an answer changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) add: Vec<(u64, String)>,
    /// Their places.
    pub(super) retire: Vec<usize>,
}

/// How members are reached from this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Reach {
    /// As the operator's endpoints are.
    pub(super) tls: bool,
    /// The VIPs, at which nobody is asked.
    pub(super) vips: Vec<IpAddr>,
}

/// Why a URL is of no use to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Junk,
    /// It would lead to this machine, whoever's URL it is.
    OwnMachine,
    /// TLS where we have none, or the other way round.
    OtherTransport,
    /// A VIP, which is there only after etcd.
    Vip,
}

/// For how long something was seen, and how often.
struct Seen {
    times: u32,
    since: Instant,
}

impl Seen {
    fn again(this: Option<Self>, now: Instant) -> Self {
        this.map_or(Self { times: 1, since: now }, |s| Self { times: s.times.saturating_add(1), ..s })
    }

    fn is_sure(&self, now: Instant) -> bool {
        self.times >= ANSWERS && now - self.since >= PATIENCE
    }
}

/// What is remembered from one answer to the next.
pub(super) struct Roster {
    reach: Reach,
    cluster: Option<u64>,
    /// Answers of another cluster since the last one of ours.
    strange: Option<Seen>,
    /// By place: who is not in the list.
    missing: BTreeMap<usize, Seen>,
}

impl Roster {
    pub(super) const fn new(reach: Reach) -> Self {
        Self { reach, cluster: None, strange: None, missing: BTreeMap::new() }
    }

    /// Members are reached in another way now.
    pub(super) fn reach(&mut self, reach: Reach) {
        self.reach = reach;
    }

    /// A member answered with its list.
    pub(super) fn answered(&mut self, cluster: u64, listed: &[Listed], known: &[Known], now: Instant) -> Changes {
        if cluster == 0 || listed.len() > MOST_MEMBERS {
            return Changes::default();
        }
        if self.cluster.is_some_and(|ours| ours != cluster) {
            let strange = Seen::again(self.strange.take(), now);
            if !strange.is_sure(now) {
                self.strange = Some(strange);
                return Changes::default();
            }
            return self.move_to(cluster, listed, known);
        }
        (self.cluster, self.strange) = (Some(cluster), None);
        let Compared { add, missing, mut twice } = compare(&self.reach, listed, known);
        let mut before = std::mem::take(&mut self.missing);
        for place in missing {
            let seen = Seen::again(before.remove(&place), now);
            if seen.is_sure(now) {
                twice.push(place);
            } else {
                self.missing.insert(place, seen);
            }
        }
        Changes { add, retire: twice }
    }

    /// Another cluster is there now, for good: nobody who was found in the old one is of use.
    fn move_to(&mut self, cluster: u64, listed: &[Listed], known: &[Known]) -> Changes {
        *self = Self { cluster: Some(cluster), ..Self::new(self.reach.clone()) };
        let (configured, found): (Vec<Known>, Vec<Known>) = known.iter().cloned().partition(|k| k.configured);
        let retire = found.iter().map(|k| k.place).collect();
        Changes { add: compare(&self.reach, listed, &configured).add, retire }
    }
}

/// Who is in the list and not known, with a URL of each.
pub(super) fn others(reach: &Reach, listed: &[Listed], known: &[Known]) -> Vec<(u64, String)> {
    compare(reach, listed, known).add
}

#[derive(Default)]
struct Compared {
    add: Vec<(u64, String)>,
    missing: Vec<usize>,
    /// The same member as a configured one.
    twice: Vec<usize>,
}

/// One answer against what is known. A list without anybody we can use says nothing.
fn compare(reach: &Reach, listed: &[Listed], known: &[Known]) -> Compared {
    let usable = listed.iter().filter(|m| !m.learner).map(|m| (m.id, reach.usable_urls(m)));
    let usable: Vec<(u64, Vec<String>)> = usable.filter(|(_, urls)| !urls.is_empty()).collect();
    if usable.is_empty() {
        return Compared::default();
    }
    let mut compared = Compared::default();
    for (id, urls) in &usable {
        let is_known = |k: &Known| (k.configured && k.member == Some(*id)) || urls.contains(&normal(&k.url));
        let is_added = |(member, url): &(u64, String)| member == id || urls.contains(url);
        if !known.iter().any(is_known) && !compared.add.iter().any(is_added) {
            compared.add.push((*id, urls[0].clone()));
        }
    }
    let found = known.iter().filter(|k| !k.configured);
    for k in found {
        let of_a_configured = |c: &Known| c.configured && c.member.is_some() && c.member == k.member;
        if known.iter().any(of_a_configured) {
            compared.twice.push(k.place);
        } else if !usable.iter().any(|(_, urls)| urls.contains(&k.url)) {
            compared.missing.push(k.place);
        }
    }
    compared
}

impl Reach {
    /// The URL as we write it, if it leads from this machine to that member.
    pub(super) fn usable(&self, url: &str) -> Result<String, Unfit> {
        let (scheme, host, port) = split(url).ok_or(Unfit::Junk)?;
        if scheme != if self.tls { "https" } else { "http" } {
            return Err(Unfit::OtherTransport);
        }
        match &host {
            Host::Name(name) if name == "localhost" || name.ends_with(".localhost") => return Err(Unfit::OwnMachine),
            Host::Address(a) if a.is_loopback() || a.is_unspecified() => return Err(Unfit::OwnMachine),
            Host::Address(a) if a.is_multicast() || needs_a_link(a) => return Err(Unfit::Junk),
            Host::Address(a) if self.vips.contains(a) => return Err(Unfit::Vip),
            Host::Name(_) | Host::Address(_) => {}
        }
        Ok(format!("{scheme}://{host}:{port}"))
    }

    fn usable_urls(&self, member: &Listed) -> Vec<String> {
        member.urls.iter().take(MOST_URLS).filter_map(|url| self.usable(url).ok()).collect()
    }
}

/// The operator's endpoint in the same form, so that the two can be compared.
fn normal(url: &str) -> String {
    split(url).map_or_else(|| url.to_owned(), |(scheme, host, port)| format!("{scheme}://{host}:{port}"))
}

enum Host {
    Name(String),
    Address(IpAddr),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(a)) => a.fmt(f),
            Self::Address(IpAddr::V6(a)) => write!(f, "[{a}]"),
        }
    }
}

fn split(url: &str) -> Option<(&'static str, Host, u16)> {
    let (scheme, rest) = url.split_once("://").filter(|_| url.len() <= LONGEST_URL)?;
    let scheme = ["http", "https"].into_iter().find(|s| scheme.eq_ignore_ascii_case(s))?;
    let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':')?;
    let port = port.parse().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit())).filter(|port| *port > 0)?;
    Some((scheme, parse_host(host)?, port))
}

fn parse_host(host: &str) -> Option<Host> {
    if let Some(inner) = host.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(Host::Address(IpAddr::V6(address).to_canonical()));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(Host::Address(address.into()));
    }
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    // What ends in a number is a mistyped address.
    let numeric = host.rsplit('.').next()?.bytes().all(|b| b.is_ascii_digit());
    (!numeric && host.split('.').all(label)).then(|| Host::Name(host.to_ascii_lowercase()))
}

/// Link-local addresses mean nothing without the link.
fn needs_a_link(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}

#[cfg(test)]
mod tests;
