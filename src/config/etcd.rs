//! How to reach etcd: the settings below `vipd.etcd`, with their defaults, and the rules about several of them.
//!
//! Owned by `config`. It opens no file that a setting names: certificates and passwords may come later than the
//! daemon, and are its affair.

use std::net::IpAddr;
use std::path::PathBuf;

use super::check::{self, Checked};
use super::endpoint::{self, Endpoint};
use super::raw::Node;
use super::refusal::{Place, Problems, quoted};
use super::settings::Section;

/// What all keys begin with, if nothing is said.
const PREFIX: &str = "vipd";
/// This node's own member, without TLS and with it.
const ENDPOINT: &str = "http://127.0.0.1:2379";
const TLS_ENDPOINT: &str = "https://127.0.0.1:2379";
/// The most endpoints. etcd clusters have 3 to 7 members.
const MOST_ENDPOINTS: usize = 32;
/// The longest name of a user, in bytes.
const LONGEST_USER: usize = 253;

/// How to reach etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Etcd {
    /// `http://host:port`, `https://host:port`, `unix:///path` or `unixs:///path`, one for each member; all of them with
    /// TLS or none.
    pub endpoints: Vec<String>,
    /// Whether to find the other members through etcd's own list.
    pub discover: bool,
    /// The files for TLS; there if and only if the endpoints have TLS.
    pub tls: Option<Tls>,
    /// Whom to be for etcd.
    pub user: Option<User>,
    /// What all keys begin with, without a slash at its end.
    pub prefix: String,
    /// An endpoint to which a password would go over the network for all to read.
    pub password_in_the_clear: Option<String>,
    /// The VIPs, at which no member is asked: they need etcd first.
    pub vips: Vec<IpAddr>,
}

/// What a file that says nothing about etcd means.
impl Default for Etcd {
    fn default() -> Self {
        Self {
            endpoints: vec![ENDPOINT.into()],
            discover: true,
            tls: None,
            user: None,
            prefix: PREFIX.into(),
            password_in_the_clear: None,
            vips: Vec::new(),
        }
    }
}

/// The files for TLS. They need not be there yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The certificates of who signs etcd's certificates.
    pub ca: PathBuf,
    /// What to show to etcd.
    pub client: Option<ClientCertificate>,
    /// The name that etcd's certificates must have, if not the endpoint's.
    pub server_name: Option<String>,
}

/// This client's certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCertificate {
    /// The certificate, and those between it and the CA.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// The file that has the password, and nothing else.
    pub password_file: PathBuf,
}

/// `vipd.etcd`, with the place of each endpoint.
pub(super) fn read(etcd: &Section<'_>, problems: &mut Problems) -> (Etcd, Vec<(Place, Endpoint)>) {
    let tls = etcd.section("tls", &["ca", "cert", "key", "serverName"], problems);
    let given = endpoints(etcd, &tls, problems);
    check_transport(etcd, &tls, &given, problems);
    let user = user(etcd, problems);
    let in_the_clear = given.iter().find(|(_, e)| user.is_some() && !e.tls && !e.is_local());
    let etcd = Etcd {
        endpoints: given.iter().map(|(_, endpoint)| endpoint.url.clone()).collect(),
        discover: etcd.setting("discover", check::truth, problems).unwrap_or(true),
        tls: files(&tls, problems),
        password_in_the_clear: in_the_clear.map(|(_, endpoint)| endpoint.url.clone()),
        vips: Vec::new(),
        user,
        prefix: etcd.setting("prefix", check::prefix, problems).unwrap_or_else(|| PREFIX.into()),
    };
    (etcd, given)
}

