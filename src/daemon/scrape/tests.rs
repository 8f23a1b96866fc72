//! The listener from outside, with a loop that answers, one that does not, and clients that mean no good.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener as StdListener, TcpStream as StdStream};

use tokio::sync::mpsc;

use super::*;
use crate::config;
use crate::daemon::control::Ask;
use crate::daemon::service::Readiness;
use crate::metrics::metrics;
use crate::moment::Moment;
use crate::node::clock::now;
use crate::node::etcd::Etcd;
use crate::node::keeper::Pulse;
use crate::status::Status;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port that is free, as far as one can know.
fn free(ip: IpAddr) -> SocketAddr {
    StdListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

struct Ground {
    at: SocketAddr,
    asks: mpsc::Receiver<Ask>,
    readiness: Readiness,
    _scrape: Scrape,
    _etcd: Etcd,
}

/// `alive`: when the keeper last had an answer.
fn ground(at: SocketAddr, alive: Moment) -> Ground {
    let (asks, asked) = mpsc::channel(4);
    let (_, _, page) = metrics("cp-1", "test", now());
    let none = config::Etcd { endpoints: Vec::new(), discover: false, ..config::Etcd::default() };
    let etcd = Etcd::start(&none, config::Ttl::Auto, mpsc::channel(16).0);
    let readiness = Readiness::default();
    let (outlook, pulse) = (etcd.outlook(), Pulse::for_test(alive));
    let source = Source { asks, page, outlook, pulse, readiness: readiness.clone() };
    Ground { at, asks: asked, readiness, _scrape: Scrape::start(at, source).unwrap(), _etcd: etcd }
}

/// A loop that answers, for ever.
fn answer(mut asks: mpsc::Receiver<Ask>) {
    tokio::spawn(async move {
        while let Some(Ask::Status(tell)) = asks.recv().await {
            tell.send(Status::for_test()).unwrap();
        }
    });
}

/// What is answered to these bytes; also nothing.
async fn say(at: SocketAddr, bytes: Vec<u8>) -> String {
    tokio::task::spawn_blocking(move || {
        let connect = || StdStream::connect(at).ok();
        let mut stream = (0..100)
            .find_map(|_| {
                connect().or_else(|| {
                    thread::sleep(HEAD / 100);
                    None
                })
            })
            .unwrap();
        stream.set_read_timeout(Some(BOUND * 2)).unwrap();
        // The other side may have said no before it has heard it all.
        let _refused = stream.write_all(&bytes);
        let mut text = Vec::new();
        let _reset = stream.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    })
    .await
    .unwrap()
}

async fn get(at: SocketAddr, path: &str) -> String {
    say(at, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()).await
}

#[tokio::test]
async fn a_loop_that_answers_is_scraped_and_healthy_and_ready_only_when_it_is() {
    let ground = ground(free(LOCAL), now());
    answer(ground.asks);
    let page = get(ground.at, "/metrics").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("application/openmetrics-text"), "{page}");
    assert!(
        page.contains("vipd_build_info{version=\"test\",node=\"cp-1\"} 1\n") && page.ends_with("# EOF\n"),
        "{page}"
    );
    assert!(get(ground.at, "/healthz").await.ends_with("\r\n\r\nok\n"));
    let unready = get(ground.at, "/readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503") && unready.ends_with("etcd has not answered yet\n"), "{unready}");
    ground.readiness.become_ready();
    assert!(get(ground.at, "/readyz").await.ends_with("\r\n\r\nok\n"));
    ground.readiness.stop();
    assert!(get(ground.at, "/readyz").await.ends_with("the daemon is stopping\n"));
    assert!(get(ground.at, "/").await.starts_with("HTTP/1.1 404"));
    let posted = say(ground.at, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx".to_vec()).await;
    assert!(posted.starts_with("HTTP/1.1 405") && posted.contains("allow: GET, HEAD"), "{posted}");
    let head = say(ground.at, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_loop_that_does_not_answer_is_said_within_its_time_and_asked_once_for_all_who_ask() {
    let mut ground = ground(free(LOCAL), now());
    let from = now();
    for path in ["/metrics", "/healthz", "/readyz"] {
        let told = get(ground.at, path).await;
        assert!(told.starts_with("HTTP/1.1 503") && told.ends_with("does not answer within a second\n"), "{told}");
    }
    assert!(now().since(from) < Duration::from_secs(4), "{:?}", now().since(from));
    ground.asks.close();
    assert!(ground.asks.recv().await.is_some(), "it was asked");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(get(ground.at, "/healthz").await.ends_with("the daemon is busy or ending\n"));
}

#[tokio::test]
async fn a_keeper_without_a_pulse_is_ill() {
    let ground = ground(free(LOCAL), Moment::from_nanos(now().as_nanos() - 20_000_000_000));
    answer(ground.asks);
    let told = get(ground.at, "/healthz").await;
    assert!(told.starts_with("HTTP/1.1 503") && told.ends_with("does not answer the keeper of addresses\n"), "{told}");
}

#[tokio::test]
async fn a_flood_asks_the_loop_ten_times_a_second_and_junk_never_does() {
    let mut ground = ground(free(LOCAL), now());
    let counting = tokio::spawn(async move {
        let mut asked = 0_u32;
        while let Some(Ask::Status(tell)) = ground.asks.recv().await {
            asked += 1;
            let _gone = tell.send(Status::for_test());
        }
        asked
    });
    let junk =
        [b"\xff\xfe\r\n\r\n".to_vec(), vec![b'x'; 100_000], [b"GET /metrics".to_vec(), vec![b'y'; 50_000]].concat()];
    for bytes in junk {
        let told = say(ground.at, bytes).await;
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{told}");
    }
    let from = now();
    for _ in 0..300 {
        assert!(get(ground.at, "/metrics").await.starts_with("HTTP/1.1 200"));
    }
    let took = now().since(from);
    drop((ground._scrape, ground._etcd));
    let asked = counting.await.unwrap();
    let most = u32::try_from(took.as_millis() / 100).unwrap() + 2;
    assert!((1..=most).contains(&asked), "asked {asked} times in {took:?}");
}

#[tokio::test]
async fn clients_that_say_nothing_hold_nobody_up_for_long() {
    let ground = ground(free(LOCAL), now());
    answer(ground.asks);
    assert!(get(ground.at, "/healthz").await.starts_with("HTTP/1.1 200"));
    let silent: Vec<_> = (0..CLIENTS * 2).map(|_| StdStream::connect(ground.at).unwrap()).collect();
    let from = now();
    assert!(get(ground.at, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(now().since(from) < HEAD * 3, "{:?}", now().since(from));
    drop(silent);
}

#[tokio::test]
async fn a_port_that_is_taken_is_waited_for_and_every_address_means_both_families() {
    let at = free(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let taken = place::bind(at).unwrap();
    assert_eq!(place::bind(at).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(taken);
    let ground = ground(at, now());
    answer(ground.asks);
    for ip in [LOCAL, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        assert!(get(SocketAddr::new(ip, at.port()), "/healthz").await.starts_with("HTTP/1.1 200"), "{ip}");
    }
}
