//! One node: its namespace, its etcd member, its daemon, a server on port 6443.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::etcd::{self, Member};
use super::{Known, Options, Service, access, config, hello, wiring};
use crate::netns::NetNs;
use crate::proxy::{Proxy, Terminal};
use crate::timeline::NodeIndex;

/// One of the three.
pub(crate) struct Node {
    /// `n1`, `n2`, `n3`.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) ns: NetNs,
    /// Its own IPv4 address.
    pub(crate) address: Ipv4Addr,
    /// The link-layer address of its `eth0`.
    pub(crate) mac: [u8; 6],
    /// Its etcd member,
    pub(crate) member: Member,
    /// and the program.
    pub(crate) etcd: Service,
    /// Its daemon.
    pub(crate) vipd: Service,
    /// Between its daemon and each member, if the world has proxies.
    pub(crate) proxies: Vec<Proxy>,
    /// Its daemon's config.
    pub(crate) config: PathBuf,
}

/// A node's own address.
pub(super) fn address(index: NodeIndex) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 11 + index as u8)
}

/// A node's name.
pub(super) fn name(index: NodeIndex) -> String {
    format!("n{}", index + 1)
}

/// The members that a cluster begins with.
pub(super) fn originals() -> [Member; 3] {
    [0, 1, 2].map(Member::original)
}

impl Node {
    /// Namespace, cable, files; starts nothing but the server on 6443 and the proxies.
    pub(super) fn build(
        index: NodeIndex,
        directory: &Path,
        vipd: &Path,
        options: &Options,
        links: &[String],
    ) -> Result<Self> {
        let (name, address) = (name(index), address(index));
        let ns = wiring::attach(&name, address.octets()[3], links)?;
        let mac = wiring::mac(&ns, "eth0")?;
        hello::serve(&ns)?;
        let client = access::of_node(directory, index, options.security);
        let (proxies, endpoints) = endpoints(index, &ns, directory, options)?;
        let runtime = PathBuf::from(format!("/run/{name}/vipd"));
        fs::create_dir_all(&runtime).with_context(|| format!("make {}", runtime.display()))?;
        let config = directory.join(format!("{name}.yaml"));
        fs::write(&config, config::yaml(&name, &endpoints, client.as_ref(), &runtime, &options.of_node(index)))?;
        let member = Member::original(index);
        let etcd = Service::new(&ns, "etcd", member.command(&originals(), directory, options), directory);
        let mut run = Command::new(vipd);
        run.arg("run").arg("--config").arg(&config).envs(options.log.map(|log| ("VIPD_LOG", log)));
        let vipd = Service::new(&ns, "vipd", run, directory);
        Ok(Self { name, ns, address, mac, member, etcd, vipd, proxies, config })
    }
}

/// Where the daemon finds etcd, its own node's member first; through proxies on the node's loopback if wanted.
fn endpoints(index: NodeIndex, ns: &NetNs, directory: &Path, options: &Options) -> Result<(Vec<Proxy>, Vec<String>)> {
    let (order, security) = ([index, (index + 1) % 3, (index + 2) % 3], options.security);
    if !options.proxies {
        let at = |index, at| Member::original(index).client_url(at, security);
        let urls = match options.known {
            Known::All => order.map(|member| at(member, address(member))).to_vec(),
            Known::Own => vec![at(index, Ipv4Addr::LOCALHOST)],
            Known::Guest => vec![at(3, address(3))],
        };
        return Ok((Vec::new(), urls));
    }
    let (mut proxies, mut urls) = (Vec::new(), Vec::new());
    let client = access::of_node(directory, index, security);
    let terminal = client.map(|client| Terminal::new(&client, &access::server_files(directory, index))).transpose()?;
    for member in order {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_379 + member as u16);
        proxies.push(Proxy::start(ns, listen, (address(member), etcd::CLIENT_PORT).into(), terminal.clone())?);
        urls.push(format!("{}://{listen}", etcd::scheme(security)));
    }
    Ok((proxies, urls))
}
