//! The one cluster that is used. Another one has neither our lease nor our queue: asked for a renewal it would say that the
//! lease is gone, and a daemon that stood there would be first in a queue of its own.
//!
//! Whoever connects first says which it is. Members of another are refused as long as a connection to this one stands, and
//! for a TTL after: by then the fence is past and our lease there has ended. A cluster that took its place is used then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::USUAL_TTL;
use super::trouble::Trouble;

/// Which cluster is used.
#[derive(Clone, Default)]
pub(super) struct Pin(Arc<Mutex<State>>);

struct State {
    used: Option<Used>,
    /// A lease's TTL.
    ttl: Duration,
}

struct Used {
    cluster: u64,
    /// Who said so.
    url: String,
    /// Connections to it that stand.
    connections: usize,
    /// When the last of them ended.
    left: Instant,
}

/// Held by each connection to the cluster that is used.
pub(super) struct Anchor {
    pin: Pin,
    cluster: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { used: None, ttl: USUAL_TTL }
    }
}

impl Pin {
    /// A lease ends so long after its last renewal.
    pub(super) fn learn_ttl(&self, ttl: Duration) {
        self.state().ttl = ttl;
    }

    /// A connection to a member of `cluster` was made.
    ///
    /// # Errors
    /// When another cluster is used.
    pub(super) fn admit(&self, cluster: u64, url: &str) -> Result<Anchor, Trouble> {
        let mut state = self.state();
        let ttl = state.ttl;
        match &mut state.used {
            Some(used) if used.cluster == cluster => used.connections += 1,
            Some(used) if used.connections > 0 || used.left.elapsed() <= ttl => return Err(stranger(used, cluster)),
            used => {
                if let Some(Used { cluster: before, .. }) = used {
                    tracing::warn!(
                        member = url,
                        "another cluster of etcd is there now ({cluster:x}, before {before:x}): it is used from now on"
                    );
                }
                *used = Some(Used { cluster, url: url.to_owned(), connections: 1, left: Instant::now() });
            }
        }
        Ok(Anchor { pin: self.clone(), cluster })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        let mut state = self.pin.state();
        if let Some(used) = state.used.as_mut().filter(|used| used.cluster == self.cluster) {
            used.connections -= 1;
            used.left = Instant::now();
        }
    }
}

fn stranger(used: &Used, cluster: u64) -> Trouble {
    Trouble::lasting(format!(
        "it is of another cluster ({cluster:x}) than {} ({:x}), which is used; all endpoints must be members of one",
        used.url, used.cluster
    ))
}

#[cfg(test)]
mod tests {
    use super::super::trouble::Lasts;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_cluster_is_used_only_a_ttl_after_the_last_connection_to_this_one() {
        let pin = Pin::default();
        pin.learn_ttl(Duration::from_secs(8));
        let (first, second) = (pin.admit(1, "http://a").unwrap(), pin.admit(1, "http://b").unwrap());
        let refused = pin.admit(2, "http://c").err().unwrap();
        assert!(refused.lasts == Lasts::Yes && refused.why.contains("http://a"), "{refused:?}");
        drop(first);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(pin.admit(2, "http://c").is_err(), "one still stands");
        drop(second);
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(pin.admit(2, "http://c").is_err(), "our lease may still be there");
        drop(pin.admit(1, "http://a").unwrap());
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(pin.admit(2, "http://c").is_err(), "it was seen again");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let _now = pin.admit(2, "http://c").unwrap();
        assert!(pin.admit(1, "http://a").is_err(), "what was left is the stranger now");
    }
}
