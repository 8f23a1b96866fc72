//! The config file: any bytes are refused with a place and a reason, or mean what can be put.
//!
//! What is accepted is written anew, in one plain form, and must mean the same again.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use vipd::config::{Config, Etcd, Host, Refusal, Ttl, Vip, parse};
use vipd::election::contender::OnConflict;
use vipd::link::{Base, LinkChoice, Selector};
use vipd::plan::Plan;

/// The most that one line of a refusal may have: a place of a few keys of 80 characters, two shown values, each
/// character as `\u{10ffff}` at worst.
const LONGEST_LINE: usize = 16 * 1024;

/// One file.
pub fn judge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let host = Host { name: "cp-1".into(), runtime_directory: None };
    match parse(&text, &host) {
        Err(refusal) => judge_refusal(&refusal),
        Ok(config) => {
            judge_config(&config);
            let written = write(&config);
            let again = parse(&written, &host).unwrap_or_else(|e| panic!("refused again: {e}\n{written}"));
            assert_eq!(without_places(again), without_places(config), "{written}");
        }
    }
}

fn judge_refusal(refusal: &Refusal) {
    assert!(!refusal.problems().is_empty(), "refused, and nothing is wrong");
    for problem in refusal.problems() {
        assert!(!problem.place.is_empty() && !problem.text.is_empty(), "{problem:?}");
        let line = problem.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() <= LONGEST_LINE, "{} bytes: {line}", line.len());
    }
}

fn judge_config(config: &Config) {
    assert!((1..=256).contains(&config.vips.len()));
    let mut seen = BTreeSet::new();
    for vip in &config.vips {
        judge_link(&vip.link);
        assert!((1..=8).contains(&vip.addresses.len()) && !vip.place.is_empty());
        for address in &vip.addresses {
            assert!(seen.insert(*address), "{address} twice");
            assert!(is_legal(*address), "{address}");
        }
    }
    let plan = Plan::new(config);
    assert_eq!(plan.vips.len(), config.vips.len(), "a VIP was lost on the way");
    assert!(plan.vips.iter().all(|vip| vip.addresses.contains(&vip.key_address)));
    judge_etcd(config);
    assert!(!config.node.is_empty() && config.node.len() <= 253 && !config.node.contains(char::is_whitespace));
    assert!(config.runtime_dir.is_absolute());
    let ttl = match config.lease.ttl {
        Ttl::Auto => Duration::from_secs(300),
        Ttl::Fixed(ttl) => ttl,
    };
    assert!((3..=300).contains(&ttl.as_secs()) && ttl.subsec_nanos() == 0);
    if let Some(margin) = config.lease.margin {
        let left = ttl - ttl / 10;
        assert!(margin >= Duration::from_millis(1180) && margin + Duration::from_millis(1500) <= left, "{margin:?}");
    }
}

fn judge_etcd(config: &Config) {
    let etcd = &config.etcd;
    assert!((1..=32).contains(&etcd.endpoints.len()));
    assert_eq!(etcd.endpoints.iter().collect::<BTreeSet<_>>().len(), etcd.endpoints.len(), "a member twice");
    assert!(
        etcd.endpoints.iter().all(|url| url.starts_with("unix") || (url.starts_with("http") && !url.contains('@')))
    );
    let prefix = &etcd.prefix;
    assert!((1..=128).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_graphic()));
    assert!(!prefix.starts_with('/') && !prefix.ends_with('/'));
}

fn judge_link(link: &LinkChoice) {
    assert!(link.vlan.is_none_or(|id| (1..=4094).contains(&id)));
    match &link.base {
        Base::Named(name) => {
            assert!((1..=127).contains(&name.len()) && !matches!(name.as_str(), "lo" | "." | ".."), "{name:?}");
            assert!(!name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()), "{name:?}");
        }
        Base::Selected(selector) => {
            assert!(!selector.is_empty());
            for (key, pattern) in patterns(selector) {
                assert!((1..=255).contains(&pattern.len()) && !pattern.contains(char::is_control), "{pattern:?}");
                let is_mac = |c: char| c == '*' || c == ':' || c.is_ascii_hexdigit();
                assert!(!key.ends_with("Addr") || pattern.chars().all(is_mac), "{pattern:?}");
            }
        }
    }
}

fn patterns(selector: &Selector) -> Vec<(&'static str, &str)> {
    let all = [
        ("busPath", &selector.bus_path),
        ("hardwareAddr", &selector.hardware_addr),
        ("permanentAddr", &selector.permanent_addr),
        ("pciID", &selector.pci_id),
        ("driver", &selector.driver),
    ];
    all.into_iter().filter_map(|(key, pattern)| Some((key, pattern.as_deref()?))).collect()
}

