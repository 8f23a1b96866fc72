//! What is told over HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! On a thread of its own, so that neither a flood of requests nor a large page costs the loop any time. The loop is
//! asked one thing, how things are, exactly as `vipd status` asks it, and at most ten times a second. Everything that
//! comes is bounded: connections, their time, the size of a request. It decides nothing.

mod answer;
mod place;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use answer::Desk;
pub(super) use answer::Source;

/// How long a connection may last: one request, one answer.
const BOUND: Duration = Duration::from_secs(5);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(2);
/// The largest head, in bytes: hyper takes no smaller one.
const LARGEST: usize = 8192;
/// Who may be connected at once.
const CLIENTS: usize = 8;
/// How often a port that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// The listener; it ends with this value.
#[derive(Debug)]
pub(super) struct Scrape {
    _end: oneshot::Sender<()>,
}

impl Scrape {
    /// Listens, in this thread's network namespace. What cannot be listened on is told, and tried again.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(at: SocketAddr, source: Source) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("metrics".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = listen(at, Arc::new(Desk::new(source))) => {}
                    // Nobody sends: it is dropped.
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { _end: end })
    }
}

async fn listen(at: SocketAddr, desk: Arc<Desk>) {
    let mut complained = false;
    let listener = loop {
        match place::bind(at) {
            Ok(listener) => break listener,
            Err(e) if complained => debug!(%at, "metrics still cannot be told there: {e}"),
            Err(e) => warn!(%at, "metrics cannot be told there: {e}; trying again every {AGAIN:?}"),
        }
        complained = true;
        tokio::time::sleep(AGAIN).await;
    };
    if complained {
        info!(%at, "metrics are told there now");
    }
    serve(&listener, &desk).await;
}

async fn serve(listener: &TcpListener, desk: &Arc<Desk>) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        // Who comes while all places are taken waits in the kernel's queue.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = Arc::clone(desk);
                tokio::spawn(async move {
                    let ended = timeout(BOUND, converse(stream, &desk)).await;
                    debug!(?ended, "a client of the metrics");
                    drop(place);
                });
            }
            Err(e) => {
                warn!("the metrics' port: {e}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, desk: &Desk) -> hyper::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(LARGEST);
    let service = service_fn(|request| async move { Ok::<_, std::convert::Infallible>(desk.answer(&request).await) });
    http.serve_connection(TokioIo::new(stream), service).await
}

#[cfg(test)]
mod tests;
