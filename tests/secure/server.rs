//! One real etcd member on loopback, with TLS, users, both or neither; and etcdctl for its administrator.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::paper::{Authority, Dir, Pair, Wanted};

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

/// A port that was free a moment ago, below those that the kernel gives to whoever asks for any.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = 20_000 + std::process::id() % 100 * 100;
    loop {
        let port = u16::try_from(start + NEXT.fetch_add(1, Relaxed) % 100).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What is served with TLS.
pub(crate) struct Papers {
    pub(crate) ca: Authority,
    /// Who signs clients; mostly the same.
    pub(crate) client_ca: Authority,
    pub(crate) server: Pair,
    pub(crate) wants_clients: bool,
}

impl Papers {
    pub(crate) fn new() -> Self {
        Self::with(Wanted::server())
    }

    pub(crate) fn with(server: Wanted) -> Self {
        let (ca, client_ca) = (Authority::new("test CA"), Authority::new("test client CA"));
        let server = ca.sign(server);
        Self { ca, client_ca, server, wants_clients: true }
    }
}

/// One member of a cluster of one.
pub(crate) struct Etcd {
    pub(crate) port: u16,
    tls: bool,
    process: Child,
    dir: Dir,
    more: Vec<String>,
}

/// The administrator of etcd's users.
pub(crate) const ROOT: &str = "root:r00t";

impl Etcd {
    pub(crate) fn start(papers: Option<&Papers>) -> Self {
        Self::start_with(papers, &[])
    }

    pub(crate) fn start_with(papers: Option<&Papers>, more: &[&str]) -> Self {
        let dir = Dir::new();
        if let Some(papers) = papers {
            // For the administrator, whom etcd must know as any client.
            let admin = papers.client_ca.sign(Wanted::client("admin"));
            dir.write("ca.crt", papers.ca.pem(), 0o644);
            dir.write("client-ca.crt", papers.client_ca.pem(), 0o644);
            dir.write("admin.crt", admin.cert, 0o644);
            dir.write("admin.key", admin.key, 0o600);
            write_server(&dir, &papers.server);
        }
        let mut options: Vec<String> = more.iter().map(ToString::to_string).collect();
        if let Some(papers) = papers {
            let file = |name: &str| dir.path(name).display().to_string();
            options.extend(["--cert-file".into(), file("server.crt"), "--key-file".into(), file("server.key")]);
            if papers.wants_clients {
                options.extend(["--client-cert-auth".into(), "--trusted-ca-file".into(), file("client-ca.crt")]);
            }
        }
        let port = free_port();
        let process = spawn(&dir, port, papers.is_some(), &options);
        let this = Self { port, tls: papers.is_some(), process, dir, more: options };
        this.wait();
        this
    }

    /// Kills it and starts it again with what its files say now.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.process = spawn(&self.dir, self.port, self.tls, &self.more);
        self.wait();
    }

    fn stop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    pub(crate) fn swap(&self, server: &Pair) {
        write_server(&self.dir, server);
    }

    /// etcdctl, ready to be given its command.
    pub(crate) fn ctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url(), "--command-timeout=2s"]);
        if self.tls {
            let file = |name: &str| self.dir.path(name);
            command.arg("--cacert").arg(file("ca.crt"));
            command.arg("--cert").arg(file("admin.crt")).arg("--key").arg(file("admin.key"));
            // It does not matter here what its certificate says.
            command.arg("--insecure-skip-tls-verify");
        }
        command
    }

    /// One command of the administrator, which must succeed.
    pub(crate) fn does(&self, words: &[&str]) -> String {
        let out = self.ctl().args(words).output().unwrap();
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// A user with the least role that suffices, and authentication on.
    pub(crate) fn with_user(&self, user: &str, password: &str) {
        self.make_user(user, password);
        self.does(&["role", "add", "vipd"]);
        self.does(&["role", "grant-permission", "vipd", "readwrite", "--prefix=true", "vipd/"]);
        self.does(&["user", "grant-role", user, "vipd"]);
        self.turn_auth_on();
    }

    pub(crate) fn make_user(&self, user: &str, password: &str) {
        self.does(&["user", "add", &format!("{user}:{password}")]);
    }

    pub(crate) fn turn_auth_on(&self) {
        self.does(&["user", "add", ROOT]);
        self.does(&["user", "grant-role", "root", "root"]);
        self.does(&["auth", "enable"]);
    }

    fn wait(&self) {
        for _ in 0..200 {
            let log = std::fs::read_to_string(self.dir.path("log")).unwrap();
            if log.contains("ready to serve client requests") || log.contains("serving client traffic") {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("etcd does not serve, its log: {}", std::fs::read_to_string(self.dir.path("log")).unwrap());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_server(dir: &Dir, server: &Pair) {
    dir.write("server.key", &server.key, 0o600);
    dir.write("server.crt", &server.cert, 0o644);
}

fn spawn(dir: &Dir, port: u16, tls: bool, more: &[String]) -> Child {
    let url = format!("{}://127.0.0.1:{port}", if tls { "https" } else { "http" });
    let peer = format!("http://127.0.0.1:{}", free_port());
    let log = std::fs::File::create(dir.path("log")).unwrap();
    Command::new("etcd")
        .args(["--name", "m0", "--initial-cluster", &format!("m0={peer}")])
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .arg("--data-dir")
        .arg(dir.path("data"))
        .args(["--logger", "zap", "--log-outputs", "stderr", "--auth-token-ttl", "2"])
        .args(more)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
