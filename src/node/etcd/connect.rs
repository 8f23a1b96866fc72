//! Making one connection to one member: bounds, HTTP/2 pings, and the clients that share it. No state, no second try.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, KvClient, LeaseClient, WatchClient};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::failure::whole;

/// A TCP connection that is not there after this is not coming. Members are near: one round trip is milliseconds.
const CONNECT: Duration = Duration::from_secs(1);
/// The same with name resolution, which has no bound of its own.
const CONNECT_BY_NAME: Duration = Duration::from_secs(3);
/// HTTP/2 pings find a connection that is dead without a word. etcd ends connections that ping more often than every
/// 5 s; and none go out while no stream is open.
const PING: Duration = Duration::from_secs(6);
const PING_ANSWER: Duration = Duration::from_secs(3);
/// The most bytes of one answer: a foreign value may have 1.5 MB, and the default of 4 MB would blind us for good.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

/// A usable connection. Each caller clones the client it needs; all share the connection.
pub(super) struct Link {
    pub(super) id: u32,
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    /// Asks for an end of the stream when the member sees no leader: a watch there would be silent.
    pub(super) watch: WatchClient,
}

/// How to reach `url`.
///
/// # Errors
/// If it is no URL.
pub(super) fn endpoint(url: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(false))
}

/// Connects, within a bound.
pub(super) async fn connect(endpoint: &Endpoint, id: u32) -> Result<Link, Arc<str>> {
    let channel = match timeout(CONNECT_BY_NAME, endpoint.connect()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(e)) => return Err(whole(&e).into()),
        Err(_) => return Err("no connection in time".into()),
    };
    let plain = client(&channel, false).await?;
    let with_leader = client(&channel, true).await?;
    Ok(Link {
        id,
        kv: plain.kv_client().max_decoding_message_size(LARGEST_ANSWER),
        lease: plain.lease_client(),
        watch: with_leader.watch_client().max_decoding_message_size(LARGEST_ANSWER),
    })
}

/// Without a user this neither waits nor fails.
async fn client(channel: &Channel, require_leader: bool) -> Result<Client, Arc<str>> {
    let options = ConnectOptions::new().with_require_leader(require_leader);
    let channel = etcd_client::Channel::Tonic(channel.clone());
    Client::from_channel(channel, Some(options)).await.map_err(|e| e.to_string().into())
}
