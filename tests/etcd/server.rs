//! Real etcd members on loopback, each a process of its own that ends with its value; and etcdctl.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

/// Members of one cluster.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    dir: PathBuf,
}

/// One member.
pub(crate) struct Member {
    pub(crate) url: String,
    process: Child,
}

/// Whether etcd is here; says so if not.
pub(crate) fn installed() -> bool {
    let there = |program: &str| {
        Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let all = there("etcd") && there("etcdctl");
    if !all {
        println!("skipped, because etcd and etcdctl are not installed");
    }
    all
}

impl Cluster {
    /// Starts a cluster of `n` members and waits until all of them serve.
    pub(crate) fn start(n: usize) -> Self {
        let cluster = Self::begin(n, &[]);
        cluster.wait();
        cluster
    }

    /// One member with room for so many bytes.
    pub(crate) fn start_with_room_for(bytes: usize) -> Self {
        let cluster = Self::begin(1, &[format!("--quota-backend-bytes={bytes}")]);
        cluster.wait();
        cluster
    }

    /// Writes until it takes no more.
    pub(crate) fn fill(&self) {
        let value = "x".repeat(100_000);
        for number in 0..1000 {
            let put = self.ctl().args(["put", &format!("filler/{number}"), &value]).output().unwrap();
            if !put.status.success() {
                let said = String::from_utf8_lossy(&put.stderr).into_owned();
                assert!(said.contains("database space exceeded"), "{said}");
                return;
            }
        }
        panic!("this etcd is never full");
    }

    /// Waits until all members serve.
    pub(crate) fn wait(&self) {
        for _ in 0..40 {
            let mut health = self.ctl();
            health.args(["--command-timeout=1s", "endpoint", "health"]).stdout(Stdio::null()).stderr(Stdio::null());
            if health.status().unwrap().success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("etcd does not serve, its log: {}", std::fs::read_to_string(self.dir.join("m0.log")).unwrap());
    }

    fn begin(n: usize, more: &[String]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vipd-etcd-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let urls = free_urls(2 * n);
        let (clients, peers) = urls.split_at(n);
        let all: Vec<String> = peers.iter().enumerate().map(|(i, url)| format!("m{i}={url}")).collect();
        let start = |i: usize| {
            let log = std::fs::File::create(dir.join(format!("m{i}.log"))).unwrap();
            let process = Command::new("etcd")
                .args(["--name", &format!("m{i}"), "--initial-cluster", &all.join(",")])
                .args(["--listen-client-urls", &clients[i], "--advertise-client-urls", &clients[i]])
                .args(["--listen-peer-urls", &peers[i], "--initial-advertise-peer-urls", &peers[i]])
                .args(more)
                .arg("--data-dir")
                .arg(dir.join(format!("m{i}")))
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            Member { url: clients[i].clone(), process }
        };
        Self { members: (0..n).map(start).collect(), dir }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|m| m.url.clone()).collect()
    }

    /// The place of the member that leads.
    pub(crate) fn leader(&self) -> usize {
        let status = self.ctl().args(["endpoint", "status", "-w", "json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let leads = |s: &&serde_json::Value| s["Status"]["leader"] == s["Status"]["header"]["member_id"];
        let leader = status.as_array().unwrap().iter().find(leads).unwrap();
        self.members.iter().position(|m| leader["Endpoint"] == m.url.as_str()).unwrap()
    }

    /// etcdctl, ready to be given its command.
    pub(crate) fn ctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.urls().join(",")]);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.members.clear();
        let _left_behind = std::fs::remove_dir_all(&self.dir);
    }
}

impl Member {
    /// Freezes the member: its connections stay open and silent.
    pub(crate) fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
    }

    pub(crate) fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().unwrap())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A way to `url` on which everything takes `delay` longer, in each direction; lives as long as the runtime.
pub(crate) async fn slow_way_to(url: &str, delay: Duration) -> String {
    let target = url.trim_start_matches("http://").to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let Ok(to) = tokio::net::TcpStream::connect(&target).await else { continue };
            let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
            tokio::spawn(carry(from_read, to_write, delay));
            tokio::spawn(carry(to_read, from_write, delay));
        }
    });
    here
}

async fn carry(from: OwnedReadHalf, to: OwnedWriteHalf, delay: Duration) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some((at, bytes)) = told.recv().await {
            tokio::time::sleep_until(at).await;
            write_all(&to, bytes).await;
        }
    });
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
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

async fn write_all(to: &OwnedWriteHalf, bytes: Vec<u8>) {
    let mut rest = bytes.as_slice();
    while !rest.is_empty() && to.writable().await.is_ok() {
        match to.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Ports that were free a moment ago, all different, below those that the kernel gives to whoever asks for any.
pub(crate) fn free_urls(n: usize) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = 12_000 + std::process::id() % 200 * 100;
    let ports = std::iter::repeat_with(|| start + NEXT.fetch_add(1, Relaxed) % 100);
    let free = ports.filter(|port| TcpListener::bind(format!("127.0.0.1:{port}")).is_ok());
    free.take(n).map(|port| format!("http://127.0.0.1:{port}")).collect()
}
