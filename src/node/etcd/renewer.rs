//! Renewals through one member: its keepalive stream, one request in flight on it at most, and the read that proves it.
//!
//! The time is taken before anything is sent; whoever cuts a pair short must drop the stream ([`Renewer::give_up`]),
//! because answers carry no number.

use etcd_client::{KvClient, LeaseKeepAliveStream, LeaseKeeper};
use std::time::Duration;

use super::Shared;
use super::answer;
use super::connect::Link;
use super::failure::Failure;
use crate::election::event::{LeaseId, Pair};
use crate::node::clock;

/// Renewals through one member.
pub(super) struct Renewer {
    /// Its place among the members.
    pub(super) member: usize,
    open: Option<Open>,
}

struct Open {
    lease: LeaseId,
    /// The connection that it is a stream of.
    link: u32,
    requests: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// Over the same connection.
    kv: KvClient,
}

impl Renewer {
    pub(super) fn new(member: usize) -> Self {
        Self { member, open: None }
    }

    /// Renews and reads. Unbounded: the caller bounds it and then calls [`Self::give_up`].
    pub(super) async fn pair(&mut self, link: &Link, shared: &Shared, lease: LeaseId) -> Result<Pair, Failure> {
        let known = self.open.as_ref().is_some_and(|o| o.lease == lease);
        let result = self.pair_once(link, shared, lease).await;
        match result {
            // A stream that stood idle may have ended long ago; that says nothing about the member now.
            Err(Failure::Broken(_)) if known => self.pair_once(link, shared, lease).await,
            result => result,
        }
    }

    /// Whether its stream, if it has one, is one of this connection.
    pub(super) fn is_over(&self, link: Option<&Link>) -> bool {
        self.open.as_ref().is_none_or(|open| link.is_some_and(|link| link.id == open.link))
    }

    /// Ends the stream.
    pub(super) fn give_up(&mut self) {
        self.open = None;
    }

    async fn pair_once(&mut self, link: &Link, shared: &Shared, lease: LeaseId) -> Result<Pair, Failure> {
        let mut open = match self.open.take() {
            // A connection that was replaced is left.
            Some(open) if open.lease == lease && open.link == link.id => open,
            Some(_) | None => Open::new(link, lease).await?,
        };
        let pair = open.pair(shared).await?;
        self.open = Some(open);
        Ok(pair)
    }
}

impl Open {
    /// Opens the stream. That sends a renewal of its own, whose answer the library keeps: one round trip, once.
    async fn new(link: &Link, lease: LeaseId) -> Result<Self, Failure> {
        let (requests, answers) = link.lease.clone().keep_alive(lease.0).await?;
        Ok(Self { lease, link: link.id, requests, answers, kv: link.kv.clone() })
    }

    async fn pair(&mut self, shared: &Shared) -> Result<Pair, Failure> {
        let sent_at = clock::now();
        self.requests.keep_alive().await?;
        let answer = self.answers.message().await?.ok_or_else(|| Failure::Broken("the stream ended".into()))?;
        let answered_at = clock::now();
        if answer.id() != self.lease.0 {
            return Err(Failure::Broken("an answer about another lease".into()));
        }
        let Ok(seconds @ 1..) = u64::try_from(answer.ttl()) else { return Err(Failure::LeaseNotFound) };
        Ok(Pair {
            lease: self.lease,
            sent_at,
            answered_at,
            ttl: Duration::from_secs(seconds),
            renewed: answer::header(answer.header())?,
            read: answer::read_short(&mut self.kv, &shared.prefix).await?,
        })
    }
}
