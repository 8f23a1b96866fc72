//! Which fact raises which count. Names and their table are held together in `tests/metrics`.

use std::net::IpAddr;
use std::time::Duration;

use prometheus_client::encoding::text::encode;

use super::*;
use crate::election::action::{Cause, Note};
use crate::election::event::{Answer, Event, Generation, Header, LeaseId, Pair, ShortRead, VipId};
use crate::node::announce::Counts;
use crate::plan::{Plan, PlannedVip};

const VIP: VipId = VipId(0);

fn plan(ip: [u8; 4]) -> Plan {
    Plan { vips: vec![PlannedVip::for_test(VIP, IpAddr::from(ip))] }
}

fn host() -> Answer {
    Answer::Host("02:00".into())
}

fn counting() -> (Registry, Happened) {
    let mut registry = Registry::with_prefix("vipd");
    let mut happened = Happened::new(&mut registry, Moment::default());
    happened.adopt(&plan([10, 0, 0, 1]));
    (registry, happened)
}

/// What is told and not 0, a line each; of histograms the sum and the count.
fn told(registry: &Registry) -> Vec<String> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let is_told = |line: &&str| !line.starts_with('#') && !line.contains("_bucket") && !line.ends_with([' ', '0']);
    let mut lines: Vec<String> = text.lines().filter(is_told).map(|line| line.replace("vipd_", "")).collect();
    lines.retain(|line| !line.ends_with(" 0.0"));
    lines.sort();
    lines
}

#[test]
fn nothing_happened_and_every_series_is_there() {
    let (registry, _happened) = counting();
    assert!(told(&registry).is_empty());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(
        text.contains("vipd_transitions_total{vip=\"10.0.0.1\",to=\"not_holding\",reason=\"fenced\"} 0\n"),
        "{text}"
    );
}

#[test]
fn a_turn_is_counted_by_how_it_came_and_by_how_it_went() {
    let (registry, mut happened) = counting();
    happened.note(&Note::TurnCame { vip: VIP, at_once: true });
    happened.note(&Note::Took { vip: VIP });
    happened.note(&Note::LetGo { vip: VIP, cause: Cause::Fenced, kept_place: true });
    happened.note(&Note::Took { vip: VIP });
    happened.note(&Note::LetGo { vip: VIP, cause: Cause::Stopping, kept_place: false });
    happened.note(&Note::TurnCame { vip: VIP, at_once: false });
    happened.note(&Note::TookLoudly { vip: VIP, by: host() });
    happened.note(&Note::Took { vip: VIP });
    let of = |to, reason| format!("transitions_total{{vip=\"10.0.0.1\",to=\"{to}\",reason=\"{reason}\"}} 1");
    let mut want = [
        of("holding", "released"),
        of("not_holding", "fenced"),
        of("holding", "resumed"),
        of("not_holding", "stopping"),
        of("holding", "insisted"),
    ];
    want.sort();
    assert_eq!(told(&registry), want);
}

#[test]
fn facts_are_counted_as_they_pass() {
    let (registry, mut happened) = counting();
    let header = Header { cluster: 1, term: 1, revision: 1 };
    let at = Moment::from_millis;
    let read = ShortRead { sent_at: at(1004), header, count: 0, newest: 0 };
    let (lease, ttl) = (LeaseId(1), Duration::from_secs(5));
    let pair = Pair { lease, sent_at: at(1000), answered_at: at(1003), ttl, renewed: header, read };
    happened.event(&Event::PairAnswered(pair));
    happened.pair(at(1000), at(1007));
    happened.event(&Event::Repaired { vip: VIP, generation: Generation(1) });
    happened.event(&Event::Claimed { vip: VIP, by: "02:00".into(), times: 3 });
    happened.note(&Note::SomebodyAnswers { vip: VIP, by: host() });
    happened.note(&Note::SomebodyAnswers { vip: VIP, by: Answer::NotAsked("no socket".into()) });
    happened.note(&Note::SessionEnded { lease: LeaseId(1), cause: Cause::LeaseLost });
    happened.announced(VIP);
    happened.frames(Counts { sent: 2, no_room: 0, failed: 1, too_old: 0 });
    let want = [
        "announcement_frames_total{outcome=\"failed\"} 1",
        "announcement_frames_total{outcome=\"sent\"} 2",
        "announcements_total{vip=\"10.0.0.1\"} 1",
        "conflicts_total{vip=\"10.0.0.1\",kind=\"answered\"} 1",
        "conflicts_total{vip=\"10.0.0.1\",kind=\"claimed\"} 3",
        "keepalive_seconds_count 1",
        "keepalive_seconds_sum 0.003",
        "pair_seconds_count 1",
        "pair_seconds_sum 0.007",
        "repairs_total{vip=\"10.0.0.1\"} 1",
        "sessions_ended_total{reason=\"lease_lost\"} 1",
    ];
    assert_eq!(told(&registry), want);
    assert_eq!(happened.heard_at().load(std::sync::atomic::Ordering::Relaxed), at(1004).as_nanos());
}

#[test]
fn what_is_counted_of_a_vip_goes_on_when_others_come_and_go() {
    let (registry, mut happened) = counting();
    happened.announced(VIP);
    happened.adopt(&plan([10, 0, 0, 1]));
    happened.announced(VIP);
    happened.adopt(&plan([10, 0, 0, 9]));
    happened.announced(VIP);
    let told = told(&registry);
    assert_eq!(told, ["announcements_total{vip=\"10.0.0.1\"} 2", "announcements_total{vip=\"10.0.0.9\"} 1"]);
}
