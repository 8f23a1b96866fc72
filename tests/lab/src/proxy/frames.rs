//! Just enough HTTP/2 to make a watch go deaf: frames are told apart, the streams that carry a watch of etcd's are
//! known by their first message, and what comes back on those can be dropped while everything else goes on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;

/// Cuts a byte stream into frames.
#[derive(Default)]
pub(super) struct Frames {
    pending: Vec<u8>,
}

impl Frames {
    /// Takes in what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    /// The next whole frame, its head included. The client's preface counts as one.
    fn next(&mut self) -> Option<Vec<u8>> {
        let length = if self.pending.starts_with(PREFACE) {
            PREFACE.len()
        } else {
            let head = self.pending.get(..3)?;
            HEAD + (usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]))
        };
        // A preface that is still on its way begins with "PRI", which would be a frame of 5 MB: it waits, too.
        (self.pending.len() >= length).then(|| self.pending.drain(..length).collect())
    }
}

/// Whether a frame takes a request back.
pub(super) fn is_reset(frame: &[u8]) -> bool {
    kind_and_stream(frame).is_some_and(|(kind, _)| kind == RST_STREAM)
}

/// The watches of one connection: when each was opened, in the count of deafenings.
#[derive(Default)]
pub(super) struct Watches(Mutex<BTreeMap<u32, u64>>);

impl Watches {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame of the client's, seen after so many deafenings.
    pub(super) fn asked(&self, frame: &[u8], deafenings: u64) {
        if let Some(stream) = watch_opened_by(frame) {
            self.open().entry(stream).or_insert(deafenings);
        }
    }

    /// Whether a frame of the server's is for a watch that was open when a deafening came.
    pub(super) fn is_deaf_to(&self, frame: &[u8], deafenings: u64) -> bool {
        let Some((DATA, stream)) = kind_and_stream(frame) else { return false };
        self.open().get(&stream).is_some_and(|opened| *opened < deafenings)
    }
}

fn kind_and_stream(frame: &[u8]) -> Option<(u8, u32)> {
    let stream = frame.get(5..HEAD)?.try_into().ok().map(u32::from_be_bytes)?;
    Some((*frame.get(3)?, stream & 0x7fff_ffff))
}

/// A `WatchRequest` is a message in a message (create_request, and in it the key), where a range has its key at once.
fn watch_opened_by(frame: &[u8]) -> Option<u32> {
    const BYTES_1: u8 = 0x0a;
    let (DATA, stream) = kind_and_stream(frame)? else { return None };
    let message = frame.get(HEAD + 5..)?;
    let key = usize::from(*message.get(3)?);
    (message[0] == BYTES_1 && message[2] == BYTES_1 && message.get(4..4 + key)?.starts_with(b"vipd/")).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stream: u8, message: &[u8]) -> Vec<u8> {
        let length = message.len() + 5;
        let mut frame = vec![0, 0, length as u8, DATA, 0, 0, 0, 0, stream];
        frame.extend([0, 0, 0, 0, message.len() as u8]);
        frame.extend(message);
        frame
    }

    #[test]
    fn frames_are_cut_wherever_the_reads_end() {
        let one = data(1, b"abc");
        let mut frames = Frames::default();
        frames.push(&PREFACE[..4]);
        assert_eq!(frames.next(), None);
        frames.push(&[&PREFACE[4..], &one[..7]].concat());
        assert_eq!(frames.next().as_deref(), Some(PREFACE));
        assert_eq!(frames.next(), None);
        frames.push(&[&one[7..], &one[..]].concat());
        assert_eq!(frames.collect::<Vec<_>>(), [one.clone(), one]);
    }

    #[test]
    fn only_watches_opened_before_are_deaf() {
        let watches = Watches::default();
        watches.asked(&data(1, b"\x0a\x07\x0a\x05vipd/"), 0);
        watches.asked(&data(3, b"\x0a\x05vipd/"), 0);
        watches.asked(&data(5, b"\x0a\x07\x0a\x05vipd/"), 1);
        let deaf: Vec<u8> = (1..7).filter(|stream| watches.is_deaf_to(&data(*stream, b"x"), 1)).collect();
        assert_eq!(deaf, [1]);
    }
}
