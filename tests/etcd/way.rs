//! Ways to a member that can be slow, go mute, refuse or swallow: small proxies on loopback, ended with the runtime.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a way does with what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Carries it.
    Open,
    /// Takes connections, and carries nothing.
    Mute,
    /// Ends connections, and refuses new ones.
    Refuse,
    /// Answers nothing, not even to who wants to connect.
    BlackHole,
}

/// A way to a member.
pub(crate) struct Way {
    pub(crate) url: String,
    mode: watch::Sender<Mode>,
    /// Bytes that were carried to the member.
    carried: Arc<AtomicU64>,
    /// How often all that stood then was forgotten.
    forgotten: watch::Sender<u64>,
    /// Connections that were taken.
    taken: Arc<AtomicU64>,
}

/// A way to `url` on which everything takes `delay` longer, in each direction.
pub(crate) async fn slow_way_to(url: &str, delay: Duration) -> String {
    let way = Way::new(url, delay).await;
    let here = way.url.clone();
    // Nobody turns it, so it lives as long as the runtime.
    std::mem::forget(way);
    here
}

impl Way {
    pub(crate) async fn to(url: &str) -> Self {
        Self::new(url, Duration::ZERO).await
    }

    async fn new(url: &str, delay: Duration) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let socket = TcpSocket::new_v4().unwrap();
        // The black hole listens there anew.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let here = socket.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Open);
        let carried = Arc::new(AtomicU64::new(0));
        let (forgotten, forgets) = watch::channel(0);
        let taken = Arc::new(AtomicU64::new(0));
        let line = Carrier { delay, modes, carried: Arc::clone(&carried), forgets, taken: Arc::clone(&taken) };
        tokio::spawn(line.serve(socket, target));
        Self { url: format!("http://{here}"), mode, carried, forgotten, taken }
    }

    pub(crate) fn turn(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// What stands now carries nothing any more, without a word, as when a firewall forgets; new connections do.
    pub(crate) fn forget(&self) {
        self.forgotten.send_modify(|times| *times += 1);
    }

    /// How many connections were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Relaxed)
    }
}

#[derive(Clone)]
struct Carrier {
    delay: Duration,
    modes: watch::Receiver<Mode>,
    carried: Arc<AtomicU64>,
    forgets: watch::Receiver<u64>,
    taken: Arc<AtomicU64>,
}

impl Carrier {
    async fn serve(mut self, socket: TcpSocket, target: String) {
        let here = socket.local_addr().unwrap();
        let mut listener = Some(socket.listen(64).unwrap());
        let mut swallowed = Vec::new();
        loop {
            let mode = *self.modes.borrow_and_update();
            match mode {
                Mode::Open | Mode::Mute if listener.is_none() => {
                    swallowed.clear();
                    listener = Some(listen(here, 64));
                }
                Mode::Open | Mode::Mute => {}
                Mode::Refuse => listener = None,
                Mode::BlackHole => {
                    drop(listener.take());
                    let _full = listen(here, 0);
                    // A queue that is full: the kernel drops what comes.
                    for _ in 0..2 {
                        let filler = tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(here));
                        swallowed.push(filler.await.ok());
                    }
                    self.changed().await;
                    continue;
                }
            }
            let Some(listening) = &listener else {
                self.changed().await;
                continue;
            };
            tokio::select! {
                accepted = listening.accept() => {
                    let Ok((from, _)) = accepted else { continue };
                    self.taken.fetch_add(1, Relaxed);
                    tokio::spawn(self.clone().join(from, target.clone()));
                }
                () = changed(self.modes.clone()) => {}
            }
        }
    }

    async fn changed(&mut self) {
        changed(self.modes.clone()).await;
    }

    async fn join(self, from: TcpStream, target: String) {
        let Ok(to) = TcpStream::connect(&target).await else { return };
        let (from, to) = (from.into_split(), to.into_split());
        let refused = {
            let mut modes = self.modes.clone();
            async move { drop(modes.wait_for(|m| *m == Mode::Refuse).await) }
        };
        let back = Self { carried: Arc::default(), ..self.clone() };
        tokio::select! {
            () = self.carry(from.0, to.1) => {}
            () = back.carry(to.0, from.1) => {}
            () = refused => {}
        }
    }

    async fn carry(self, from: OwnedReadHalf, to: OwnedWriteHalf) {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let mut modes = self.modes.clone();
        let born = *self.forgets.borrow();
        let write = async {
            while let Some((at, bytes)) = told.recv().await {
                tokio::time::sleep_until(at).await;
                if *self.forgets.borrow() != born {
                    return std::future::pending().await;
                }
                if modes.wait_for(|m| *m == Mode::Open).await.is_err() {
                    return std::future::pending().await;
                }
                self.carried.fetch_add(bytes.len() as u64, Relaxed);
                write_all(&to, bytes).await;
            }
        };
        tokio::join!(write, read(from, tell, self.delay));
    }
}

async fn changed(mut modes: watch::Receiver<Mode>) {
    if modes.changed().await.is_err() {
        std::future::pending().await
    }
}

fn listen(here: std::net::SocketAddr, backlog: u32) -> tokio::net::TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(here).unwrap();
    socket.listen(backlog).unwrap()
}

async fn read(from: OwnedReadHalf, tell: tokio::sync::mpsc::UnboundedSender<(Instant, Vec<u8>)>, delay: Duration) {
    loop {
        let mut bytes = vec![0; 16 * 1024];
        if from.readable().await.is_err() {
            return;
        }
        match from.try_read(&mut bytes) {
            Ok(n @ 1..) => {
                bytes.truncate(n);
                let _gone = tell.send((Instant::now() + delay, bytes));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

async fn write_all(to: &OwnedWriteHalf, bytes: Vec<u8>) {
    let mut rest = bytes.as_slice();
    while !rest.is_empty() && to.writable().await.is_ok() {
        match to.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
