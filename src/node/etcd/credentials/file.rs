//! One file: its bytes, and whether it may be used.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use super::Lack;
use crate::node::etcd::tls::contains;

/// The largest file that is read, in bytes. A bundle of all CAs of the world has a quarter of it.
const LARGEST: u64 = 1024 * 1024;
/// What others than owner and group may do.
const OTHERS: u32 = 0o007;
const GROUP: u32 = 0o070;

/// What a file holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Anybody may read it.
    Public,
    /// A secret of this name.
    Secret(&'static str),
}

/// A file that was read.
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// The files of one look.
#[derive(Default)]
pub(super) struct Files {
    /// Changes when any of them does.
    pub(super) fingerprint: u64,
    /// What is not as it should be, and used all the same.
    pub(super) remarks: Vec<String>,
}

impl Files {
    /// Reads a file and checks who else may.
    pub(super) fn read(&mut self, path: &Path, kind: Kind) -> Result<Content, Lack> {
        let read = read(path);
        let mut hasher = DefaultHasher::new();
        self.fingerprint.hash(&mut hasher);
        match &read {
            Ok((bytes, mode)) => (bytes.as_slice(), mode).hash(&mut hasher),
            Err(text) => text.hash(&mut hasher),
        }
        self.fingerprint = hasher.finish();
        let (bytes, mode) = read?;
        if let Kind::Secret(what) = kind {
            // A certificate in the key's place is public, and told for what it is.
            if !is_certificate(&bytes) {
                self.check_mode(path, what, mode & 0o777)?;
            }
        }
        Ok(Content { path: path.to_owned(), bytes })
    }

    /// Open to every user of the machine, a secret is none; a group is somebody's decision.
    fn check_mode(&mut self, path: &Path, what: &str, mode: u32) -> Result<(), Lack> {
        if mode & OTHERS != 0 {
            let text = format!(
                "{path:?}: the {what} is open to every user of this machine (mode {mode:04o}), and so it is not used; \
                 chmod 0600 it, and better replace it"
            );
            return Err(Lack { text, wake_up: true });
        }
        if mode & GROUP != 0 {
            self.remarks.push(format!("{path:?}: the {what} is open to a group (mode {mode:04o}); better is 0600"));
        }
        Ok(())
    }
}

impl Content {
    /// The file's one line, as a password.
    pub(super) fn password(mut self) -> Result<Zeroizing<String>, Lack> {
        while matches!(self.bytes.last(), Some(b'\n' | b'\r')) {
            self.bytes.pop();
        }
        let why = match std::str::from_utf8(&self.bytes) {
            Ok("") => "the file is empty; it must have the password and nothing else",
            Ok(password) if password.contains(['\n', '\0']) => "it has several lines; it must have the password alone",
            Ok(password) => return Ok(Zeroizing::new(password.to_owned())),
            Err(_) => "it is not UTF-8 text; it must have the password and nothing else",
        };
        Err(format!("{:?}: {why}", self.path).into())
    }
}

fn is_certificate(bytes: &[u8]) -> bool {
    contains(bytes, b"BEGIN CERTIFICATE") && !contains(bytes, b"PRIVATE KEY")
}

/// The bytes and the mode of a regular file.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), String> {
    let fail = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => format!("{path:?}: the file is not there yet"),
        io::ErrorKind::PermissionDenied => {
            format!("{path:?}: vipd may not read the file; its user is not the file's owner (see README)")
        }
        _ => format!("{path:?}: the file cannot be read: {e}"),
    };
    // A FIFO would make the opening wait for a writer.
    let file = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(format!("{path:?}: this is no regular file"));
    }
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let room = usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        bytes.zeroize();
        return Err(format!("{path:?}: the file has more than {} KiB", LARGEST / 1024));
    }
    Ok((bytes, metadata.permissions().mode()))
}
