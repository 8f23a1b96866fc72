//! Where the daemon's metrics are told: `vipd.metrics.listen`.
//!
//! Owned by `config`. Pure; whether the port is free shows when the daemon runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::check::Checked;
use super::raw::Node;
use super::refusal::Problems;
use super::settings::Section;

/// This node alone may ask, if the operator says nothing.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9815);

/// Reads `metrics` below `vipd`; none: they are told nowhere.
pub(super) fn read(root: &Section<'_>, problems: &mut Problems) -> Option<SocketAddr> {
    let section = root.section("metrics", &["listen"], problems);
    section.setting("listen", listen, problems).unwrap_or(Some(USUAL))
}

/// `address:port`, `[address]:port`, `:port` for every address of the node, or `false`.
fn listen(node: &Node) -> Checked<Option<SocketAddr>> {
    let shown = node.shown();
    let text = match node {
        Node::Bool(false) => return Ok(None),
        Node::Text(text) => text,
        _ => return Err(not_a_place(&shown)),
    };
    let every = |port: &str| Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), number(port)?));
    let at = text.strip_prefix(':').map_or_else(|| text.parse().ok(), every).ok_or_else(|| not_a_place(&shown))?;
    match at {
        at if at.port() == 0 => Err(format!("{shown} has no port from 1 to 65535")),
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            Err(format!("{shown} is an IPv4 address in IPv6 form; write {}:{}", v6.ip().to_canonical(), v6.port()))
        }
        at => Ok(Some(at)),
    }
}

/// Digits alone: Rust's own parser takes a plus sign, too.
fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()))
}

fn not_a_place(shown: &str) -> String {
    format!("{shown} is neither address:port (127.0.0.1:9815, [::1]:9815, :9815 for every address) nor false")
}