/// Whether other machines can reach it, told from its bits.
fn is_legal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !matches!((a, b), (0 | 127 | 224.., _) | (169, 254))
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.to_bits() > 1 && first & 0xffc0 != 0xfe80 && first >> 8 != 0xff && ip.to_ipv4_mapped().is_none()
        }
    }
}

/// The same configuration in other words.
fn write(config: &Config) -> String {
    let mut text = String::from("machine:\n  network:\n    interfaces:\n");
    for Vip { addresses, link, .. } in &config.vips {
        for address in addresses {
            let _ = match &link.base {
                Base::Named(name) => writeln!(text, "      - interface: {}", quoted(name)),
                Base::Selected(selector) => writeln!(text, "      - deviceSelector: {}", flow(selector)),
            };
            let _ = match link.vlan {
                None => writeln!(text, "        vip: {{ip: \"{address}\"}}"),
                Some(id) => writeln!(text, "        vlans: [{{vlanId: {id}, vip: {{ip: \"{address}\"}}}}]"),
            };
        }
    }
    let _ = writeln!(text, "vipd:\n  node: {}\n  groups:", quoted(&config.node));
    for Vip { addresses, .. } in config.vips.iter().filter(|vip| vip.addresses.len() > 1) {
        let addresses: Vec<String> = addresses.iter().map(|ip| format!("\"{ip}\"")).collect();
        let _ = writeln!(text, "    - addresses: [{}]", addresses.join(", "));
    }
    let _ = writeln!(text, "  etcd:\n    endpoints:");
    for url in &config.etcd.endpoints {
        let _ = writeln!(text, "      - {}", quoted(url));
    }
    write_etcd(&mut text, &config.etcd);
    let ttl = match config.lease.ttl {
        Ttl::Auto => "auto".into(),
        Ttl::Fixed(ttl) => format!("{}s", ttl.as_secs()),
    };
    let _ = writeln!(text, "  lease:\n    ttl: {ttl}");
    if let Some(margin) = config.lease.margin {
        let _ = writeln!(text, "    margin: {}", millis(margin));
    }
    let conflict = if config.on_conflict == OnConflict::Claim { "claim" } else { "refuse" };
    let times: Vec<String> = config.announce.times.iter().copied().map(millis).collect();
    let refresh = config.announce.refresh.map_or("false".into(), millis);
    let _ = writeln!(
        text,
        "  onConflict: {conflict}\n  announce: {{schedule: [{}], refresh: {refresh}}}",
        times.join(", ")
    );
    let listen = config.metrics.map_or("false".into(), |at| quoted(&at.to_string()));
    let _ = writeln!(text, "  metrics: {{listen: {listen}}}\n  log: {{level: {}}}", config.log_level.name());
    let _ = writeln!(text, "  runtimeDir: {}", quoted(&config.runtime_dir.to_string_lossy()));
    text
}

fn millis(time: Duration) -> String {
    let nanos = time.as_nanos();
    format!("{}.{:06}ms", nanos / 1_000_000, nanos % 1_000_000)
}

fn flow(selector: &Selector) -> String {
    let patterns = patterns(selector).into_iter().map(|(key, pattern)| format!("{key}: {}", quoted(pattern)));
    let physical = selector.physical.map(|physical| format!("physical: {physical}"));
    format!("{{{}}}", patterns.chain(physical).collect::<Vec<_>>().join(", "))
}

fn write_etcd(text: &mut String, etcd: &Etcd) {
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let _ = writeln!(text, "    prefix: {}\n    discover: {}", quoted(&etcd.prefix), etcd.discover);
    if let Some(user) = &etcd.user {
        let _ = writeln!(text, "    user: {}\n    passwordFile: {}", quoted(&user.name), path(&user.password_file));
    }
    let Some(tls) = &etcd.tls else { return };
    let _ = writeln!(text, "    tls:\n      ca: {}", path(&tls.ca));
    if let Some(client) = &tls.client {
        let _ = writeln!(text, "      cert: {}\n      key: {}", path(&client.cert), path(&client.key));
    }
    if let Some(name) = &tls.server_name {
        let _ = writeln!(text, "      serverName: {}", quoted(name));
    }
}

/// A YAML text of printable ASCII alone.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    let all = text.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\U{:08x}", u32::from(c)) });
    format!("\"{}\"", all.collect::<String>())
}

fn without_places(mut config: Config) -> Config {
    config.vips.iter_mut().for_each(|vip| vip.place.clear());
    config
}
