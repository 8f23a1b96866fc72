//! An adapter under test, what it reported, and what it said.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;
use vipd::config::{self, ClientCertificate};
use vipd::election::action::Action;
use vipd::election::event::{Event, Header, LeaseId, Pair};
use vipd::election::record::{self, CandidateRecord};
use vipd::node::etcd::Etcd;

/// Whatever is waited for here comes in less, also on a busy machine.
const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    etcd: Etcd,
    events: mpsc::Receiver<Event>,
    pub(crate) said: Said,
    _listening: Listening,
}

/// The log lines of one test.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    pub(crate) fn all(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines of a level.
    pub(crate) fn lines(&self, level: &str) -> Vec<String> {
        let all = self.all();
        all.lines().filter(|line| line.trim_start().starts_with(level)).map(|l| l.trim().to_owned()).collect()
    }

    /// Waits for a line with these words.
    pub(crate) async fn wait_for(&self, words: &str) -> String {
        let found = async {
            loop {
                if let Some(line) = self.all().lines().find(|line| line.contains(words)) {
                    return line.trim().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(LONG, found).await;
        found.unwrap_or_else(|_| panic!("{words:?} is not said in\n{}", self.all()))
    }

    /// Listens to what this thread says from now on, down to this level.
    ///
    /// One subscriber for all threads and for good: those of single threads that come and go at once make `tracing` forget
    /// now and then that anybody listens.
    pub(crate) fn listen(&self, level: tracing::Level) -> Listening {
        static FOR_ALL: Once = Once::new();
        FOR_ALL.call_once(|| {
            let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
            lines.without_time().with_target(false).with_writer(Here).init();
        });
        EAR.with_borrow_mut(|ear| *ear = Some((self.clone(), level)));
        Listening
    }
}

thread_local! {
    /// Who listens to this thread, and down to which level.
    static EAR: RefCell<Option<(Said, tracing::Level)>> = const { RefCell::new(None) };
}

/// Ends the listening when it is dropped.
pub(crate) struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        EAR.with_borrow_mut(|ear| *ear = None);
    }
}

/// Writes for whoever listens to the thread that speaks.
struct Here;

impl<'a> MakeWriter<'a> for Here {
    type Writer = Said;

    fn make_writer(&'a self) -> Said {
        Said::default()
    }

    fn make_writer_for(&'a self, about: &tracing::Metadata<'_>) -> Said {
        let ear = EAR.with_borrow(|ear| ear.clone().filter(|(_, level)| about.level() <= level));
        ear.map(|(said, _)| said).unwrap_or_default()
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lab {
    pub(crate) fn start(config: &config::Etcd) -> Self {
        Self::start_at(config, tracing::Level::DEBUG)
    }

    pub(crate) fn start_at(config: &config::Etcd, level: tracing::Level) -> Self {
        let said = Said::default();
        let listening = said.listen(level);
        let (tell, events) = mpsc::channel(64);
        let etcd = Etcd::start(config, config::Ttl::Auto, tell);
        Self { etcd, events, said, _listening: listening }
    }

    pub(crate) fn order(&self, action: Action) {
        self.etcd.carry_out(&action);
    }

    pub(crate) async fn next<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the adapter lives");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(LONG, found).await;
        found.unwrap_or_else(|_| panic!("the event does not come; said:\n{}", self.said.all()))
    }

    pub(crate) async fn picture(&mut self) -> Header {
        self.next(|e| if let Event::PictureRead { header, .. } = e { Some(*header) } else { None }).await
    }

    /// As the election does: asks again while nothing comes.
    pub(crate) async fn grant(&mut self) -> LeaseId {
        for _ in 0..10 {
            self.order(Action::GrantLease);
            let granted = self.next(|e| if let Event::LeaseGranted { lease, .. } = e { Some(*lease) } else { None });
            if let Ok(lease) = tokio::time::timeout(Duration::from_secs(2), granted).await {
                return lease;
            }
        }
        panic!("no lease; said:\n{}", self.said.all());
    }

    pub(crate) async fn pair(&mut self, lease: LeaseId) -> Pair {
        for _ in 0..20 {
            self.order(Action::Renew { lease });
            let pair = self.next(|e| if let Event::PairAnswered(pair) = e { Some(*pair) } else { None });
            if let Ok(pair) = tokio::time::timeout(Duration::from_millis(500), pair).await {
                return pair;
            }
        }
        panic!("no pair; said:\n{}", self.said.all());
    }

    /// A whole life: reads, stands, is renewed, writes its record and says goodbye.
    pub(crate) async fn live(&mut self) {
        self.picture().await;
        let lease = self.grant().await;
        let address = "10.0.0.1".parse().unwrap();
        let key = record::candidate_key("vipd", address, lease);
        let record = CandidateRecord { node: "cp-1".into(), addresses: vec![address] };
        self.order(Action::Stand { key: key.clone(), lease, record });
        self.next(|e| matches!(e, Event::Changed { .. }).then_some(())).await;
        self.pair(lease).await;
        let node =
            record::NodeRecord { node: "cp-1".into(), version: "test".into(), leaving: true, ..Default::default() };
        self.order(Action::WriteRecord { lease, record: node.clone() });
        self.next(|e| matches!(e, Event::Changed { .. }).then_some(())).await;
        self.order(Action::RevokeLease { lease, record: Some(node) });
        self.next(|e| (*e == Event::LeaseRevoked { lease }).then_some(())).await;
    }
}

/// A config with these files.
pub(crate) fn config(endpoint: String, ca: PathBuf, client: Option<(PathBuf, PathBuf)>) -> config::Etcd {
    let client = client.map(|(cert, key)| ClientCertificate { cert, key });
    let tls = config::Tls { ca, client, server_name: None };
    config::Etcd { endpoints: vec![endpoint], discover: false, tls: Some(tls), ..config::Etcd::default() }
}

pub(crate) fn plain(endpoint: String) -> config::Etcd {
    config::Etcd { endpoints: vec![endpoint], discover: false, ..config::Etcd::default() }
}
