//! What counts as a fault, and for how long.

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::registry::Registry;

use super::*;

const VIP: VipId = VipId(0);
const FENCE: i64 = 60_000;

struct Desk {
    audit: Audit,
    claims: Claims,
    there: BTreeSet<IpAddr>,
}

fn at(ms: i64) -> Moment {
    Moment::from_millis(ms)
}

fn ips() -> [IpAddr; 2] {
    [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]
}

impl Desk {
    fn new() -> Self {
        let audit = Audit::new(&mut Registry::default());
        let claims = vec![Claim { vip: VIP, addresses: ips().to_vec(), holds: false, until: None }];
        Self { audit, claims, there: BTreeSet::new() }
    }

    fn holding() -> Self {
        let mut desk = Self::new();
        (desk.claims[0].holds, desk.claims[0].until) = (true, Some(at(FENCE)));
        desk.there = ips().into();
        desk
    }

    fn look(&mut self, ms: i64) -> (Vec<Fault>, Option<Moment>) {
        let (begun, next) = self.audit.look(&self.claims, &self.there, at(ms));
        (begun.into_iter().map(|b| b.fault).collect(), next)
    }

    /// Gauge and seconds: without an address, without a lease.
    fn told(&self) -> [(i64, f64); 2] {
        let told = |kind: &Kind| kind.vips.values().next().map_or((-1, 0.0), |one| (one.now.get(), one.seconds.get()));
        [told(&self.audit.without_address), told(&self.audit.without_lease)]
    }
}

const NONE: [(i64, f64); 2] = [(0, 0.0), (0, 0.0)];

#[test]
fn who_holds_and_has_it_and_who_does_not_and_has_it_not_are_both_well() {
    for mut desk in [Desk::holding(), Desk::new()] {
        for ms in (0..FENCE - 1000).step_by(500) {
            assert!(desk.look(ms).0.is_empty());
        }
        assert_eq!(desk.told(), NONE);
    }
}

#[test]
fn a_holder_that_lacks_one_address_of_two_for_a_second_is_a_fault_and_its_time_is_counted() {
    let mut desk = Desk::holding();
    desk.there.remove(&ips()[1]);
    assert_eq!(desk.look(10_000), (vec![], Some(at(11_000))), "looked at again when it would be one");
    assert_eq!((desk.look(10_999).0, desk.told()), (vec![], NONE));
    assert_eq!(desk.look(11_000), (vec![Fault::HolderWithoutAddress], Some(at(12_000))));
    assert_eq!(desk.told()[0], (1, 0.0));
    assert!(desk.look(12_000).0.is_empty(), "told once");
    desk.there = ips().into();
    desk.look(12_500);
    assert_eq!(desk.told(), [(0, 1.5), (0, 0.0)], "it is over, and was");
    desk.there.clear();
    desk.look(20_000);
    assert_eq!(desk.look(21_000).0, [Fault::HolderWithoutAddress], "and told again");
}

#[test]
fn an_address_put_back_within_the_second_is_none() {
    let mut desk = Desk::holding();
    for round in 0..10 {
        desk.there.clear();
        desk.look(round * 1000);
        desk.there = ips().into();
        desk.look(round * 1000 + 900);
    }
    assert_eq!(desk.told(), NONE);
}

#[test]
fn near_the_fence_the_address_may_be_missing() {
    let mut desk = Desk::holding();
    desk.there.clear();
    desk.look(FENCE - 1500);
    assert_eq!(desk.look(FENCE - 1000).0, [], "nothing is put from here on");
    assert_eq!(desk.look(FENCE + 5000).0, []);
    assert_eq!(desk.told(), NONE);
}

#[test]
fn an_address_on_a_node_that_has_no_turn_is_a_fault_once_the_kernel_had_its_time() {
    let mut desk = Desk::new();
    desk.there.insert(ips()[0]);
    assert_eq!(desk.look(1000), (vec![], Some(at(2150))));
    assert_eq!(desk.look(2150).0, [Fault::AddressWithoutLease]);
    assert_eq!(desk.told(), [(0, 0.0), (1, 0.0)]);
    desk.look(3150);
    desk.there.clear();
    desk.look(3400);
    assert_eq!(desk.told(), [(0, 0.0), (0, 1.25)]);
}

#[test]
fn an_address_past_the_fence_is_a_fault_although_the_election_still_says_that_it_holds() {
    let mut desk = Desk::holding();
    assert_eq!(desk.look(FENCE - 1).1, Some(at(FENCE)), "looked at when the fence comes");
    assert_eq!(desk.look(FENCE), (vec![], Some(at(FENCE + 1150))));
    assert_eq!(desk.look(FENCE + 1150).0, [Fault::AddressWithoutLease]);
    desk.claims[0].until = Some(at(FENCE + 9000));
    desk.look(FENCE + 1200);
    assert_eq!(desk.told()[1].0, 0, "the next counted pair ends it");
}

#[test]
fn the_way_on_and_the_way_off_are_none() {
    let mut desk = Desk::new();
    desk.look(0);
    // Taking: the turn is there before the address, and the address before it counts as held.
    desk.claims[0].until = Some(at(FENCE));
    desk.look(1);
    desk.there = ips().into();
    desk.look(3000);
    desk.claims[0].holds = true;
    desk.look(5000);
    // Its session is gone: no right from that moment on, and the keeper takes it off.
    (desk.claims[0].holds, desk.claims[0].until) = (false, None);
    desk.look(9000);
    desk.there.clear();
    desk.look(10_000);
    assert_eq!(desk.told(), NONE);
}

#[test]
fn a_vip_that_is_removed_takes_its_series_along() {
    let mut desk = Desk::new();
    desk.there.insert(ips()[0]);
    desk.look(0);
    desk.look(5000);
    // The same address under another number goes on, another one under the same number begins anew.
    desk.claims[0].vip = VipId(7);
    desk.look(5500);
    desk.look(6700);
    assert_eq!(desk.told()[1].0, 1);
    desk.claims[0].addresses = vec![IpAddr::from([10, 0, 0, 9])];
    desk.look(6800);
    assert_eq!(desk.told(), NONE);
    desk.claims.clear();
    desk.look(7000);
    assert!(desk.audit.without_lease.now.is_empty() && desk.audit.without_lease.seconds.is_empty());
}
