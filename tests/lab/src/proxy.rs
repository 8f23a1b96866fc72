//! A proxy between a vipd and one etcd member, to the daemon a member and to the member the daemon (it has the keys of
//! both), whose answers can be made late, or stopped altogether; whose orders
//! can be held back; and whose watches can go deaf while all else goes on.
//!
//! A delay holds every piece of an answer for that long; later pieces do not wait for earlier ones' delay on top, as
//! on a long line.

mod end;
mod frames;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use self::end::End;
pub(crate) use self::end::Terminal;
use self::frames::{Frames, Watches};
use crate::clock::{self, At};
use crate::netns::NetNs;

/// The knobs of one proxy. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Proxy(Arc<Knobs>);

#[derive(Default)]
struct Knobs {
    delay_micros: AtomicU64,
    frozen: AtomicBool,
    holding: AtomicBool,
    /// How often watches were made deaf: those that were open then are, later ones hear.
    deafenings: AtomicU64,
}

impl Proxy {
    /// Listens on `listen` in `namespace` and passes on to `member`; with a `terminal`, TLS ends there and begins anew.
    pub(crate) fn start(
        namespace: &NetNs,
        listen: SocketAddr,
        member: SocketAddr,
        terminal: Option<Terminal>,
    ) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind(listen).with_context(|| format!("listen on {listen}")))?;
        let proxy = Self::default();
        let (serving, namespace) = (proxy.clone(), namespace.clone());
        thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            // The connections to the member are made by this thread, so they leave from the node.
            if namespace.join().is_ok() {
                listener.incoming().flatten().for_each(|client| serving.connect(client, member, terminal.as_ref()));
            }
        })?;
        Ok(proxy)
    }

    /// Answers take this much longer from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.delay_micros.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Nothing comes back until thawed.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.0.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Nothing that the client says goes on to the member, until it is let go; then all of it, in order.
    pub(crate) fn hold_orders(&self, held: bool) {
        self.0.holding.store(held, Ordering::Relaxed);
    }

    /// Watches that are open now hear nothing any more.
    pub(crate) fn deafen(&self) {
        self.0.deafenings.fetch_add(1, Ordering::Relaxed);
    }

    fn connect(&self, client: TcpStream, member: SocketAddr, terminal: Option<&Terminal>) {
        let (proxy, terminal) = (self.clone(), terminal.cloned());
        // Named inside a thread that stands in the node's namespace: children of a thread share it.
        let _ = thread::Builder::new()
            .name("proxied".to_owned())
            .spawn(move || proxy.serve(client, member, terminal.as_ref()));
    }

    fn serve(&self, client: TcpStream, member: SocketAddr, terminal: Option<&Terminal>) -> io::Result<()> {
        // A refused member is a refused client: the connection just ends.
        let server = TcpStream::connect_timeout(&member, Duration::from_secs(3))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (client, server) = match terminal {
            None => (End::plain(client), End::plain(server)),
            Some(terminal) => (terminal.accept(client)?, terminal.connect(server, member)?),
        };
        let (from_client, to_server) = (client.clone(), server.clone());
        let watches = Arc::new(Watches::default());
        let (asking, noted) = (self.clone(), Arc::clone(&watches));
        thread::spawn(move || {
            // Whoever hung up first, both ends are closed.
            let _ = asking.ask(&from_client, &to_server, &noted);
        });
        let (late, due) = channel();
        let holding = self.clone();
        thread::spawn(move || holding.answer(&due, &client));
        self.hold(&server, &late, &watches);
        Ok(())
    }

    /// Reads answers and notes when each may go on.
    fn hold(&self, server: &End, late: &Sender<(At, Vec<u8>)>, watches: &Watches) {
        let (mut buffer, mut frames) = ([0; 1 << 14], Frames::default());
        while let Ok(length @ 1..) = server.read(&mut buffer) {
            let due = clock::now() + Duration::from_micros(self.0.delay_micros.load(Ordering::Relaxed));
            frames.push(&buffer[..length]);
            let deafenings = self.0.deafenings.load(Ordering::Relaxed);
            let heard: Vec<u8> =
                frames.by_ref().filter(|frame| !watches.is_deaf_to(frame, deafenings)).flatten().collect();
            if !heard.is_empty() && late.send((due, heard)).is_err() {
                break;
            }
        }
        server.shutdown();
    }

    /// Hands answers to the client when they are due.
    fn answer(&self, due: &Receiver<(At, Vec<u8>)>, client: &End) {
        for (at, piece) in due {
            clock::sleep_until(at);
            while self.0.frozen.load(Ordering::Relaxed) {
                clock::sleep(Duration::from_millis(5));
            }
            if client.write_all(&piece).is_err() {
                break;
            }
        }
        client.shutdown();
    }

    /// Questions go straight on, unless they are held back. Those are asked in the end whatever became of the client:
    /// an order whose answer nobody waits for any more may still be carried out, so its cancellation is lost here.
    fn ask(&self, client: &End, server: &End, watches: &Watches) -> io::Result<()> {
        const LOOK: Duration = Duration::from_millis(5);
        let (mut buffer, mut frames, mut pending) = ([0; 1 << 14], Frames::default(), Vec::new());
        let (mut held, mut open) = (false, true);
        while open {
            match client.read(&mut buffer) {
                Ok(length @ 1..) => frames.push(&buffer[..length]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => open = false,
            }
            let deafenings = self.0.deafenings.load(Ordering::Relaxed);
            frames.by_ref().for_each(|frame| {
                watches.asked(&frame, deafenings);
                if !(held && frames::is_reset(&frame)) {
                    pending.extend(frame);
                }
            });
            let holding = self.0.holding.load(Ordering::Relaxed);
            held |= holding;
            client.set_read_timeout(holding.then_some(LOOK))?;
            while !open && self.0.holding.load(Ordering::Relaxed) {
                clock::sleep(LOOK);
            }
            if !(open && holding) && server.write_all(&std::mem::take(&mut pending)).is_err() {
                break;
            }
        }
        if held {
            // Hung up on at once, the member would drop what it was just asked.
            clock::sleep(Duration::from_secs(1));
        }
        server.shutdown();
        client.shutdown();
        Ok(())
    }
}
