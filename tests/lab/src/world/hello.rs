//! A server on every node's port 6443 (where the API server would be) that says which node it is, and its caller.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::NetNs;

const PORT: u16 = 6443;

/// Serves on all addresses of the namespace, present and to come, of both families.
pub(super) fn serve(ns: &NetNs) -> Result<()> {
    let anywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let listener = ns.run(|| TcpListener::bind(anywhere).context("listen on port 6443"))?;
    let name = ns.name().to_owned();
    thread::Builder::new().name(format!("hello-{name}")).spawn(move || {
        for mut caller in listener.incoming().flatten() {
            let _ = caller.write_all(name.as_bytes());
        }
    })?;
    Ok(())
}

/// Calls it and returns the name it says.
pub(super) fn call(ip: IpAddr, within: Duration) -> Result<String> {
    let to = SocketAddr::new(ip, PORT);
    let mut stream = TcpStream::connect_timeout(&to, within).with_context(|| format!("connect to {to}"))?;
    stream.set_read_timeout(Some(within))?;
    let mut name = String::new();
    stream.read_to_string(&mut name).with_context(|| format!("hear from {to}"))?;
    Ok(name)
}
