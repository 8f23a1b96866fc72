//! How long etcd is silent for the holder while another node's member, which leads, is killed or frozen.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::chance::Chance;
use crate::clock::{self, At, millis};
use crate::faults::{Fault, Who};
use crate::figures::Figures;
use crate::measure::led_from;
use crate::pairs::{self, Pair, Pairs, longest_silence};
use crate::scenario::Context;
use crate::timeline::NodeIndex;
use crate::world::{Options, TTL, VIP, World};

const PATIENCE: Duration = Duration::from_secs(20);
/// The default margin of the default lease, and what should be left between the longest silence and the fence.
const MARGIN: Duration = Duration::from_millis(1200);
const TO_SPARE: Duration = Duration::from_millis(500);
/// With fewer rounds the tail says nothing.
const ENOUGH: usize = 50;
/// Two members that elect take at least the election timeout, from the last heartbeat on.
const LEAST: Duration = Duration::from_millis(700);

/// What all rounds of one kind came to.
#[derive(Default)]
struct Outcome {
    silence: Figures,
    blinked: usize,
    moved: usize,
    sessions_lost: usize,
}

/// The leader killed and started again, the leader frozen and thawed, in turns.
pub(super) fn of_etcd(lab: &Context) -> Result<()> {
    let options = Options { log: Some(pairs::LOG), ..Options::default() };
    let mut world = lab.world(options)?;
    world.one_holder(VIP, PATIENCE)?;
    let mut chance = lab.chance();
    let (mut killed, mut frozen) = (Outcome::default(), Outcome::default());
    for round in 0..lab.rounds(2, 100) {
        one(&mut world, &mut chance, 1 + round % 2, Signal::SIGKILL, &mut killed)?;
        one(&mut world, &mut chance, 1 + round % 2, Signal::SIGSTOP, &mut frozen)?;
    }
    killed.tell(lab, "etcd leader killed");
    frozen.tell(lab, "etcd leader frozen");
    world.monitor.no_overlap(At::default(), clock::now())?;
    killed.judge(lab)?;
    frozen.judge(lab)
}

/// One leader `beside` the holder gets the signal, and goes on when the silence is over.
fn one(world: &mut World, chance: &mut Chance, beside: usize, signal: Signal, outcome: &mut Outcome) -> Result<()> {
    /// By then the member has been away for long enough to be one that comes back.
    const AWAY: Duration = Duration::from_secs(3);
    /// So long the return is part of the trouble.
    const RETURNED: Duration = Duration::from_millis(1500);
    let holder = led_from(world, beside)?;
    let leader = (holder + beside) % 3;
    // At any instant between two renewals and two heartbeats.
    clock::sleep(chance.between(Duration::ZERO, Duration::from_millis(500)));
    let pairs = Pairs::from_now_on(world, holder);
    clock::sleep(Duration::from_millis(1100));
    let hit = clock::now();
    Fault::Signal(leader, Who::Etcd, signal).hit(world)?;
    let over = |pair: &Pair| pair.counted > hit + Duration::from_millis(300);
    let ended = clock::poll_every(Duration::from_millis(100), PATIENCE, || pairs.so_far(world).iter().any(over));
    ensure!(ended, "no pair counted on {} within {}", world.names(&[holder]), millis(PATIENCE));
    clock::sleep_until(hit + AWAY);
    if signal == Signal::SIGKILL {
        world.service(leader, Who::Etcd).kill();
        Fault::Start(leader, Who::Etcd).hit(world)?;
    } else {
        Fault::Signal(leader, Who::Etcd, Signal::SIGCONT).hit(world)?;
    }
    clock::sleep(RETURNED);
    outcome.add(world, holder, hit, &pairs.so_far(world))
}

impl Outcome {
    fn add(&mut self, world: &World, holder: NodeIndex, hit: At, pairs: &[Pair]) -> Result<()> {
        let silence = longest_silence(pairs, hit).context("the daemon's log has no two pairs")?;
        ensure!(silence > LEAST, "silent for {} only: the leader was none", millis(silence));
        self.silence.add(silence);
        let lost = pairs.windows(2).any(|two| two[0].lease != two[1].lease);
        self.sessions_lost += usize::from(lost);
        let changes = world.monitor.timeline().changes(VIP, hit);
        let moved = changes.iter().any(|change| change.node != holder);
        // Away for longer than a lease, an old server may revoke leases on its return: the one cause there is.
        ensure!(!moved || lost, "{VIP} moved although its lease lives: {changes:?}");
        self.moved += usize::from(moved);
        self.blinked += usize::from(!moved && !changes.is_empty());
        world.monitor.no_overlap(hit, clock::now())
    }

    fn tell(&self, lab: &Context, what: &str) {
        let figures = &self.silence;
        let [p90, p99] = [90, 99].map(|percent| millis(figures.percentile(percent)));
        lab.say(format_args!(
            "{what}, silence: n {}, min {}, median {}, p90 {p90}, p99 {p99}, max {}",
            figures.count(),
            millis(figures.least()),
            millis(figures.median()),
            millis(figures.most()),
        ));
        let spread = figures.spread(Duration::from_millis(250)).into_iter();
        let spread: Vec<String> = spread.map(|(from, count)| format!("{count} from {} ms", from.as_millis())).collect();
        lab.say(format_args!("  {}", spread.join(", ")));
        lab.say(format_args!(
            "  the VIP moved in {} of {}, blinked in {}; sessions lost: {}",
            self.moved,
            figures.count(),
            self.blinked,
            self.sessions_lost
        ));
    }

    /// The default TTL has to be `p99 + margin + 0.5 s` at least; that is said. Less than `p99 + margin` is a failure:
    /// the VIP blinks then whenever etcd's leader changes in a slow way.
    fn judge(&self, lab: &Context) -> Result<()> {
        if self.silence.count() < ENOUGH {
            lab.say(format_args!("fewer than {ENOUGH} rounds: the TTL is not judged by them"));
            return Ok(());
        }
        let outlasted = self.silence.percentile(99) + MARGIN;
        let wanted = outlasted + TO_SPARE;
        let verdict = if wanted <= TTL { "enough" } else { "TOO SHORT by that measure" };
        lab.say(format_args!("p99 + margin + {TO_SPARE:?} = {}; the TTL of {TTL:?} is {verdict}", millis(wanted)));
        ensure!(outlasted <= TTL, "one silence in a hundred outlasts the fence: {}", millis(outlasted));
        Ok(())
    }
}
