//! One election, told anything at any time: the bytes are facts and steps of time, and [`judge::Judge`] holds what it
//! orders against what may never happen.
//!
//! What is told need not fit together: reads that go back, watches that lie, renewals in other terms, grants of any TTL,
//! late news, links that come and go. Only what its adapters promise is kept: time does not go back, no lease is granted
//! twice, a fact about a wish is about one that was made, and the kernel's word that an address is off is its own.

mod judge;
mod teller;

use crate::bytes::Bytes;
use teller::Teller;

/// The most facts of one story.
const FACTS_MOST: usize = 300;

/// One story.
pub fn judge(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut teller = Teller::new(&mut bytes);
    for _ in 0..FACTS_MOST {
        if bytes.is_empty() {
            return;
        }
        teller.tell_one(&mut bytes);
    }
}
