//! One connection to the kernel's routing netlink, on a thread of its own.
//!
//! Sending a netlink message carries the request out, inside the send: on a node where the kernel's network
//! configuration lock is busy (pods come and go) it may block for as long as that takes, non-blocking socket or not.
//! So the connection does not live on the daemon's own reactor.
//!
//! rtnetlink ends an answer the same way whether the kernel finished it or the connection died, so that a dead
//! connection looks like an empty list. Here an answer counts only with the kernel's own end mark.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_DUMP_INTR, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::Handle;
use tokio::sync::oneshot;

use super::Error;

/// How long a question may take. Answers come within a millisecond; where the kernel's lock is busy, in some hundred.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// An open connection. The thread ends with it.
#[derive(Debug)]
pub(super) struct Line {
    handle: Handle,
}

impl Line {
    /// Opens a connection in this thread's network namespace.
    pub(super) async fn open() -> io::Result<Self> {
        let (tell, told) = oneshot::channel();
        std::thread::Builder::new().name("vipd-netlink".into()).spawn(move || serve(tell))?;
        let handle = told.await.unwrap_or_else(|_| Err(io::Error::other("its thread ended")))?;
        Ok(Self { handle })
    }

    /// Sends a request and collects its whole answer, which may take so long.
    pub(super) async fn ask(
        &mut self,
        request: NetlinkMessage<RouteNetlinkMessage>,
        patience: Duration,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        tokio::time::timeout(patience, self.collect(request)).await.unwrap_or(Err(Error::Silent(patience)))
    }

    async fn collect(
        &mut self,
        request: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut answer = self.handle.request(request).map_err(|_| Error::Died)?;
        let (mut collected, mut torn) = (Vec::new(), false);
        while let Some(message) = answer.next().await {
            torn |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => collected.push(inner),
                NetlinkPayload::Error(e) if e.code.is_some() => return Err(Error::Refused(e.to_io())),
                NetlinkPayload::Done(done) if done.code != 0 => {
                    return Err(Error::Refused(io::Error::from_raw_os_error(done.code.abs())));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) if torn => return Err(Error::Torn),
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(collected),
                _ => return Err(Error::Torn),
            }
        }
        Err(Error::Died)
    }
}

/// The thread: opens, hands the handle over, and serves until the handle is dropped or the socket breaks.
fn serve(tell: oneshot::Sender<io::Result<Handle>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(e) => return drop(tell.send(Err(e))),
    };
    runtime.block_on(async {
        match rtnetlink::new_connection() {
            Ok((mut connection, handle, unasked)) => {
                // Both end marks, to be told from a connection that died.
                connection.set_forward_done(true);
                connection.set_forward_ack(true);
                drop(unasked);
                if tell.send(Ok(handle)).is_ok() {
                    connection.await;
                }
            }
            Err(e) => drop(tell.send(Err(e))),
        }
    });
}

#[cfg(test)]
impl Line {
    /// A connection whose other end is gone, as after the death of its task.
    pub(super) fn dead() -> Self {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        drop(connection);
        Self { handle }
    }
}
