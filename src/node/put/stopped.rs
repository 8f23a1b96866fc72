//! The guard on the real thing: a process that stops itself at a step of a put, and goes on after the fence.
//!
//! The test is the parent, in a network namespace of its own; the child is this same test binary, which runs one of the
//! children below alone. The child says what became of its puts, the parent listens to the kernel.

use std::future::Future;
use std::io::{BufRead, BufReader, Lines};
use std::net::IpAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::*;
use crate::node::netlink::{Monitor, Netlink, News};

const V4: &str = "10.9.0.9";
const V6: &str = "fd09::9";
const STEPS: [&str; 5] = ["before", "armed", "clock", "life", "sent"];

/// What the child is told: `<address> <fresh|top-up> <guarded|bare>`.
const TOLD: &str = "VIPD_TEST_STOPPED";

/// No fence is nearer: one whole second of life and room on both sides.
const SHORT: Duration = Duration::from_millis(1500);

/// As late as the kernel may take an address off (protocol 4), and a little.
const KERNEL_LATE: Duration = Duration::from_millis(1150);

/// What a stopped put is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// It is not there.
    Fresh,
    /// It is ours and gets a later end.
    TopUp,
    /// It is the operator's, for ever, and came since the last look.
    Theirs,
}

/// Starts nothing by itself: the tests below run it in a process of its own.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let told: Vec<&str> = told.split(' ').collect();
    let ip: IpAddr = told[0].parse().unwrap();
    let leaves = if told[2] == "bare" { Duration::from_secs(3600) } else { LATE };
    block_on(async move {
        let link = Netlink::open().await.unwrap().link("eth0").await.unwrap().unwrap().id;
        let putter = Putter::start_guarded(LATE, leaves).unwrap();
        let mut over = Over::Nothing;
        if told[1] == "TopUp" {
            let Put::Done(end) = putter.put(link, ip, now() + SHORT, over).await.unwrap() else { panic!() };
            over = Over::Until(end);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let fence = now() + if over == Over::Nothing { SHORT } else { SHORT + SECOND };
        println!("> fence {}", fence.as_nanos());
        // Past what `Putter::put` waits: the thread's own word is wanted.
        let (answer, answered) = oneshot::channel();
        let (bytes, off) = (Bytes::put(link, ip, over == Over::Nothing), Bytes::take_off(link, ip, host_prefix(ip)));
        putter.orders.send(Order::Put { bytes, off, fence, over, answer }).unwrap();
        println!("> stopped {:?}", answered.await.unwrap());
        // The parent looks before this one goes on.
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        println!("> again {:?}", putter.put(link, ip, now() + SHORT, Over::Nothing).await);
        println!("> off {:?}", putter.take_off(link, ip, host_prefix(ip)).await);
    });
}

/// Says how many of its steps ended beyond the bound and, of these, how many had an exit left. Nearly all of a step is
/// in user mode, where a put spends some dozen nanoseconds.
#[test]
#[ignore = "the child of the test with stops at random instants"]
fn child_that_dawdles() {
    if std::env::var(TOLD).is_err() {
        return;
    }
    let guard = Guard::new(LATE).unwrap();
    let mut line = Line::open(PATIENCE).unwrap();
    let (mut late, mut open) = (0, 0);
    println!("> ready");
    let end = now() + 3 * SECOND;
    while now() < end {
        let step = || {
            let start = now();
            while now().since(start) < LATE / 10 {}
            // Not a message: the kernel reads it, finds nothing and says nothing.
            (now().since(start) > LATE, leave(line.exit(), &[]))
        };
        let ((is_late, left), shut) = guard.over(line.exit(), step).unwrap();
        late += u32::from(is_late);
        open += u32::from(is_late && !left.is_err_and(|e| is_shut(&e)));
        if shut {
            line.mend_exit().unwrap();
        }
    }
    println!("> late {late}, open {open}");
}

/// A child that has stopped itself at a step of a put.
struct Stopped {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    fence: Moment,
}

