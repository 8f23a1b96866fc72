//! The daemon's config for a node: a bare Talos machine-config snippet, and what the lab needs said besides.

use std::fmt::Write as _;
use std::path::Path;

use super::{Client, Options, Vip, access};

/// As YAML.
pub(super) fn yaml(
    node: &str,
    endpoints: &[String],
    client: Option<&Client>,
    runtime: &Path,
    options: &Options,
) -> String {
    let mut text = String::from("machine:\n  network:\n    interfaces:\n");
    options.vips.iter().for_each(|vip| text.push_str(&interface(vip)));
    let runtime = runtime.display();
    let _ = writeln!(text, "vipd:\n  node: {node}\n  runtimeDir: {runtime}");
    if let Some(ttl) = options.ttl {
        let _ = writeln!(text, "  lease:\n    ttl: {}s", ttl.as_secs());
    }
    if !options.groups.is_empty() {
        text.push_str("  groups:\n");
    }
    for group in &options.groups {
        let addresses: Vec<String> = group.iter().map(|ip| format!("\"{ip}\"")).collect();
        let _ = writeln!(text, "    - addresses: [{}]", addresses.join(", "));
    }
    text.push_str("  etcd:\n    endpoints:\n");
    endpoints.iter().for_each(|endpoint| {
        let _ = writeln!(text, "      - {endpoint}");
    });
    // They would find the way round.
    if options.proxies {
        text.push_str("    discover: false\n");
    }
    if let Some(client) = client {
        text.push_str(&credentials(client));
    }
    text
}

fn credentials(client: &Client) -> String {
    let Client { ca, cert, key, password } = client;
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    let mut text = format!("    tls:\n      ca: {ca}\n      cert: {cert}\n      key: {key}\n");
    if let Some(password) = password {
        let _ = writeln!(text, "    user: {}\n    passwordFile: {}", access::USER, password.display());
    }
    text
}

fn interface(vip: &Vip) -> String {
    format!("      - interface: {}\n        vip:\n          ip: {}\n", vip.link, vip.ip)
}

#[cfg(test)]
mod tests {
    use super::super::VIP;
    use super::*;

    #[test]
    fn a_config_says_what_the_options_say() {
        let options = Options { vips: vec![Vip { ip: VIP, link: "eth1".to_owned() }], ..Options::default() };
        let text = yaml("n1", &["http://a:1".to_owned()], None, Path::new("/run/x"), &options);
        assert!(
            text.contains("interface: eth1") && text.contains("ttl: 5s") && text.contains("- http://a:1"),
            "{text}"
        );
    }

    #[test]
    fn a_group_is_written_where_the_node_has_it() {
        let options = Options {
            groups: vec![vec![VIP, super::super::VIP6]],
            apart: vec![(1, vec![Vip { ip: VIP, link: "eth0".to_owned() }])],
            ..Options::default()
        };
        let text = |node| yaml("n1", &["http://a:1".to_owned()], None, Path::new("/run/x"), &options.of_node(node));
        assert!(text(0).contains("groups:\n    - addresses: [\"10.77.0.100\", \"fd77::100\"]\n"), "{}", text(0));
        assert!(!text(1).contains("groups"), "{}", text(1));
    }
}
