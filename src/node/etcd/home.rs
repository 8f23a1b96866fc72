//! Back to this node's own member, the first endpoint, when it is well again.
//!
//! While another is asked first, the home member is tried now and then with the read that a counted pair needs. It has to
//! answer quickly several times in a row, and oftener if it was left soon after the last time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::answer;
use super::members::Members;

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(5);
/// An answer that takes longer is no good sign: a renewal would be late.
const QUICK: Duration = Duration::from_millis(250);
/// So many quick answers in a row, at the least and at the most.
const LEAST: u32 = 3;
const MOST: u32 = 24;
/// Who is left sooner than this after it was taken back has to be good for twice as long next time.
const SETTLED: Duration = Duration::from_secs(300);

/// Whether to go home.
struct Homecoming {
    /// Quick answers in a row.
    streak: u32,
    /// How many are wanted.
    wanted: u32,
    came_home: Option<Instant>,
}

impl Homecoming {
    const fn new() -> Self {
        Self { streak: 0, wanted: LEAST, came_home: None }
    }

    /// Another is asked first now.
    fn left(&mut self, now: Instant) {
        let soon = self.came_home.is_some_and(|at| now - at < SETTLED);
        self.wanted = if soon { (self.wanted * 2).min(MOST) } else { LEAST };
        self.streak = 0;
    }

    /// The home member was tried: whether it is to be asked first again.
    fn tried(&mut self, is_quick: bool, now: Instant) -> bool {
        self.streak = if is_quick { self.streak + 1 } else { 0 };
        let home = self.streak >= self.wanted;
        if home {
            self.came_home = Some(now);
        }
        home
    }
}

/// Goes home whenever that is right, for ever.
pub(super) async fn run(members: Arc<Members>) {
    let mut homecoming = Homecoming::new();
    loop {
        members.left_home().await;
        homecoming.left(Instant::now());
        let (home, now) = (members.line(members.home()), members.line(members.first()));
        tracing::info!(member = %home.url, first_now = %now.url, "the first endpoint fails, is late or was named just now: another is asked first");
        while members.first() != members.home() {
            sleep(EVERY).await;
            if members.first() == members.home() {
                break;
            }
            let is_quick = try_home(&members).await;
            if homecoming.tried(is_quick, Instant::now()) {
                tracing::info!(member = %members.line(members.home()).url, "the first endpoint is well again and is asked first");
                members.prefer(members.home());
            }
        }
    }
}

async fn try_home(members: &Members) -> bool {
    let line = members.line(members.home());
    let Some(link) = line.link() else { return false };
    let read = timeout(QUICK, answer::read_short(&mut link.kv.clone(), &members.prefix)).await;
    let is_quick = matches!(read, Ok(Ok(_)));
    if is_quick {
        line.answered();
    }
    is_quick
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_quick_answers_in_a_row_and_not_with_a_late_one_between() {
        let mut homecoming = Homecoming::new();
        let now = Instant::now();
        homecoming.left(now);
        let told = [true, true, false, true, true, true].map(|quick| homecoming.tried(quick, now));
        assert_eq!(told, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_home_that_is_left_again_soon_does_not_flap() {
        let mut homecoming = Homecoming::new();
        let mut now = Instant::now();
        let mut tries = Vec::new();
        for _ in 0..6 {
            homecoming.left(now);
            tries.push((1..).find(|_| homecoming.tried(true, now)).unwrap());
            now += Duration::from_secs(1);
        }
        assert_eq!(tries, [3, 6, 12, 24, 24, 24]);
        homecoming.left(now + SETTLED);
        assert_eq!((1..).find(|_| homecoming.tried(true, now)), Some(3));
    }
}
