//! Taking one VIP off, with the kernel's word.

use super::{Kept, RETRY};
use crate::election::event::{Event, Outcome};
use crate::node::clock::now;
use crate::node::guards::{self, Guard};
use crate::node::kernel::{Kernel, chain};
use crate::node::netlink::host_prefix;

/// How often what a look still finds is taken off before it waits for [`RETRY`].
const ROUNDS: usize = 3;

impl Kept {
    /// Makes the kernel have none of the VIP's addresses of ours; `Absent` is said only with its word.
    pub(super) async fn clear(&mut self, kernel: &mut Kernel, events: &mut Vec<Event>) {
        if !guards::on(Guard::KernelsWord) && self.said != Some(Outcome::Absent) {
            self.next = Some(now());
            return self.say(Outcome::Absent, events);
        }
        let gone = self.sweep(kernel).await;
        self.next = (!gone).then(|| now() + RETRY);
        if gone {
            self.say(Outcome::Absent, events);
        }
    }

    /// The wish cannot be carried out: nothing of it may stay.
    pub(super) async fn fail(&mut self, kernel: &mut Kernel, mut cause: String, events: &mut Vec<Event>) {
        if !self.sweep(kernel).await {
            cause.push_str("; and the kernel does not confirm that nothing of it is left");
        }
        self.say(Outcome::Failed(cause), events);
    }

    /// Takes off what was put, then what a look finds, until a look finds nothing. Whether that is the kernel's word:
    /// every put that was made, or may have been, is acknowledged to be gone, and the look does not show it.
    pub(super) async fn sweep(&mut self, kernel: &mut Kernel) -> bool {
        // Without a look before it: this is the way of every planned move, and clients wait.
        for (ip, held) in self.held.clone() {
            match kernel.take_off(held.link, ip, host_prefix(ip)).await {
                Ok(()) => drop(self.held.remove(&ip)),
                Err(e) => self.complain(format!("cannot take {ip} off: {}", chain(&e))),
            }
        }
        for _ in 0..ROUNDS {
            let seen = match kernel.look(&self.vip.addresses).await {
                Ok(seen) => seen,
                Err(e) => {
                    self.complain(format!("cannot look whether the VIP is off: {}", chain(&e)));
                    return false;
                }
            };
            self.unseen = false;
            if seen.ours.is_empty() {
                return self.held.is_empty();
            }
            for a in seen.ours {
                if let Err(e) = kernel.take_off(a.link, a.ip, a.prefix).await {
                    self.complain(format!("cannot take {a} off: {}", chain(&e)));
                }
            }
        }
        false
    }
}
