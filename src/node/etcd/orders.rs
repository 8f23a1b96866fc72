//! Stand, write the node's record, step back, revoke: each one transaction or two, each guarded, each bounded.
//!
//! Writes may be carried out although their answer never came, also later. All of them stay right then: they are
//! guarded by create revision, or say the same again.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use serde::Serialize;

use super::Shared;
use super::connect::Link;
use super::failure::Failure;
use super::members::Bound;
use crate::election::event::{Event, LeaseId};
use crate::election::record::{self, CandidateRecord, Key, NodeRecord};
use crate::node::guards::{self, Guard};

/// One commit, on a disk that may be slow.
const BOUND: Bound = Bound::each(Duration::from_secs(1));
/// The member asked first, and one more.
const TRIES: usize = 2;
/// What etcd says under the alarm NOSPACE to everything that would add to it.
const FULL: &str = "database space exceeded";
/// Nobody else repeats a revocation; without it the lease's keys stay for a TTL.
const REVOKE_TRIES: usize = 3;

/// Creates the candidate key if it is absent.
pub(super) async fn stand(shared: &Shared, key: Key, lease: LeaseId, record: &CandidateRecord) {
    let absent = Compare::create_revision(key.0.clone(), CompareOp::Equal, 0);
    let txn = Txn::new().when(if_on(Guard::StandIfAbsent, absent)).and_then([put(key.0, record, lease)]);
    commit(shared, "stand", lease, txn).await;
}

/// Writes this node's record.
pub(super) async fn write_record(shared: &Shared, lease: LeaseId, record: &NodeRecord) {
    commit(shared, "write the node's record", lease, Txn::new().and_then([put_node(shared, lease, record)])).await;
}

/// If the key is still ours: deletes it and says the owner's word, in one transaction. An etcd that is full takes no
/// word but still deletes: without the key the next holder probes, which costs it 0.1 s; with it, it waits a TTL.
pub(super) async fn step_back(shared: &Shared, key: Key, create: i64, lease: LeaseId, record: &NodeRecord) {
    let ours = Compare::create_revision(key.0.clone(), CompareOp::Equal, create);
    let if_ours = Txn::new().when(if_on(Guard::StepBackRevision, ours));
    let delete = TxnOp::delete(key.0, None);
    let both = if_ours.clone().and_then([delete.clone(), put_node(shared, lease, record)]);
    match attempt(shared, lease, both).await {
        Ok(()) => {}
        Err(failure) => {
            shared.tell_failed("step back", &failure);
            if matches!(&failure, Failure::Refused(why) if why.contains(FULL)) {
                commit(shared, "step back without a word", lease, if_ours.and_then([delete])).await;
            }
        }
    }
}

/// Says the owner's word, if there is one, and revokes the lease; reports it done or given up. Once at a time.
pub(super) fn spawn_revoke(shared: Arc<Shared>, lease: LeaseId, record: Option<NodeRecord>) {
    if !shared.revoking.lock().unwrap_or_else(PoisonError::into_inner).insert(lease) {
        return;
    }
    tokio::spawn(async move {
        if let Err(failure) = say_and_revoke(&shared, lease, record.as_ref()).await {
            tracing::warn!(%lease, "the lease could not be revoked and will end by itself: {failure}");
        }
        shared.revoking.lock().unwrap_or_else(PoisonError::into_inner).remove(&lease);
        shared.report(Event::LeaseRevoked { lease }).await;
    });
}

/// Says the owner's word and revokes the lease. A lease that is not there is as good as revoked.
pub(super) async fn say_and_revoke(
    shared: &Shared,
    lease: LeaseId,
    record: Option<&NodeRecord>,
) -> Result<(), Failure> {
    if let Some(record) = record {
        let txn = Txn::new().and_then([put_node(shared, lease, record)]);
        match shared.members.ask_in_turn(TRIES, BOUND, |link| write(link, txn.clone())).await {
            Ok(()) => {}
            Err(Failure::LeaseNotFound) => return Ok(()),
            // Without the word the next holder probes, which costs it 0.1 s; without the revocation it waits a TTL.
            Err(failure) => shared.tell_failed("say the owner's word", &failure),
        }
    }
    match shared.members.ask_in_turn(REVOKE_TRIES, BOUND, |link| revoke(link, lease)).await {
        Ok(()) | Err(Failure::LeaseNotFound) => Ok(()),
        Err(failure) => Err(failure),
    }
}

async fn commit(shared: &Shared, order: &str, lease: LeaseId, txn: Txn) {
    if let Err(failure) = attempt(shared, lease, txn).await {
        shared.tell_failed(order, &failure);
    }
}

/// Writes; that the lease is gone is no failure but news.
async fn attempt(shared: &Shared, lease: LeaseId, txn: Txn) -> Result<(), Failure> {
    match shared.members.ask_in_turn(TRIES, BOUND, |link| write(link, txn.clone())).await {
        Err(Failure::LeaseNotFound) => {
            shared.report(Event::LeaseLost { lease }).await;
            Ok(())
        }
        answer => answer,
    }
}

fn if_on(guard: Guard, compare: Compare) -> Vec<Compare> {
    Vec::from_iter(guards::on(guard).then_some(compare))
}

/// Whether the transaction's guard held is not reported: the watch tells what became of the keys.
async fn write(link: Arc<Link>, txn: Txn) -> Result<(), Failure> {
    link.kv.clone().txn(txn).await?;
    Ok(())
}

async fn revoke(link: Arc<Link>, lease: LeaseId) -> Result<(), Failure> {
    link.lease.clone().revoke(lease.0).await?;
    Ok(())
}

fn put_node(shared: &Shared, lease: LeaseId, record: &NodeRecord) -> TxnOp {
    put(record::node_key(&shared.prefix, lease).0, record, lease)
}

fn put(key: Vec<u8>, value: &impl Serialize, lease: LeaseId) -> TxnOp {
    let json = serde_json::to_vec(value).expect("records have text keys only, and nothing that can fail");
    TxnOp::put(key, json, Some(PutOptions::new().with_lease(lease.0)))
}
