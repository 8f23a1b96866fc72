//! What a list changes, also when it is odd.

use super::*;

const OURS: u64 = 7;

fn listed(id: u64, urls: &[&str]) -> Listed {
    Listed { id, learner: false, urls: urls.iter().map(|url| (*url).to_owned()).collect() }
}

fn reach(tls: bool) -> Reach {
    Reach { tls, vips: vec!["10.0.0.100".parse().unwrap()] }
}

fn three() -> [Listed; 3] {
    [listed(1, &["http://10.0.0.1:2379"]), listed(2, &["http://10.0.0.2:2379"]), listed(3, &["http://10.0.0.3:2379"])]
}

/// The default endpoint, and who answers there.
fn home(member: Option<u64>) -> Known {
    Known { place: 0, url: "http://127.0.0.1:2379".into(), configured: true, member }
}

fn found(place: usize, n: u64) -> Known {
    Known { place, url: format!("http://10.0.0.{n}:2379"), configured: false, member: Some(n) }
}

fn urls(changes: &Changes) -> Vec<&str> {
    changes.add.iter().map(|(_, url)| url.as_str()).collect()
}

#[test]
fn the_others_are_added_and_the_local_member_is_not_added_again_by_its_other_name() {
    let mut roster = Roster::new(reach(false));
    let changes = roster.answered(OURS, &three(), &[home(Some(1))], Instant::now());
    assert_eq!(changes.add, [(2, "http://10.0.0.2:2379".into()), (3, "http://10.0.0.3:2379".into())]);
    let known = [home(Some(1)), found(1, 2), found(2, 3)];
    assert_eq!(roster.answered(OURS, &three(), &known, Instant::now()), Changes::default());
}

#[test]
fn a_configured_endpoint_is_known_by_its_url_however_it_is_written() {
    let mut roster = Roster::new(reach(false));
    let configured = |place, url: &str| Known { place, url: url.into(), configured: true, member: None };
    let known = [configured(0, "http://[FD00:0::1]:2379"), configured(1, "http://ETCD-2:2379")];
    let list = [listed(1, &["http://[fd00::1]:2379/"]), listed(2, &["http://10.0.0.2:2379", "http://etcd-2:2379"])];
    assert_eq!(roster.answered(OURS, &list, &known, Instant::now()), Changes::default());
}

#[test]
fn a_found_member_that_turns_out_to_be_a_configured_one_is_retired_at_once() {
    let mut roster = Roster::new(reach(false));
    let known = [home(Some(1)), found(1, 1), found(2, 2), found(3, 3)];
    assert_eq!(roster.answered(OURS, &three(), &known, Instant::now()).retire, [1]);
}

#[test]
fn learners_members_not_started_and_those_that_would_be_ourselves_are_passed_over() {
    let mut roster = Roster::new(reach(false));
    let learner = Listed { learner: true, ..listed(4, &["http://10.0.0.4:2379"]) };
    let mut list = vec![learner, listed(5, &[])];
    let own = ["127.0.0.1", "[::1]", "0.0.0.0", "[::]", "localhost", "x.localhost", "[::ffff:127.0.0.1]"];
    for (id, host) in (6..).zip(own) {
        list.push(listed(id, &[&format!("http://{host}:2379")]));
    }
    list.push(listed(20, &["http://127.0.0.1:2379", "http://10.0.0.20:2379"]));
    let changes = roster.answered(OURS, &list, &[home(None)], Instant::now());
    assert_eq!(urls(&changes), ["http://10.0.0.20:2379"]);
}

#[test]
fn never_from_tls_to_plain_nor_the_other_way() {
    assert_eq!(reach(true).usable("http://10.0.0.1:2379"), Err(Unfit::OtherTransport));
    assert_eq!(reach(true).usable("https://10.0.0.100:2379"), Err(Unfit::Vip));
    assert_eq!(reach(false).usable("http://[::ffff:10.0.0.100]:2379"), Err(Unfit::Vip));
    assert_eq!(reach(false).usable("https://10.0.0.1:2379"), Err(Unfit::OtherTransport));
    assert_eq!(reach(true).usable("HTTPS://Cp-1:2379"), Ok("https://cp-1:2379".into()));
}

#[test]
fn junk_is_no_url() {
    let long = format!("http://{}:2379", "a".repeat(100_000));
    for url in [
        "",
        "://",
        "http://",
        "http://:2379",
        "http://h",
        "http://h:",
        "http://h:0",
        "http://h:65536",
        "http://h:+1",
        "http://u:p@h:1",
        "http://h:1/x",
        "http://h:1?x",
        "http://a..b:1",
        "http://10.0.0.300:1",
        "http://[x]:1",
        "http://[fe80::1]:1",
        "http://[ff02::1]:1",
        "http://224.0.0.1:1",
        "http://h\n:1",
        "http://h:1\u{0}",
        "unix:///run/etcd.sock",
        "ftp://h:1",
        "é",
        &long,
    ] {
        assert_eq!(reach(false).usable(url), Err(Unfit::Junk), "{:.40}", url);
    }
}

