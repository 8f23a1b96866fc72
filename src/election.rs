//! The election: facts and the time in, orders out. It is the part that decides; it touches nothing.
//!
//! # The promise
//! **P1 One holder**: no two nodes have the VIP at the same time, through crashes, kills, freezes, partitions, leader
//! changes and stalls. **P2 Prompt**: a planned move costs milliseconds, a lost node one TTL. **P3 No silent holder**:
//! whoever has the turn has the address, or gives the turn up. **P4 Leaves nothing**: however the daemon ends, the
//! address goes, at the latest by the kernel's own clock. P1 comes before the others.
//!
//! # The story
//! 1. A *session* begins with a lease ([`session`]). Every TTL/10 it is renewed, and a linearizable read sent after the
//!    answer proves that the renewal reached the leader: a *counted pair*. Each one moves the *fence*: the moment the
//!    renewal was **sent** + TTL - margin. Past the fence this node must not have any VIP, and the next pair counts only
//!    beside a read of everything: nobody knows what became of etcd meanwhile.
//! 2. For every VIP a [`contender`] *stands*: it creates a key under the lease, if there is a link that can serve (one
//!    that flapped rests first). Create revisions make the *queue* ([`picture`]), as in etcd's own
//!    `concurrency.Election`. Being first in it is the *turn*. A VIP of several addresses (a dual-stack *group*) stands
//!    once and names them all; it stands in the queue of each, beside candidates that name one of them alone, and its
//!    turn is being first in all of them. While it waits for one it gives way to who could serve another.
//! 3. The turn is taken at once if all who stood first during the last TTL ended with their *owner's word* that the
//!    address is off (for every address there is one). Else the network is asked first (three probes), and a fresh
//!    counted pair is waited for. Whoever gives up while he asks at a first claim *passes* the turn on: the next one asks
//!    the same question again, and a stranger who answers is refused by all.
//! 4. The address is put with a lifetime that ends by the fence ([`lifetime`]): the kernel takes it off when nobody else
//!    can. The holder announces it, answers others who claim it, and each counted pair lets it live on.
//! 5. The turn is given up in this order: address off, the *kernel's word* that it is, then the key, with the owner's
//!    word. From the moment its deletion is ordered, a key is dead to its owner.
//! 6. Another config changes the plan while all this goes on (`machine/reconfigure.rs`): a VIP that is taken out is given
//!    up in that order and forgotten; one that changed is taken out, and begins anew when nothing of it is left.
//!
//! # What may never happen
//! - A fence counted from an answer, or moved by an answer alone.
//! - A key given back, or a word said, before the kernel confirmed that the address is off.
//! - A put under a key whose deletion was ordered.
//! - Anything done about a fact before the clock was looked at: after a freeze the fence comes first.
//! - Late news (an older lease, an older wish, an older revision) taken for new.
//!
//! # How it is made
//! [`machine::Election::handle`] takes one [`event::Event`] and the time and returns the [`action::Action`]s it calls for;
//! [`machine::Election::deadline`] says when it wants to be woken. States are read off the facts after each event, so that
//! a lost event cannot wedge them; what this node owns in etcd is known from the watch alone, so that an order whose
//! answer never came needs no special case. All of it is `Clone + Eq + Hash` without clocks, sockets or logs, so that
//! the simulation (`tests/safety`) and the model check (`tests/model`) run the real thing, and transcripts show it to
//! people (`tests/scenarios`).

pub mod action;
pub mod contender;
pub mod event;
pub mod guards;
pub mod lifetime;
pub mod machine;
pub mod picture;
pub mod record;
pub mod session;
pub mod timings;

#[cfg(test)]
#[path = "../tests/model/mod.rs"]
mod model;
#[cfg(test)]
#[path = "../tests/safety/mod.rs"]
mod safety;
#[cfg(test)]
#[path = "../tests/scenarios/mod.rs"]
mod scenarios;
