//! Two or three elections over one small etcd. The bytes decide what happens next: who is told what and when, what is
//! lost or carried out twice, how time goes, who is cut off, frozen, killed, and what the kernels do.
//!
//! Judged is the promise itself: no address on two nodes. As long as nobody meddles with etcd's keys, every put must
//! also be founded: gone before its lease is, its candidate first. And in some worlds, when all is well again, exactly
//! one node has the VIP.
//!
//! The same idea as `tests/safety`, with coverage in place of chance, and much smaller: here time passes only when the
//! bytes say so, so that everything may happen between any two facts.

mod etcd;
mod kernel;
mod node;
mod wire;
mod world;

use crate::bytes::Bytes;
use world::World;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;
const TTL: i64 = 5 * SECOND;
/// The most steps of one world.
const STEPS_MOST: usize = 200;

/// One world.
pub fn judge(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut world = World::new(bytes.byte());
    for _ in 0..STEPS_MOST {
        if bytes.is_empty() {
            break;
        }
        world.step(&mut bytes);
    }
    world.end();
}
