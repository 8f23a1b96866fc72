//! Real etcd members on loopback, each a process of its own that ends with its value; and etcdctl.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Members of one cluster.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    dir: PathBuf,
    /// How its members are named in their list.
    host: String,
    /// How much it may store, in bytes.
    room: Option<usize>,
    /// Where its members' list leads instead of to the third of them.
    astray: Option<String>,
}

/// One member.
pub(crate) struct Member {
    pub(crate) url: String,
    pub(crate) socket: PathBuf,
    peer: String,
    /// It was killed.
    gone: bool,
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
        let cluster = Self::begin(n, "127.0.0.1", None, None);
        cluster.wait();
        cluster
    }

    /// The same, but its members' list names them by this address of the machine.
    pub(crate) fn start_as(n: usize, host: &str) -> Self {
        let cluster = Self::begin(n, host, None, None);
        cluster.wait();
        cluster
    }

    /// One member with room for so many bytes.
    pub(crate) fn start_with_room_for(bytes: usize) -> Self {
        let cluster = Self::begin(1, "127.0.0.1", Some(bytes), None);
        cluster.wait();
        cluster
    }

    /// Three members, whose list leads to this URL instead of to the third.
    pub(crate) fn start_leading_to(url: &str) -> Self {
        let cluster = Self::begin(3, "127.0.0.1", None, Some(url.to_owned()));
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

    fn begin(n: usize, host: &str, room: Option<usize>, astray: Option<String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vipd-etcd-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let peers = free_urls(n);
        let all: Vec<String> = peers.iter().enumerate().map(|(i, url)| format!("m{i}={url}")).collect();
        let mut cluster = Self { members: Vec::new(), dir, host: host.to_owned(), room, astray };
        for peer in &peers {
            let member = cluster.spawn(peer, &all.join(","), "new");
            cluster.members.push(member);
        }
        cluster
    }

    /// The next member's process. It serves at an address of loopback, whatever the list says, and at a socket.
    fn spawn(&self, peer: &str, all: &str, state: &str) -> Member {
        let name = format!("m{}", self.members.len());
        let url = free_urls(1).remove(0);
        let listed = url.replace("127.0.0.1", &self.host);
        let (_, port) = url.rsplit_once(':').unwrap();
        let mut listen = vec![url.clone(), format!("unix://localhost:{port}"), format!("http://[::1]:{port}")];
        if listed != url {
            listen.push(listed.clone());
        }
        let log = std::fs::File::create(self.dir.join(format!("{name}.log"))).unwrap();
        let process = Command::new("etcd")
            // Where it makes its sockets.
            .current_dir(&self.dir)
            .envs(self.room.map(|bytes| ("ETCD_QUOTA_BACKEND_BYTES", bytes.to_string())))
            .args(["--name", &name, "--initial-cluster", all, "--initial-cluster-state", state])
            .args(["--listen-client-urls", &listen.join(","), "--advertise-client-urls"])
            .arg(self.astray.as_ref().filter(|_| name == "m2").unwrap_or(&listed))
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .arg("--data-dir")
            .arg(self.dir.join(&name))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = self.dir.join(format!("localhost:{port}"));
        Member { url, socket, peer: peer.to_owned(), gone: false, process }
    }

    /// Adds one member more, as a learner, and waits until it is there.
    pub(crate) fn add_learner(&mut self) -> String {
        let name = format!("m{}", self.members.len());
        let peer = free_urls(1).remove(0);
        // Refused while the members have not been connected for 5 s.
        self.repeat(&["member", "add", &name, "--learner", "--peer-urls", &peer]);
        let known = self.members.iter().enumerate().filter(|(_, m)| !m.gone);
        let known = known.map(|(i, m)| format!("m{i}={}", m.peer));
        let all: Vec<String> = known.chain([format!("{name}={peer}")]).collect();
        let learner = self.spawn(&peer, &all.join(","), "existing");
        let url = learner.url.clone();
        self.members.push(learner);
        for _ in 0..100 {
            let list = self.ctl().args(["member", "list"]).output().unwrap();
            let list = String::from_utf8(list.stdout).unwrap();
            // Started, and a learner.
            if list.lines().any(|l| l.contains(&format!(" {name},")) && l.contains("started") && l.ends_with("true")) {
                return url;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the learner does not start");
    }

    /// Makes the newest member, a learner, a full one.
    pub(crate) fn promote_last(&self) {
        let id = self.id(self.members.len() - 1);
        // Refused before it has caught up.
        self.repeat(&["member", "promote", &id]);
    }

    /// Takes a member out of the cluster and ends it.
    pub(crate) fn remove(&mut self, i: usize) {
        let id = self.id(i);
        self.repeat(&["member", "remove", &id]);
        self.members[i].kill();
    }

    /// Gives etcdctl this command until etcd carries it out. An answer may be lost with the leader who would have given
    /// it; then etcd says that there is nothing left to do.
    fn repeat(&self, command: &[&str]) {
        const DONE_BEFORE: [&str; 3] = ["member not found", "can only promote a learner", "already exist"];
        let mut said = String::new();
        for _ in 0..150 {
            let done = self.ctl().args(command).output().unwrap();
            said = String::from_utf8_lossy(&done.stderr).into_owned();
            if done.status.success() || DONE_BEFORE.iter().any(|text| said.contains(text)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("etcd does not {command:?}: {said}");
    }

    /// A member's id, as etcdctl wants it.
    fn id(&self, i: usize) -> String {
        let list = String::from_utf8(self.ctl().args(["member", "list"]).output().unwrap().stdout).unwrap();
        let line = list.lines().find(|l| l.contains(&format!(" m{i},"))).unwrap();
        line.split(',').next().unwrap().to_owned()
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
        let there: Vec<String> = self.members.iter().filter(|m| !m.gone).map(|m| m.url.clone()).collect();
        command.env("ETCDCTL_API", "3").args(["--endpoints", &there.join(",")]);
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
    /// Freezes the member: its connections stay open and silent. Returns when all its threads stand still.
    pub(crate) fn freeze(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        let stands = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        let all_stand = || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            // One that ended meanwhile answers nothing, either.
            let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
            stats.into_iter().all(stands)
        };
        while !all_stand() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn thaw(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.gone = true;
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

/// Ports that were free a moment ago, all different, below those that the kernel gives to whoever asks for any.
pub(crate) fn free_urls(n: usize) -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = 12_000 + std::process::id() % 200 * 100;
    let ports = std::iter::repeat_with(|| start + NEXT.fetch_add(1, Relaxed) % 100);
    let free = ports.filter(|port| TcpListener::bind(format!("127.0.0.1:{port}")).is_ok());
    free.take(n).map(|port| format!("http://127.0.0.1:{port}")).collect()
}

/// An address of this machine that is not on loopback, as etcd's members have; says so if there is none.
pub(crate) fn address() -> Option<String> {
    // Nothing is sent: the kernel only looks which address it would use.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let found = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let found = found.ok().map(|a| a.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    if found.is_none() {
        println!("skipped, because this machine has no address but loopback's");
    }
    found.map(|ip| ip.to_string())
}
