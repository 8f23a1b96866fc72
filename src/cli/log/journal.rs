//! Log lines as entries of systemd's journal, in its native protocol: the priority, the line as people read it, and
//! every field by its name, so that `journalctl -u vipd VIP=192.168.0.15` finds what concerns one VIP.
//!
//! The loop that keeps the VIPs logs, so nothing here ever waits. What the journal does not take at once (a container's may
//! have a short queue) goes to standard error as a line, which leads there too and loses the fields; what that does not take
//! either is counted, and the number is told when something is taken again.

use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::sys::socket::{MsgFlags, send};
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
    /// Looked up each time: its socket may be made anew.
    path: PathBuf,
    /// Where lines go instead.
    lines: OwnedFd,
    lost: AtomicU64,
}

impl Journal {
    /// The journal, if standard error leads there (systemd says so in `$JOURNAL_STREAM`: the device and inode of the stream).
    pub(super) fn of_this_unit() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = nix::sys::stat::fstat(io::stderr().as_fd()).ok()?;
        let is_it = stream == format!("{}:{}", stderr.st_dev, stderr.st_ino);
        is_it.then(|| Self::at(Path::new(SOCKET), io::stderr().as_fd()).ok())?
    }

    fn at(path: &Path, lines: BorrowedFd<'_>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.into(), lines: lines.try_clone_to_owned()?, lost: AtomicU64::new(0) })
    }

    fn tell(&self, level: Level, target: &str, line: &str, fields: &[(&'static str, String)]) {
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0
            && !self.send(
                Level::WARN,
                module_path!(),
                &format!("{lost} log lines are lost: the journal did not take them"),
                &[],
            )
        {
            self.lost.fetch_add(lost, Relaxed);
        }
        if !self.send(level, target, line, fields) {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Whether somebody took it.
    fn send(&self, level: Level, target: &str, line: &str, fields: &[(&'static str, String)]) -> bool {
        let entry = Entry::new(level, target, line, fields);
        self.socket.send_to(&entry.0, &self.path).is_ok() || self.send_line(level, line)
    }

    /// The journal reads the priority off the line's beginning.
    fn send_line(&self, level: Level, line: &str) -> bool {
        let line = format!("<{}>{}\n", priority(level), line.replace('\n', " "));
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.lines.as_raw_fd(), line.as_bytes(), flags).is_ok_and(|sent| sent == line.len())
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let about = event.metadata();
        let line = fields.line();
        self.tell(*about.level(), about.target(), &line, &fields.others);
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
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> (Self, UnixDatagram) {
            let path = std::env::temp_dir().join(format!("vipd-journal-{}-{name}", std::process::id()));
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
        try_heard(socket).unwrap()
    }

    fn try_heard(socket: &UnixDatagram) -> Option<Vec<(String, String)>> {
        let mut bytes = vec![0; 64 * 1024];
        let length = socket.recv(&mut bytes).ok()?;
        let (mut rest, mut fields) = (&bytes[..length], Vec::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let length = u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap()) as usize;
            fields.push((name, String::from_utf8(rest[end + 9..end + 9 + length].to_vec()).unwrap()));
            assert_eq!(rest[end + 9 + length], b'\n');
            rest = &rest[end + 10 + length..];
        }
        Some(fields)
    }

    fn values<'f>(fields: &'f [(String, String)], name: &str) -> Vec<&'f str> {
        fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// A journal at that place, and the other end of its standard error.
    fn journal(place: &Place) -> (Journal, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Journal::at(&place.0, ours.as_fd()).unwrap(), theirs)
    }

    #[test]
    fn an_entry_has_its_priority_its_line_and_every_field() {
        let (place, socket) = Place::new("fields");
        let (journal, _lines) = journal(&place);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || {
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
    fn what_the_journal_does_not_take_goes_to_standard_error_and_nothing_is_waited_for() {
        let (place, socket) = Place::new("full");
        let (journal, mut lines) = journal(&place);
        (0..100_000).for_each(|_| journal.tell(Level::ERROR, "t", "x\ny", &[]));
        let lost = journal.lost.load(Relaxed);
        assert!(lost > 0 && lost < 100_000, "{lost}");
        let mut line = [0; 7];
        lines.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"<3>x y\n");
        assert_eq!(values(&heard(&socket), "MESSAGE"), ["x\ny"]);
        assert_eq!(values(&heard(&socket), "MESSAGE"), ["x\ny"]);
        // Room for two.
        journal.tell(Level::INFO, "t", "at last", &[]);
        socket.set_nonblocking(true).unwrap();
        let all = std::iter::from_fn(|| try_heard(&socket)).collect::<Vec<_>>();
        let last: Vec<_> = all.iter().rev().take(2).flat_map(|fields| values(fields, "MESSAGE")).collect();
        assert_eq!(last, ["at last", &format!("{lost} log lines are lost: the journal did not take them")]);
    }

    #[test]
    fn a_journal_whose_socket_was_made_anew_is_found_again() {
        let (place, socket) = Place::new("anew");
        let (journal, _lines) = journal(&place);
        journal.tell(Level::INFO, "t", "before", &[]);
        assert_eq!(values(&heard(&socket), "MESSAGE"), ["before"]);
        drop(socket);
        std::fs::remove_file(&place.0).unwrap();
        let socket = UnixDatagram::bind(&place.0).unwrap();
        journal.tell(Level::INFO, "t", "after", &[]);
        assert_eq!(values(&heard(&socket), "MESSAGE"), ["after"]);
    }
}