fn endpoints(etcd: &Section<'_>, tls: &Section<'_>, problems: &mut Problems) -> Vec<(Place, Endpoint)> {
    let place = etcd.place.key("endpoints");
    let usual = if tls.is_there() { TLS_ENDPOINT } else { ENDPOINT };
    let default = Node::List(vec![Node::Text(usual.into())]);
    let nodes = match check::list(etcd.get("endpoints").unwrap_or(&default)) {
        Ok([]) => Err("an empty list; name at least one member of etcd".into()),
        Ok(nodes) if nodes.len() > MOST_ENDPOINTS => {
            Err(format!("{} endpoints; at most {MOST_ENDPOINTS}", nodes.len()))
        }
        Ok(nodes) => Ok(nodes.to_vec()),
        Err(text) => Err(format!("{text}; write [\"{usual}\"]")),
    };
    let nodes = nodes.unwrap_or_else(|text| {
        problems.add(&place, text);
        Vec::new()
    });
    let mut found: Vec<(Place, Endpoint)> = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        match another(node, &found) {
            Ok(endpoint) => found.push((place.index(i), endpoint)),
            Err(text) => problems.add(&place.index(i), text),
        }
    }
    found
}

fn another(node: &Node, found: &[(Place, Endpoint)]) -> Checked<Endpoint> {
    let endpoint = endpoint::endpoint(node)?;
    match found.iter().find(|(_, other)| *other == endpoint) {
        Some((first, _)) => Err(format!("{} is given twice; first at {first}", node.shown())),
        None => Ok(endpoint),
    }
}

/// All endpoints with TLS, and the files for it; or none of either.
fn check_transport(etcd: &Section<'_>, tls: &Section<'_>, given: &[(Place, Endpoint)], problems: &mut Problems) {
    let Some((first_place, first)) = given.first() else { return };
    if let Some((place, other)) = given.iter().find(|(_, endpoint)| endpoint.tls != first.tls) {
        let (url, with) = (quoted(&other.url), if other.tls { "has TLS" } else { "has no TLS" });
        let (but, first) = (if first.tls { "has" } else { "has none" }, quoted(&first.url));
        problems.add(place, format!("{url} {with} and {first} {but}; all members of one etcd are reached in one way"));
    } else if first.tls && !etcd.has("tls") {
        let url = quoted(&first.url);
        problems.add(
            &etcd.place.key("tls"),
            format!("not given, and {url} needs it: at least tls.ca, mostly cert and key"),
        );
    } else if !first.tls && tls.is_there() {
        let url = quoted(&first.url);
        problems.add(first_place, format!("{url} has no TLS, but tls is given; write https:// (or unixs://)"));
    }
}

fn files(tls: &Section<'_>, problems: &mut Problems) -> Option<Tls> {
    let file = |key: &str, problems: &mut Problems| tls.setting(key, path, problems);
    let (ca, cert, key) = (file("ca", problems), file("cert", problems), file("key", problems));
    let server_name = tls.setting("serverName", endpoint::server_name, problems);
    if !tls.is_there() {
        return None;
    }
    if !tls.has("ca") {
        problems
            .add(&tls.place.key("ca"), "not given: the CA that etcd's certificates are signed by is needed with TLS");
    }
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if tls.has(one) && !tls.has(other) {
            problems.add(&tls.place.key(other), format!("not given, but {one} is; the two go together"));
        }
    }
    Some(Tls { ca: ca?, client: cert.zip(key).map(|(cert, key)| ClientCertificate { cert, key }), server_name })
}

fn user(etcd: &Section<'_>, problems: &mut Problems) -> Option<User> {
    let name = etcd.setting("user", user_name, problems);
    let password_file = etcd.setting("passwordFile", path, problems);
    for (one, other) in [("user", "passwordFile"), ("passwordFile", "user")] {
        if etcd.has(one) && !etcd.has(other) {
            problems.add(&etcd.place.key(other), format!("not given, but {one} is; the two go together"));
        }
    }
    let (name, password_file) = name.zip(password_file)?;
    Some(User { name, password_file })
}

fn path(node: &Node) -> Checked<PathBuf> {
    check::path(check::text(node)?)
}

fn user_name(node: &Node) -> Checked<String> {
    let name = check::text(node)?;
    let shown = quoted(name);
    if name.is_empty() || name.contains(|c: char| c.is_control()) {
        return Err(format!("{shown} is not the name of a user: not empty, no control characters"));
    }
    if name.len() > LONGEST_USER {
        return Err(format!("{shown} has {} bytes; a user's name has at most {LONGEST_USER}", name.len()));
    }
    Ok(name.to_owned())
}