impl Stopped {
    /// The put of `what` stops at `step`.
    fn at(step: &str, what: What, ip: &str, guard: &str) -> Self {
        let nth = if what == What::TopUp { 2 } else { 1 };
        let told = format!("{ip} {what:?} {guard}");
        let mut stopped = Self::start("child", &told, &format!("put:{step}:{nth}"));
        let fence: i64 = stopped.says("fence").parse().unwrap();
        stopped.fence = Moment::from_nanos(fence);
        let status = waitpid(stopped.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(status, WaitStatus::Stopped(stopped.pid(), Signal::SIGSTOP));
        stopped
    }

    /// This binary, with this child as its only test.
    fn start(child: &str, told: &str, pause_at: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("node::put::stopped::{child}"), "--ignored", "--nocapture"])
            .env(TOLD, told)
            .env("VIPD_PAUSE_AT", pause_at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said, fence: Moment::default() }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// What it says next, which must be about `this`.
    fn says(&mut self, this: &str) -> String {
        let line = self.said.find_map(|line| line.unwrap().strip_prefix("> ").map(str::to_owned));
        let line = line.expect("the child says something");
        line.strip_prefix(this).unwrap_or_else(|| panic!("{line}, and not {this}")).trim().to_owned()
    }

    /// Lets it go on: what became of the put.
    fn go_on(&mut self) -> String {
        kill(self.pid(), Signal::SIGCONT).unwrap();
        self.says("stopped")
    }