#[test]
fn who_left_the_list_is_retired_after_a_while_and_a_configured_one_never() {
    let mut roster = Roster::new(reach(false));
    let start = Instant::now();
    let known = [Known { url: "http://10.0.0.9:2379".into(), ..home(Some(9)) }, found(1, 2), found(2, 3)];
    let left = [listed(2, &["http://10.0.0.2:2379"])];
    let retired = |roster: &mut Roster, list: &[Listed], after: u64| {
        roster.answered(OURS, list, &known, start + Duration::from_secs(after)).retire
    };
    assert!(retired(&mut roster, &left, 0).is_empty());
    assert!(retired(&mut roster, &left, 90).is_empty(), "twice");
    assert!(retired(&mut roster, &three(), 91).is_empty(), "it was there again");
    assert!(retired(&mut roster, &left, 100).is_empty());
    assert!(retired(&mut roster, &left, 101).is_empty());
    assert!(retired(&mut roster, &left, 102).is_empty(), "soon after");
    assert_eq!(retired(&mut roster, &left, 160), [2]);
}

#[test]
fn an_empty_list_or_one_without_end_says_nothing() {
    let mut roster = Roster::new(reach(false));
    let known = [home(Some(1)), found(1, 2)];
    let many: Vec<Listed> = (10..10_010).map(|id| listed(id, &[&format!("http://h{id}:1")])).collect();
    for after in [0, 60, 120, 180, 240] {
        let now = Instant::now() + Duration::from_secs(after);
        assert_eq!(roster.answered(OURS, &[], &known, now), Changes::default());
        assert_eq!(roster.answered(OURS, &many, &known, now), Changes::default());
        assert_eq!(roster.answered(0, &three(), &known, now), Changes::default());
    }
}

#[test]
fn another_cluster_adds_nobody_until_it_is_there_for_good() {
    let mut roster = Roster::new(reach(false));
    let start = Instant::now();
    let known = [home(Some(1)), found(1, 2), found(2, 3)];
    let other = [listed(81, &["http://10.0.0.81:2379"])];
    let mut at =
        |cluster, after, list: &[Listed]| roster.answered(cluster, list, &known, start + Duration::from_secs(after));
    at(OURS, 0, &three());
    assert_eq!(at(8, 10, &other), Changes::default());
    assert_eq!(at(OURS, 80, &three()), Changes::default(), "ours is still there");
    for after in [81, 100, 120] {
        assert_eq!(at(8, after, &other), Changes::default());
    }
    let want = Changes { add: vec![(81, "http://10.0.0.81:2379".into())], retire: vec![1, 2] };
    assert_eq!(at(8, 150, &other), want);
}

/// Whatever comes: no configured one is retired, nobody is added twice, nothing that is unfit is added.
#[test]
fn odd_lists() {
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = move |n: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % n
    };
    // The common ones oftener.
    const SCHEMES: [&str; 6] = ["http://", "http://", "https://", "https://", "unix://", ""];
    const HOSTS: [&str; 12] = [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "etcd-1",
        "[fd00::1]",
        "10.0.0.300",
        "127.0.0.1",
        "[::1]",
        "localhost",
        "u@h",
        "é\u{0}",
        "",
    ];
    const PORTS: [&str; 6] = [":2379", ":2379", ":2379", ":2379/", ":0", ""];
    let (mut added, mut retired) = (0, 0);
    for round in 0..20_000_u64 {
        let tls = roll(2) == 0;
        let mut roster = Roster::new(reach(tls));
        let mut known = vec![home(Some(1))];
        for step in 0..6 {
            let list: Vec<Listed> = (0..roll(5))
                .map(|_| {
                    let url = |roll: &mut dyn FnMut(u64) -> u64| -> String {
                        [SCHEMES[roll(6) as usize], HOSTS[roll(12) as usize], PORTS[roll(6) as usize]].concat()
                    };
                    let urls = (0..roll(3)).map(|_| url(&mut roll)).collect();
                    Listed { id: roll(4), learner: roll(8) == 0, urls }
                })
                .collect();
            let now = Instant::now() + Duration::from_secs(40 * step);
            let changes = roster.answered(1 + u64::from(roll(6) == 0), &list, &known, now);
            for place in &changes.retire {
                assert!(known.iter().any(|k| k.place == *place && !k.configured), "round {round}: {changes:?}");
            }
            known.retain(|k| !changes.retire.contains(&k.place));
            for (id, url) in &changes.add {
                assert_eq!(reach(tls).usable(url).as_ref(), Ok(url), "round {round}");
                assert!(!known.iter().any(|k| k.url == *url), "round {round}: {url} twice");
                known.push(Known { place: known.len() + 10, url: url.clone(), configured: false, member: Some(*id) });
            }
            (added, retired) = (added + changes.add.len(), retired + changes.retire.len());
        }
    }
    assert!(added > 1000 && retired > 100, "{added} {retired}: the dice must reach what is tested");
}
