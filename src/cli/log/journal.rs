//! Log lines as entries of systemd's journal, in its native protocol: the priority, the line as people read it, and
//! every field by its name, so that `journalctl -u vipd VIP=192.168.0.15` finds what concerns one VIP.
//!
//! The loop that keeps the VIPs logs, so nothing here ever waits: what the journal does not take at once is counted, and
//! the number is told when it takes something again.

use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest value, in bytes: a datagram has to hold all of an entry (`net.core.wmem_default` is 208 KiB).
const LONGEST: usize = 16 * 1024;

/// Sends events to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    lost: AtomicU64,
}

impl Journal {
    /// The journal, if standard error leads there (systemd says so in `$JOURNAL_STREAM`: the device and inode of the stream).
    pub(super) fn of_this_unit() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = nix::sys::stat::fstat(io::stderr().as_fd()).ok()?;
        (stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)).then(|| Self::at(SOCKET).ok())?
    }

    fn at(path: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, lost: AtomicU64::new(0) })
    }

    fn send(&self, entry: &[u8]) {
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0 {
            let text = format!("{lost} log lines are lost: the journal did not take them");
            let told = self.socket.send(&Entry::new(Level::WARN, module_path!(), &text, &[]).0);
            self.lost.fetch_add(if told.is_ok() { 0 } else { lost }, Relaxed);
        }
        if self.socket.send(entry).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let about = event.metadata();
        let line = fields.line();
        self.send(&Entry::new(*about.level(), about.target(), &line, &fields.others).0);
    }
}

/// An event's fields as text.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    /// The message and all fields behind it, as they are printed elsewhere.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in &self.others {
            // Writing to a text does not fail.
            let _ = write!(line, " {name}={value}");
        }
        line
    }

    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

/// One entry, as it goes out.
struct Entry(Vec<u8>);

impl Entry {
    fn new(level: Level, target: &str, line: &str, fields: &[(&'static str, String)]) -> Self {
        let mut entry = Self(Vec::with_capacity(512));
        entry.add("PRIORITY", priority(level));
        entry.add("SYSLOG_IDENTIFIER", "vipd");
        entry.add("TARGET", target);
        entry.add("MESSAGE", line);
        for (name, value) in fields {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            match name.as_str() {
                // Of a VIP of several addresses each is found by its own.
                "VIP" => value.split('+').for_each(|address| entry.add(&name, address)),
                _ => entry.add(name.trim_start_matches('_'), value),
            }
        }
        entry
    }

    /// With the length before the value: it may have several lines.
    fn add(&mut self, name: &str, value: &str) {
        let value = &value.as_bytes()[..value.len().min(LONGEST)];
        self.0.extend(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend((value.len() as u64).to_le_bytes());
        self.0.extend(value);
        self.0.push(b'\n');
    }
}

/// As syslog has them: `journalctl -p warning` shows what is to be looked at.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    struct Place(String);

    impl Place {
        fn new(name: &str) -> (Self, UnixDatagram) {
            let path = std::env::temp_dir().join(format!("vipd-journal-{}-{name}", std::process::id()));
            let path = path.to_string_lossy().into_owned();
            let socket = UnixDatagram::bind(&path).unwrap();
            (Self(path), socket)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    /// The next entry's fields.
    fn heard(socket: &UnixDatagram) -> Vec<(String, String)> {
        let mut bytes = vec![0; 64 * 1024];
        let length = socket.recv(&mut bytes).unwrap();
        let (mut rest, mut fields) = (&bytes[..length], Vec::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let length = u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap()) as usize;
            fields.push((name, String::from_utf8(rest[end + 9..end + 9 + length].to_vec()).unwrap()));
            assert_eq!(rest[end + 9 + length], b'\n');
            rest = &rest[end + 10 + length..];
        }
        fields
    }

    fn values<'f>(fields: &'f [(String, String)], name: &str) -> Vec<&'f str> {
        fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn an_entry_has_its_priority_its_line_and_every_field() {
        let (place, socket) = Place::new("fields");
        let subscriber = tracing_subscriber::registry().with(Journal::at(&place.0).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(vip = "192.168.0.15+fd00::15", took_ms = 5, "a line\nand another");
        });
        let fields = heard(&socket);
        assert_eq!(values(&fields, "PRIORITY"), ["4"]);
        assert_eq!(values(&fields, "VIP"), ["192.168.0.15", "fd00::15"]);
        assert_eq!(values(&fields, "TOOK_MS"), ["5"]);
        assert_eq!(values(&fields, "MESSAGE"), ["a line\nand another vip=192.168.0.15+fd00::15 took_ms=5"]);
        assert!(values(&fields, "TARGET")[0].ends_with("journal::tests"));
    }

    #[test]
    fn a_journal_that_takes_nothing_is_not_waited_for_and_the_loss_is_told() {
        let (place, socket) = Place::new("full");
        let journal = Journal::at(&place.0).unwrap();
        let entry = Entry::new(Level::INFO, "t", "x", &[]);
        (0..10_000).for_each(|_| journal.send(&entry.0));
        let lost = journal.lost.load(Relaxed);
        assert!(lost > 0 && lost < 10_000, "{lost}");
        for _ in lost..10_000 {
            assert_eq!(values(&heard(&socket), "MESSAGE"), ["x"]);
        }
        journal.send(&entry.0);
        assert_eq!(
            values(&heard(&socket), "MESSAGE"),
            [format!("{lost} log lines are lost: the journal did not take them")]
        );
        assert_eq!(values(&heard(&socket), "MESSAGE"), ["x"]);
    }
}