    /// Lets it put once more, and take off: it works as if nothing had been.
    fn works(&mut self) {
        drop(self.child.stdin.take());
        let again = self.says("again");
        assert!(again.starts_with("Ok(Done("), "{again}");
        assert_eq!(self.says("off"), "Ok(())");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Of a test that failed; one that ended is not there any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn block_on<F: Future<Output = ()>>(future: F) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

/// Runs every case on a thread of its own, alone in a new network namespace with `eth0` in it.
fn in_worlds<T: Send, F: Future<Output = ()>>(cases: Vec<T>, test: impl Fn(T) -> F + Sync) {
    std::thread::scope(|s| {
        for case in cases {
            s.spawn(|| {
                if let Err(e) = unshare(CloneFlags::CLONE_NEWNET) {
                    return println!("skipped, because a network namespace of its own is not permitted: {e}");
                }
                run_ip("link set lo up");
                run_ip("link add eth0 type veth peer name far");
                run_ip("link set far up");
                run_ip("link set eth0 up");
                block_on(test(case));
            });
        }
    });
}

fn run_ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

async fn is_there(ip: &str) -> bool {
    !Netlink::open().await.unwrap().addresses(&[ip.parse().unwrap()]).await.unwrap().is_empty()
}

/// How often `ip` came, by the news heard so far.
fn came(monitor: &mut Monitor, ip: &str) -> usize {
    let ip: IpAddr = ip.parse().unwrap();
    let mut came = 0;
    while let Some(news) = monitor.try_next().unwrap() {
        assert_ne!(news, News::Anything, "no news were lost");
        came += usize::from(matches!(news, News::AddressNew(a) if a.ip == ip));
    }
    came
}

async fn wait_until(moment: Moment) {
    tokio::time::sleep(moment.since(now())).await;
}

/// What it says when it is let go on after the fence, and how often the address came after that.
async fn thawed_after_the_fence(step: &str, what: What, ip: &str, guard: &str) -> (Stopped, String, usize) {
    let mut stopped = Stopped::at(step, what, ip, guard);
    wait_until(stopped.fence + Duration::from_millis(100)).await;
    let deadline = stopped.fence + KERNEL_LATE;
    while is_there(ip).await {
        assert!(now() < deadline, "the kernel takes it off, {step}, {what:?}, {ip}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut monitor = Monitor::open().unwrap();
    let outcome = stopped.go_on();
    let came = came(&mut monitor, ip);
    assert!(!is_there(ip).await, "{step}, {what:?}, {ip}: {outcome}");
    (stopped, outcome, came)
}

#[test]
fn stopped_at_any_step_and_thawed_after_the_fence_it_puts_nothing_back() {
    let cases = STEPS.iter().flat_map(|step| {
        [(What::Fresh, V4), (What::Fresh, V6), (What::TopUp, V4), (What::TopUp, V6)].map(|case| (*step, case))
    });
    in_worlds(cases.collect(), |(step, (what, ip))| async move {
        let (mut stopped, outcome, came) = thawed_after_the_fence(step, what, ip, "guarded").await;
        println!("{step}, {what:?}, {ip}: {outcome}");
        assert_eq!(came, 0, "{step}, {what:?}, {ip}: {outcome}");
        match step {
            // The clock is read afterwards and says that there is no time left.
            "before" | "armed" => assert_eq!(outcome, "Ok(NotSent)"),
            "clock" | "life" => assert_eq!(outcome, "Ok(HeldUp)"),
            _ => assert!(outcome.starts_with("Ok(Late") && outcome.ends_with("off: Ok(()) })"), "{outcome}"),
        }
        stopped.works();
    });
}

/// The same stop without a guard, lest the test above hold for another reason.
#[test]
fn without_the_guard_the_same_stop_puts_it_back_after_the_fence() {
    let cases = [("clock", What::Fresh), ("life", What::Fresh), ("life", What::TopUp)];
    in_worlds(cases.to_vec(), |(step, what)| async move {
        let (mut stopped, outcome, came) = thawed_after_the_fence(step, what, V4, "bare").await;
        println!("{step}, {what:?}: {outcome}");
        assert_eq!(came, 1, "{step}, {what:?}: {outcome}");
        assert!(outcome.starts_with("Ok(Late"), "{outcome}");
        stopped.works();
    });
}

#[test]
fn stopped_at_instants_that_nobody_chose_nothing_leaves_late() {
    let mut child = Stopped::start("child_that_dawdles", "dawdle", "put:before:1");
    child.says("ready");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(30));
        kill(child.pid(), Signal::SIGSTOP).unwrap();
        std::thread::sleep(LATE + Duration::from_millis(10));
        kill(child.pid(), Signal::SIGCONT).unwrap();
    }
    let said = child.says("late");
    println!("of 20 stops, steps that were late: {said}");
    let (late, open) = said.split_once(", open ").unwrap();
    assert!(late.parse::<u32>().unwrap() >= 10 && open == "0", "{said}");
    assert!(child.child.wait().unwrap().success());
}

#[test]
fn a_stop_that_ends_before_the_fence_is_held_up_too_and_a_top_up_leaves_what_was_there() {
    in_worlds(vec![What::Fresh, What::TopUp], |what| async move {
        let mut stopped = Stopped::at("life", what, V4, "guarded");
        tokio::time::sleep(2 * LATE).await;
        assert_eq!(stopped.go_on(), "Ok(HeldUp)");
        assert!(now() < stopped.fence);
        assert_eq!(is_there(V4).await, what == What::TopUp);
    });
}

/// The answer is read however late: "it is there already" must not end in taking off what is the operator's.
#[test]
fn a_refused_put_that_is_stopped_touches_nothing() {
    in_worlds(vec![()], |()| async move {
        run_ip(&format!("address add {V4}/32 dev eth0"));
        let mut stopped = Stopped::at("sent", What::Theirs, V4, "guarded");
        tokio::time::sleep(2 * LATE).await;
        let outcome = stopped.go_on();
        assert!(outcome.starts_with("Err(Refused("), "{outcome}");
        assert!(is_there(V4).await);
    });
}

/// Prints what the guard costs; quote it from an idle machine with `--nocapture`.
#[test]
fn the_guard_costs_microseconds() {
    in_worlds(vec![()], |()| async move {
        let link = Netlink::open().await.unwrap().link("eth0").await.unwrap().unwrap().id;
        let ip: IpAddr = V4.parse().unwrap();
        let guard = Guard::new(LATE).unwrap();
        let mut writer = Writer { line: Line::open(PATIENCE).unwrap(), guard, sequence: 0, late: LATE };
        let (mut guards, mut puts) = (Vec::new(), Vec::new());
        for _ in 0..1000 {
            let start = now();
            writer.guard.over(writer.line.exit(), || ()).unwrap();
            guards.push(now().since(start));
            let (bytes, off) = (Bytes::put(link, ip, false), Bytes::take_off(link, ip, 32));
            let start = now();
            writer.put(bytes, off, now() + 3 * SECOND, Over::Whatever).unwrap();
            puts.push(now().since(start));
        }
        for (what, times) in [("the guard alone", &mut guards), ("a top-up with it", &mut puts)] {
            times.sort();
            println!("{what}: median {:?}, 9 of 10 within {:?}, worst {:?}", times[500], times[900], times[999]);
        }
        assert!(guards[500] < Duration::from_millis(1));
    });
}
