//! From an endpoint to a stream of bytes: names resolved anew each time, TCP or a socket of this machine, TLS over it.
//!
//! It gives the stream once and never again: a broken connection is made anew by [`super::line`], with what the files
//! say by then, and not behind its back by a library with what they said before.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::select_ok;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::credentials::Access;
use super::failure::whole;
use super::tls::{self, Expiry};
use super::trouble::Trouble;

/// A TCP connection that is not there after this is not coming. Members are near: one round trip is milliseconds.
const CONNECT: Duration = Duration::from_secs(1);
/// How much later the next address of a name is tried beside the one before (RFC 8305, 5).
const BESIDE: Duration = Duration::from_millis(250);
/// The first bytes that are kept, to tell what speaks there.
const FIRST: usize = 8;

/// Where a member is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// `host:port`.
    Tcp(String),
    /// The path of a socket.
    Unix(String),
}

/// An endpoint, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    pub(super) target: Target,
    pub(super) tls: bool,
}

impl Address {
    /// Of one of the four forms that the config knows.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (target, tls) = match scheme {
            "http" => (Target::Tcp(rest.trim_end_matches('/').into()), false),
            "https" => (Target::Tcp(rest.trim_end_matches('/').into()), true),
            "unix" => (Target::Unix(rest.into()), false),
            "unixs" => (Target::Unix(rest.into()), true),
            _ => return None,
        };
        Some(Self { target, tls })
    }

    /// What goes into the requests.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        match &self.target {
            Target::Tcp(host) => format!("{scheme}://{host}"),
            Target::Unix(_) => format!("{scheme}://localhost"),
        }
    }

    /// Whether it is where etcd's members listen for one another by default.
    pub(super) fn is_for_peers(&self) -> bool {
        matches!(&self.target, Target::Tcp(host) if host.ends_with(":2380"))
    }

    /// The name to hold the certificate against, if the config names no other.
    fn server_name(&self) -> Option<ServerName<'static>> {
        let host = match &self.target {
            Target::Tcp(host) => host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host),
            Target::Unix(_) => "localhost",
        };
        ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned()).ok()
    }
}

/// Bytes in both directions.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection, and what was heard on it.
pub(super) struct Stream {
    bytes: Box<dyn Bytes>,
    heard: Heard,
}

/// How the other side began and how it ended. The libraries above lose that on the way.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Ear>>);

#[derive(Default)]
struct Ear {
    first: Vec<u8>,
    /// TLS's own word, if it ended with one.
    alert: Option<rustls::AlertDescription>,
    ended: bool,
}

/// What dialling gives.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    pub(super) heard: Heard,
    /// When the certificate that the other side showed ends.
    pub(super) certificate: Option<Expiry>,
}

/// Dials and, where the endpoint says so, speaks TLS.
pub(super) async fn dial(address: &Address, access: &Access) -> Result<Dialled, Trouble> {
    let bytes: Box<dyn Bytes> = match &address.target {
        Target::Tcp(host) => Box::new(tcp(host).await?),
        Target::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(|e| Trouble::passing(whole(&e)))?),
    };
    let (bytes, certificate) = if address.tls { secure(address, access, bytes).await? } else { (bytes, None) };
    let heard = Heard::default();
    Ok(Dialled { stream: Stream { bytes, heard: heard.clone() }, heard, certificate })
}

/// To whichever of a name's addresses is there first: each is tried a little after the one before, and beside it.
async fn tcp(host: &str) -> Result<TcpStream, Trouble> {
    let addresses = lookup_host(host).await.map_err(|e| Trouble::passing(format!("the name has no address: {e}")))?;
    let tries = addresses.zip(0..).map(|(address, n)| Box::pin(one_of_them(address, n)));
    let tries: Vec<_> = tries.collect();
    if tries.is_empty() {
        return Err(Trouble::passing("the name has no address"));
    }
    select_ok(tries).await.map(|(stream, _others)| stream)
}

async fn one_of_them(address: SocketAddr, n: u32) -> Result<TcpStream, Trouble> {
    sleep(BESIDE * n).await;
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    let connected = connected.map_err(|_| Trouble::passing(format!("no TCP connection within {CONNECT:?}")))?;
    let stream = connected.map_err(|e| Trouble::passing(whole(&e)))?;
    // A renewal is one small packet; it must not wait for a second one.
    stream.set_nodelay(true).map_err(|e| Trouble::passing(whole(&e)))?;
    Ok(stream)
}

