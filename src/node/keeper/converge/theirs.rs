//! What others do to an address that was put here, other than taking it off: they change it, or put their own in its place.
//!
//! Whoever gives it another life (`ip address change ... valid_lft forever`) takes its mark off as well, so that it looks
//! like theirs. But the kernel keeps when an address was put, whatever is changed about it later.

use tracing::warn;

use super::{Held, Kept};
use crate::election::event::Outcome;
use crate::node::kernel::Seen;
use crate::node::netlink::Address;

impl Kept {
    /// Counts what was put here as ours, although it does not look like it any more: it is put right. With the end that
    /// somebody gave it, it might outlive the lease; and whoever did it may do it again, so it counts as a repair.
    pub(super) fn know_again(&mut self, seen: &mut Seen) {
        let (known, foreign) = std::mem::take(&mut seen.foreign).into_iter().partition(|a| self.is_known(a));
        seen.foreign = foreign;
        for a in &known {
            warn!(vip = %a.ip, address = %a, "somebody changed an address of ours: it is put right");
            self.robbed |= self.said == Some(Outcome::Present);
            if let Some(held) = self.held.get_mut(&a.ip) {
                held.end = None;
            }
        }
        seen.ours.extend(known);
        for a in &seen.ours {
            if let Some(held) = self.held.get_mut(&a.ip).filter(|held| is_place_of(held, a)) {
                held.created = Some(a.created);
            }
        }
    }

    /// Forgets what was put here and somebody replaced by his own: that is not ours to take off. The kernel has an address
    /// with a host mask once on a link.
    pub(super) fn forget_replaced(&mut self, seen: &Seen) {
        for a in &seen.foreign {
            let replaced = |held: &Held| is_place_of(held, a) && held.end.is_some() && held.created.is_some();
            if self.held.get(&a.ip).is_some_and(replaced) {
                self.held.remove(&a.ip);
            }
        }
    }

    fn is_known(&self, a: &Address) -> bool {
        self.held.get(&a.ip).is_some_and(|held| is_place_of(held, a) && held.created == Some(a.created))
    }
}

/// Whether an address is where this one was put.
fn is_place_of(held: &Held, a: &Address) -> bool {
    held.link == a.link && a.is_host()
}
