//! Making one connection to one member: bounds, HTTP/2 pings, login, a first question that proves that it serves us, and
//! the clients that share it. No state, no second try.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ClusterClient, ConnectOptions, KvClient, LeaseClient, MaintenanceClient, WatchClient};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::credentials::Access;
use super::dial::{Address, Dialled, Stream, dial};
use super::failure::{Failure, whole};
use super::login;
use super::pin::Anchor;
use super::tls::Expiry;
use super::trouble::Trouble;
use super::version::{self, Status};

/// The whole of it. Members are near, but a name may have several addresses, and a login is a commit.
const BOUND: Duration = Duration::from_secs(3);
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
    pub(super) cluster: ClusterClient,
    pub(super) maintenance: MaintenanceClient,
    /// Asks for an end of the stream when the member sees no leader: a watch there would be silent.
    pub(super) watch: WatchClient,
    /// When the certificate that the member showed ends.
    pub(super) certificate: Option<Expiry>,
    /// That it is of the cluster that is used, if the member says of which it is.
    pub(super) anchor: Option<Anchor>,
    /// What the member says it is.
    pub(super) status: Status,
    /// Whether a user logged in for it.
    pub(super) logs_in: bool,
    /// Whether that was for nothing, because etcd had authentication off.
    pub(super) without_token: bool,
}

/// Connects, within a bound.
///
/// # Errors
/// In words for people: who refused what.
pub(super) async fn connect(address: &Address, access: &Access, id: u32) -> Result<Link, Trouble> {
    let step = Mutex::new("connection");
    let result = timeout(BOUND, in_steps(address, access, id, &step)).await;
    let result = result.unwrap_or_else(|_| {
        let step = *step.lock().unwrap_or_else(PoisonError::into_inner);
        Err(Trouble::passing(format!("no {step} within {BOUND:?}")))
    });
    result.map_err(|trouble| if address.is_for_peers() { for_peers(trouble) } else { trouble })
}

/// The port says more than what was met there.
fn for_peers(trouble: Trouble) -> Trouble {
    let why = format!("{}; 2380 is where etcd's members speak to one another, clients are served at 2379", trouble.why);
    Trouble { why: why.into(), ..trouble }
}

async fn in_steps(address: &Address, access: &Access, id: u32, step: &Mutex<&'static str>) -> Result<Link, Trouble> {
    let at = |what| *step.lock().unwrap_or_else(PoisonError::into_inner) = what;
    let Dialled { stream, heard, certificate } = dial(address, access).await?;
    at("answer to a first question");
    let told = |trouble: Trouble| heard.tells(address, access).unwrap_or(trouble);
    let channel = channel(address, stream).await.map_err(told)?;
    let token = match &access.login {
        Some(login) => login::log_in(&channel, login).await.map_err(told)?,
        None => None,
    };
    let (logs_in, without_token) = (access.login.is_some(), token.is_none());
    let plain = client(login::with_token(channel.clone(), token.clone()), false).await?;
    let with_leader = client(login::with_token(channel, token), true).await?;
    let status = ask_status(&plain).await.map_err(told)?;
    Ok(Link {
        id,
        kv: plain.kv_client().max_decoding_message_size(LARGEST_ANSWER),
        lease: plain.lease_client(),
        cluster: plain.cluster_client(),
        maintenance: plain.maintenance_client(),
        watch: with_leader.watch_client().max_decoding_message_size(LARGEST_ANSWER),
        certificate,
        anchor: None,
        status,
        logs_in,
        without_token,
    })
}

/// A channel over this one stream. When it breaks, it is over.
async fn channel(address: &Address, stream: Stream) -> Result<Channel, Trouble> {
    let endpoint = Endpoint::from_shared(address.origin()).map_err(|e| Trouble::lasting(whole(&e)))?;
    let endpoint =
        endpoint.http2_keep_alive_interval(PING).keep_alive_timeout(PING_ANSWER).keep_alive_while_idle(false);
    let once = Arc::new(Mutex::new(Some(stream)));
    let connector = service_fn(move |_| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.map(TokioIo::new).ok_or("the connection is over") }
    });
    endpoint.connect_with_connector(connector).await.map_err(|e| Trouble::passing(whole(&e)))
}

/// Neither waits nor fails: it has no user.
async fn client(channel: etcd_client::Channel, require_leader: bool) -> Result<Client, Trouble> {
    let options = ConnectOptions::new().with_require_leader(require_leader);
    Client::from_channel(channel, Some(options)).await.map_err(|e| Trouble::passing(whole(&e)))
}

/// The first question, which any member answers by itself. With TLS 1.3 only its answer tells that etcd takes our
/// certificate.
async fn ask_status(client: &Client) -> Result<Status, Trouble> {
    let error = match client.maintenance_client().status().await {
        Ok(status) => return version::of_status(&status),
        Err(e) => e,
    };
    let not_etcd = match &error {
        etcd_client::Error::GRpcStatus(status) => {
            status.code() == tonic::Code::Unimplemented || status.message().contains("not supported")
        }
        _ => false,
    };
    match Failure::from(error) {
        _ if not_etcd => Err(Trouble::lasting(version::NOT_ETCD)),
        // It is an etcd, and says that it will not tell. The call that needs more will say why.
        Failure::Broken(text) => Err(Trouble::passing(text)),
        _ => Ok(Status::default()),
    }
}
