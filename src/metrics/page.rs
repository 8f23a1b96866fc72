//! How things are, and all that was counted, written down for a scrape. Belongs to whoever answers scrapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{OfCertificate, OfLink, OfVip, Reason, vip_name};
use crate::moment::Moment;
use crate::node::etcd::{Certificate, Tally};
use crate::status::{Here, Session, Status, Vip};

/// What a page says beside what was counted.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// How things are.
    pub status: &'a Status,
    /// What etcd's adapter counted.
    pub tally: &'a Tally,
    /// The certificates in use.
    pub certificates: &'a [Certificate],
    /// Now.
    pub now: Moment,
}

/// The registry, and what is filled in for each scrape.
#[derive(Debug)]
pub struct Page {
    registry: Registry,
    heard: Arc<AtomicI64>,
    holder: Family<OfVip, Gauge>,
    candidates: Family<OfVip, Gauge>,
    link_up: Family<OfLink, Gauge>,
    fence_left: Gauge<f64, AtomicU64>,
    ttl: Gauge<f64, AtomicU64>,
    quorum_age: Gauge<f64, AtomicU64>,
    certificates: Family<OfCertificate, Gauge>,
    keepalive_failures: Family<Reason, Counter>,
    watch_breaks: Family<Reason, Counter>,
}

impl Page {
    pub(super) fn new(registry: Registry, heard: Arc<AtomicI64>) -> Self {
        let mut this = Self {
            registry,
            heard,
            holder: Family::default(),
            candidates: Family::default(),
            link_up: Family::default(),
            fence_left: Gauge::default(),
            ttl: Gauge::default(),
            quorum_age: Gauge::default(),
            certificates: Family::default(),
            keepalive_failures: Family::default(),
            watch_breaks: Family::default(),
        };
        this.register();
        this
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("holder", "Whether this node holds the VIP", self.holder.clone());
        to.register("candidates", "How many stand in the VIP's queue, as this node sees it", self.candidates.clone());
        to.register("link_up", "Whether the VIP's link can serve", self.link_up.clone());
        let help = "How long this node may hold VIPs if etcd is silent from now on; 0: past the fence, or no lease";
        to.register_with_unit("fence_left", help, Unit::Seconds, self.fence_left.clone());
        to.register_with_unit("lease_ttl", "The lease's time to live; 0: no lease", Unit::Seconds, self.ttl.clone());
        let help = "Since etcd's quorum was last known to answer this node, or since the daemon's start";
        to.register_with_unit("quorum_answer_age", help, Unit::Seconds, self.quorum_age.clone());
        let help = "When a certificate ends, since 1970";
        to.register_with_unit("certificate_expiry_timestamp", help, Unit::Seconds, self.certificates.clone());
        let help = "Renewals that went wrong at one member of etcd";
        to.register("keepalive_failures", help, self.keepalive_failures.clone());
        to.register("watch_breaks", "Watches of etcd that broke and were opened anew", self.watch_breaks.clone());
    }

    /// All of it, in the OpenMetrics form.
    ///
    /// # Errors
    /// None that are known: a text takes whatever is written to it.
    pub fn text(&mut self, facts: &Facts<'_>) -> Result<String, std::fmt::Error> {
        self.fill_in(facts);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn fill_in(&self, facts: &Facts<'_>) {
        self.holder.clear();
        self.candidates.clear();
        self.link_up.clear();
        facts.status.vips.iter().for_each(|vip| self.vip(vip));
        self.session(&facts.status.etcd);
        let heard = Moment::from_nanos(self.heard.load(Relaxed));
        self.quorum_age.set(facts.now.since(heard).as_secs_f64());
        self.certificates.clear();
        for certificate in facts.certificates {
            let Certificate { kind, of, ends } = certificate.clone();
            let gauge = self.certificates.get_or_create_owned(&OfCertificate { kind, of });
            gauge.set(i64::try_from(ends.as_secs()).unwrap_or(i64::MAX));
        }
        let counted = |family: &Family<Reason, Counter>, counts: &[(&'static str, &AtomicU64)]| {
            for (reason, count) in counts {
                family.get_or_create_owned(&Reason { reason }).inner().store(count.load(Relaxed), Relaxed);
            }
        };
        counted(&self.keepalive_failures, &facts.tally.renewals());
        counted(&self.watch_breaks, &facts.tally.watches());
    }

    fn vip(&self, vip: &Vip) {
        let of = OfVip { vip: vip_name(&vip.addresses) };
        self.holder.get_or_create_owned(&of).set((vip.here == Here::Holds).into());
        let standing = i64::try_from(vip.queue.len()).unwrap_or(i64::MAX);
        self.candidates.get_or_create_owned(&of).set(standing);
        self.link_up.get_or_create_owned(&OfLink { vip: of.vip, link: vip.link.clone() }).set(vip.link_up.into());
    }

    fn session(&self, session: &Session) {
        let (fence_left, ttl) = match session {
            Session::Live { ttl_ms, fence_left_ms, .. } => (*fence_left_ms, *ttl_ms),
            Session::Silent { .. } | Session::Asking => (0, 0),
        };
        self.fence_left.set(seconds(fence_left));
        self.ttl.set(seconds(ttl));
    }
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}