async fn secure(
    address: &Address,
    access: &Access,
    bytes: Box<dyn Bytes>,
) -> Result<(Box<dyn Bytes>, Option<Expiry>), Trouble> {
    let identity =
        access.identity.as_ref().ok_or_else(|| Trouble::lasting("it is reached with TLS, but tls is not given"))?;
    let name = access.server_name.clone().or_else(|| address.server_name());
    let name =
        name.ok_or_else(|| Trouble::lasting("its host is no name that a certificate can have; set tls.serverName"))?;
    let connector = TlsConnector::from(Arc::clone(&identity.config));
    match connector.connect(name, bytes).await {
        Ok(stream) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(tls::of_member);
            Ok((Box::new(stream), certificate))
        }
        Err(e) => Err(match tls::refusal(&e, identity.has_client_certificate) {
            Some(why) => Trouble::lasting(why),
            None if matches!(
                e.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ) =>
            {
                Trouble::guess("it closed the connection when TLS began; is it an http:// endpoint?")
            }
            None => Trouble::passing(format!("TLS failed: {}", whole(&e))),
        }),
    }
}

impl Heard {
    /// Why a connection that came about was of no use, if what was heard tells.
    pub(super) fn tells(&self, address: &Address, access: &Access) -> Option<Trouble> {
        let ear = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_certificate = access.identity.as_ref().is_some_and(|identity| identity.has_client_certificate);
        if let Some(alert) = ear.alert {
            return Some(Trouble::lasting(tls::alert(alert, has_certificate)));
        }
        if ear.first.starts_with(b"HTTP/") {
            return Some(Trouble::lasting("it answers as a web server of the old kind (HTTP/1), so it is no etcd"));
        }
        if !address.tls && ear.first.starts_with(&[0x15, 0x03]) {
            return Some(Trouble::lasting("it speaks TLS and is asked without; write https:// and set tls"));
        }
        if ear.ended && ear.first.is_empty() {
            let guess = if address.tls { "is it etcd?" } else { "does it want TLS (https://)?" };
            return Some(Trouble::guess(format!("it closed the connection without a word; {guess}")));
        }
        None
    }

    fn hear(&self, bytes: &[u8]) {
        let mut ear = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = FIRST.saturating_sub(ear.first.len());
        ear.first.extend(bytes.iter().take(room));
        ear.ended |= bytes.is_empty();
    }

    fn broke(&self, error: &io::Error) {
        let mut ear = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ear.ended = true;
        if let Some(rustls::Error::AlertReceived(alert)) = error.get_ref().and_then(|e| e.downcast_ref()) {
            ear.alert = Some(*alert);
        }
    }
}

impl Stream {
    /// A write that failed is not told before what the other side said last has been heard: it closed the connection,
    /// and why stands before that. The socket has failed, so its other half is ready soon.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(e)) = &result {
            ready!(self.hear_last_words(cx));
            self.heard.broke(e);
        }
        result
    }

    fn hear_last_words(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut room = [0; 512];
            let mut buf = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut self.bytes).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.heard.hear(buf.filled()),
                Ok(()) => return Poll::Ready(()),
                Err(e) => {
                    self.heard.broke(&e);
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.bytes).poll_read(cx, buf));
        match &result {
            Ok(()) => self.heard.hear(&buf.filled()[before..]),
            Err(e) => self.heard.broke(e),
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.bytes).poll_write(cx, buf);
        self.written(result, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.bytes).poll_flush(cx);
        self.written(result, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_apart() {
        for (url, target, tls, origin, name) in [
            ("http://10.0.0.1:2379", Target::Tcp("10.0.0.1:2379".into()), false, "http://10.0.0.1:2379", "10.0.0.1"),
            ("https://[fd00::1]:2379", Target::Tcp("[fd00::1]:2379".into()), true, "https://[fd00::1]:2379", "fd00::1"),
            ("https://cp-1:2379", Target::Tcp("cp-1:2379".into()), true, "https://cp-1:2379", "cp-1"),
            ("unix:///run/e", Target::Unix("/run/e".into()), false, "http://localhost", "localhost"),
            ("unixs:///run/e", Target::Unix("/run/e".into()), true, "https://localhost", "localhost"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((&address.target, address.tls, address.origin().as_str()), (&target, tls, origin), "{url}");
            assert_eq!(address.server_name().unwrap().to_str(), name, "{url}");
        }
        assert_eq!(Address::parse("not an endpoint"), None);
    }
}
