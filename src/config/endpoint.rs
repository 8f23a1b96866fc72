//! The rules for an etcd member's address: a value in, the checked address or "value, rule" out.
//!
//! Owned by `config`. Pure; it resolves no name and opens nothing.

use std::net::{IpAddr, Ipv4Addr};

use super::check::{self, Checked, LONGEST_NAME};
use super::raw::Node;
use super::refusal::quoted;

/// The longest path of a unix socket, in bytes: what the kernel's `sun_path` holds beside its end mark.
const LONGEST_SOCKET: usize = 107;

/// An etcd member's address for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    /// As written: `http://host:port`, `https://host:port`, `unix:///path` or `unixs:///path`.
    pub(super) url: String,
    /// Whether it is spoken to with TLS.
    pub(super) tls: bool,
    /// Where it is.
    pub(super) host: Host,
}

/// Where a member is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Host {
    Address(IpAddr),
    /// To be resolved.
    Name,
    /// A socket of this machine.
    Socket,
}

impl Endpoint {
    /// Whether what is said to it stays on this machine. A name may resolve to anything, but for the one that must not.
    pub(super) fn is_local(&self) -> bool {
        match self.host {
            Host::Address(address) => address.to_canonical().is_loopback(),
            Host::Name => self.url.contains("://localhost:"),
            Host::Socket => true,
        }
    }
}

/// `http://host:port`, `unix:///path` and the same with TLS, and nothing behind it.
pub(super) fn endpoint(node: &Node) -> Checked<Endpoint> {
    let url = check::text(node)?;
    let shown = quoted(&without_user_info(url));
    let (tls, host) = match url.split_once("://") {
        Some(("http", rest)) => (false, host_and_port("http", rest)),
        Some(("https", rest)) => (true, host_and_port("https", rest)),
        Some(("unix", path)) => (false, socket("unix", path)),
        Some(("unixs", path)) => (true, socket("unixs", path)),
        _ => (false, Err("is not http://host:port, https://host:port, unix:///path or unixs:///path".into())),
    };
    Ok(Endpoint { url: url.to_owned(), tls, host: host.map_err(|rule| format!("{shown} {rule}"))? })
}

fn host_and_port(scheme: &str, rest: &str) -> Checked<Host> {
    if rest.contains('@') {
        return Err(format!("names a user, which stands under user and passwordFile; write {scheme}://host:port"));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(format!("goes on behind the port; it must be {scheme}://host:port alone"));
    }
    let Some((host, port)) = rest.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
        return Err(format!("is not {scheme}://host:port"));
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("has no port from 1 to 65535".into());
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|text| text.parse().ok());
        let address = address.map(IpAddr::V6).ok_or("has no IPv6 address in its brackets")?;
        return reachable(address).map(Host::Address);
    }
    if host.contains(':') {
        return Err(format!("has an IPv6 address without brackets; write {scheme}://[address]:port"));
    }
    name_or_address(host)
}

/// An address without brackets, or a name.
fn name_or_address(host: &str) -> Checked<Host> {
    if let Ok(v4) = host.parse::<Ipv4Addr>() {
        return reachable(v4.into()).map(Host::Address);
    }
    if is_name(host) { Ok(Host::Name) } else { Err("has a host that is neither an address nor a name".into()) }
}

fn reachable(address: IpAddr) -> Checked<IpAddr> {
    if address.is_unspecified() { Err("is where a server listens, not where it is".into()) } else { Ok(address) }
}

/// A name that ends in a number is a mistyped address to every resolver (10.0.0.300).
fn is_name(host: &str) -> bool {
    let numeric = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let label =
        |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(known) && !l.starts_with('-') && !l.ends_with('-');
    !numeric && host.len() <= LONGEST_NAME && host.split('.').all(label)
}

fn socket(scheme: &str, path: &str) -> Checked<Host> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(format!("has no absolute path of a socket; write {scheme}:///path"));
    }
    if path.len() > LONGEST_SOCKET || path.contains(|c: char| c.is_control()) {
        return Err(format!("is not the path of a socket: no control characters, at most {LONGEST_SOCKET} bytes"));
    }
    Ok(Host::Socket)
}

/// The name that etcd's certificates are held against.
pub(super) fn server_name(node: &Node) -> Checked<String> {
    let name = check::text(node)?;
    if name.parse::<IpAddr>().is_ok() || is_name(name) {
        return Ok(name.to_owned());
    }
    Err(format!("{} is neither a name nor an address, as it stands in etcd's certificates", quoted(name)))
}

/// A message goes to logs, and a password does not.
fn without_user_info(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://...@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node::Text(text.into())
    }

    #[test]
    fn endpoints() {
        let address = |text: &str| Host::Address(text.parse().unwrap());
        for (url, tls, host) in [
            ("http://127.0.0.1:2379", false, address("127.0.0.1")),
            ("http://[fd00::1]:2379", false, address("fd00::1")),
            ("http://etcd-1.example.com:2379", false, Host::Name),
            ("http://localhost:1", false, Host::Name),
            ("https://127.0.0.1:2379", true, address("127.0.0.1")),
            ("https://[::1]:2379", true, address("::1")),
            ("https://cp-1:2379", true, Host::Name),
            ("unix:///run/etcd.sock", false, Host::Socket),
            ("unixs:///run/a b/etcd.sock", true, Host::Socket),
        ] {
            assert_eq!(endpoint(&node(url)), Ok(Endpoint { url: url.into(), tls, host }));
        }
        for url in [
            "",
            "127.0.0.1:2379",
            "http://",
            "http://:2379",
            "http://h",
            "http://h:",
            "http://h:0",
            "http://h:65536",
            "http://h:+1",
            "http://h:1/",
            "http://h:1?x",
            "http://h:1#x",
            "http://a@h:1",
            "http://fd00::1:2379",
            "http://[fd00::1:2379",
            "http://[x]:1",
            "http://[::]:1",
            "http://h h:1",
            "http://10.0.0.300:1",
            "http://0.0.0.0:2379",
            "https://h",
            "https://a@h:1",
            "unix:/run/etcd.sock",
            "unix://etcd.sock",
            "unix:///",
            "unixs://localhost:2379",
            "http://a:1,http://b:1",
            "http://a..b:1",
            "http://-a.b:1",
            "http://a-.b:1",
            "HTTP://h:1",
        ] {
            assert!(endpoint(&node(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn what_stays_on_this_machine() {
        for (url, local) in [
            ("http://127.9.9.9:1", true),
            ("http://[::1]:1", true),
            ("http://[::ffff:127.0.0.1]:1", true),
            ("http://localhost:1", true),
            ("unix:///x", true),
            ("http://10.0.0.1:1", false),
            ("http://localhost.example.com:1", false),
            ("http://cp-1:1", false),
        ] {
            assert_eq!(endpoint(&node(url)).unwrap().is_local(), local, "{url}");
        }
    }

    #[test]
    fn server_names() {
        for name in ["etcd", "etcd-1.example.com", "10.0.0.1", "fd00::1"] {
            assert_eq!(server_name(&node(name)), Ok(name.into()));
        }
        for name in ["", "a b", "10.0.0.300", "[fd00::1]", "etcd:2379", "https://etcd", "*.example.com", "-a", "a-.b"] {
            assert!(server_name(&node(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "http://root:hunter2@h:1",
            "https://root:hunter2@h:1",
            "unix://root:hunter2@h:1",
            "root:hunter2@h",
            "http://a@root:hunter2@h:1",
        ] {
            let message = endpoint(&node(url)).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
