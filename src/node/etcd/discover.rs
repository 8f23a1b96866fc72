//! Keeps the ways to all members, and finds members that nobody named through etcd's own list.
//!
//! One task, owner of the lines' keepers. It asks who is connected, with a bound and in the background: no renewal waits for
//! it, and a list that cannot be had changes nothing. [`super::roster`] judges the answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::connect::Link;
use super::failure::Failure;
use super::line::{Line, Who};
use super::members::Members;
use super::roster::{Known, Listed, Reach, Roster, Unfit};

/// How often the list is asked for while nothing happens. An operator may replace one member after the other, a dozen
/// seconds each: who knew only those that are gone would lose its turn.
const EVERY: Duration = Duration::from_secs(5);
/// At the least between two looks, whatever happens.
const PAUSE: Duration = Duration::from_secs(1);
/// Members answer from memory.
const BOUND: Duration = Duration::from_secs(1);
/// So many URLs that are of no use are told; and no more of each than this.
const TOLD: usize = 32;
const SHOWN: usize = 80;

struct Discovery {
    members: Arc<Members>,
    roster: Roster,
    keepers: JoinSet<()>,
    reach: Reach,
    /// That the list cannot be had was told.
    refusal_told: bool,
    /// That nobody else is known was told.
    alone_told: bool,
    unfit_told: BTreeSet<String>,
}

/// Keeps and finds members, for ever.
pub(super) async fn run(members: Arc<Members>) {
    let reach = members.reach();
    let (roster, keepers, unfit_told) = (Roster::new(reach.clone()), JoinSet::new(), BTreeSet::new());
    let mut this = Discovery { members, roster, keepers, reach, refusal_told: false, alone_told: false, unfit_told };
    for (_, line) in this.members.lines() {
        this.keep(line);
    }
    loop {
        // Also when a connection came about or broke, or the config changed.
        let _quiet = timeout(EVERY, this.members.news()).await;
        this.follow();
        if this.members.discovers() {
            this.look().await;
        }
        while this.keepers.try_join_next().is_some() {}
        sleep(PAUSE).await;
    }
}

impl Discovery {
    /// What the config wants of the members now.
    fn follow(&mut self) {
        let reach = self.members.reach();
        if reach != self.reach {
            self.roster.reach(reach.clone());
            self.reach = reach;
        }
        for line in self.members.take_unkept() {
            self.keep(line);
        }
        self.members.retire_unwanted();
    }

    fn keep(&mut self, line: Arc<Line>) {
        self.keepers.spawn(Arc::clone(&self.members).keep(line));
    }

    /// Asks for the list, the best member first; and those who they are whom nobody asked yet.
    async fn look(&mut self) {
        let (mut list, mut refused) = (None, None);
        for place in self.members.in_order() {
            let line = self.members.line(place);
            let Some(link) = line.link() else { continue };
            if list.is_some() && line.is_known_over(&link) {
                continue;
            }
            match ask(&link).await {
                Ok((who, listed)) => {
                    line.is(who, &link);
                    list = list.or(Some((who, listed)));
                }
                Err(failure) => {
                    line.refused(&failure);
                    refused = Some((line, failure));
                }
            }
        }
        match (list, refused) {
            (Some((who, listed)), _) => {
                self.refusal_told = false;
                self.tell_unfit(&listed);
                self.take(who.cluster, &listed);
                self.tell_alone(&listed);
            }
            (None, Some((line, failure))) => self.tell_refused(&line, &failure),
            (None, None) => {}
        }
    }

    fn take(&mut self, cluster: u64, listed: &[Listed]) {
        let lines = self.members.lines();
        let known = lines.iter().map(|(place, line)| Known {
            place: *place,
            url: line.url.clone(),
            configured: line.is_configured(),
            member: line.member(),
        });
        let changes = self.roster.answered(cluster, listed, &known.collect::<Vec<_>>(), Instant::now());
        for place in changes.retire {
            tracing::info!(member = %self.members.line(place).url, "no member of etcd's cluster any more, or one we know");
            self.members.retire(place);
        }
        for (id, url) in changes.add {
            match self.members.add(&url, Who { cluster, member: id }) {
                Some(line) => {
                    tracing::info!(member = %url, id = %format_args!("{id:x}"), "found a member in etcd's list");
                    self.keep(line);
                }
                None => tracing::debug!(member = %url, "a member too many"),
            }
        }
    }

    /// Told once: this node stands and falls with one member, though there are others.
    fn tell_alone(&mut self, listed: &[Listed]) {
        let serve = listed.iter().filter(|m| !m.learner).count();
        if serve < 2 || self.members.count() > 1 || std::mem::replace(&mut self.alone_told, true) {
            return;
        }
        tracing::warn!("{}", alone(serve));
    }

    /// Told once: things go on with those that are known.
    fn tell_refused(&mut self, line: &Line, failure: &Failure) {
        if std::mem::replace(&mut self.refusal_told, true) {
            tracing::debug!(member = %line.url, "etcd's member list cannot be had: {failure}");
        } else {
            tracing::info!(member = %line.url, "etcd's member list cannot be had, so nobody new is found: {failure}");
        }
    }

    /// Each once.
    fn tell_unfit(&mut self, listed: &[Listed]) {
        let urls = listed.iter().filter(|m| !m.learner).flat_map(|m| m.urls.iter());
        for url in urls {
            let shown: String = url.chars().take(SHOWN).collect();
            let Err(unfit) = self.reach.usable(url) else { continue };
            if self.unfit_told.len() >= TOLD || !self.unfit_told.insert(shown.clone()) {
                continue;
            }
            match unfit {
                Unfit::OtherTransport => {
                    tracing::info!(url = ?shown, tls = self.reach.tls, "passed over in etcd's list: it is not reached as the endpoints are");
                }
                Unfit::OwnMachine => {
                    tracing::debug!(url = ?shown, "passed over in etcd's list: that would be this machine")
                }
                Unfit::Vip => {
                    tracing::warn!(url = ?shown, "passed over in etcd's list: this is a VIP, which needs etcd first")
                }
                Unfit::Junk => tracing::info!(url = ?shown, "passed over in etcd's list: no address to connect to"),
            }
        }
    }
}

/// `serve`: members that could be asked.
pub(super) fn alone(serve: usize) -> String {
    format!(
        "etcd has {serve} members, but only one can be reached from here: its death costs this node its VIPs. Make the \
         others' --advertise-client-urls reachable, or name them as endpoints"
    )
}

/// Who answers there, and whom it lists.
pub(super) async fn ask(link: &Link) -> Result<(Who, Vec<Listed>), Failure> {
    let answer = timeout(BOUND, link.cluster.clone().member_list()).await.map_err(|_| Failure::Silent(BOUND))??;
    let header = answer.header().ok_or_else(|| Failure::Broken("an answer without a header".into()))?;
    let who = Who { cluster: header.cluster_id(), member: header.member_id() };
    let listed =
        answer.members().iter().map(|m| Listed { id: m.id(), learner: m.is_learner(), urls: m.client_urls().to_vec() });
    Ok((who, listed.collect()))
}
