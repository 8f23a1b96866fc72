//! Listens to a guest's agent: answers for who waits for them, address events for the monitor and for later.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::words::{Answer, Word};
use crate::clock::{self, At};
use crate::monitor::Monitor;
use crate::netlink::News;
use crate::timeline::NodeIndex;
use crate::urgent;

/// What the guest said, taken in by a thread.
pub(super) struct Heard {
    answers: Receiver<Answer>,
    news: Arc<Mutex<Vec<Event>>>,
}

/// An address event in a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    /// On the guest's clock, taken there.
    pub(crate) inside: Duration,
    /// On the lab's, taken on arrival.
    pub(crate) at: At,
    /// What happened.
    pub(crate) news: News,
}

impl Heard {
    /// Begins to listen.
    pub(super) fn listen(stream: UnixStream, node: NodeIndex, monitor: &Monitor) -> Result<Self> {
        let (sender, answers) = channel();
        let (news, monitor) = (Arc::new(Mutex::default()), monitor.clone());
        let heard = Self { answers, news: Arc::clone(&news) };
        let listen = move || hear(stream, node, &monitor, &sender, &news);
        thread::Builder::new().name(format!("guest-{node}")).spawn(listen)?;
        Ok(heard)
    }

    /// Waits for the answer with that number; earlier ones come from orders that nobody waited for.
    pub(super) fn answer(&self, number: u64, within: Duration) -> Result<Answer> {
        let deadline = clock::now() + within;
        loop {
            let left = deadline.since(clock::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer.number == number => return Ok(answer),
                Ok(_) => {}
                Err(_) => bail!("no answer within {within:?}"),
            }
        }
    }

    /// All address events so far.
    pub(super) fn news(&self) -> MutexGuard<'_, Vec<Event>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hear(stream: UnixStream, node: NodeIndex, monitor: &Monitor, answers: &Sender<Answer>, kept: &Mutex<Vec<Event>>) {
    urgent::this_thread();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let at = clock::now();
        match Word::parse(&line) {
            Some(Word::News { at: inside, news }) => {
                monitor.tell(node, at, &news);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Event { inside, at, news });
            }
            Some(Word::Answer(answer)) => {
                let _ = answers.send(answer);
            }
            None => {}
        }
    }
}
