//! What the next start must know if this life ends badly: the leases and the addresses, in the runtime directory.
//!
//! On a tmpfs, so that a reboot, which takes the addresses along, takes this along too. A file that cannot be read
//! says nothing; it is never a reason not to start.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::election::event::LeaseId;

/// Leases that are remembered: this life's, and of earlier ones that ended before they could be released.
const LEASES: usize = 4;

/// The runtime directory's record.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    record: Record,
    /// Held for as long as this life: daemons of two network namespaces may see one directory, and each would take the
    /// other's leases for left-overs.
    _lock: fs::File,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// Newest first.
    leases: Vec<i64>,
    addresses: Vec<IpAddr>,
}

/// Why nothing can be remembered.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
pub struct MemoryError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Memory {
    /// Opens the record in `dir`, which is created if need be.
    ///
    /// # Errors
    /// When the directory cannot be created, or another daemon has it.
    pub fn open(dir: &Path) -> Result<Self, MemoryError> {
        let failed = |what| move |source| MemoryError { what, path: dir.into(), source };
        fs::create_dir_all(dir).map_err(failed("create the runtime directory"))?;
        let lock = fs::File::create(dir.join("lock")).map_err(failed("create a lock in the runtime directory"))?;
        lock.try_lock().map_err(|e| failed("have for itself the runtime directory")(e.into()))?;
        let path = dir.join("session.json");
        let record = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                warn!(path = %path.display(), "what an earlier life left says nothing: {e}");
                Record::default()
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(e) => {
                warn!(path = %path.display(), "what an earlier life left cannot be read: {e}");
                Record::default()
            }
        };
        Ok(Self { path, record, _lock: lock })
    }

    /// Leases of earlier lives, newest first.
    pub fn leases(&self) -> Vec<LeaseId> {
        self.record.leases.iter().copied().map(LeaseId).collect()
    }

    /// Addresses that earlier lives may have put.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.record.addresses
    }

    /// The addresses of this life. Written before any of them is put.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn will_put(&mut self, addresses: Vec<IpAddr>) -> Result<(), MemoryError> {
        self.record.addresses = addresses;
        self.write()
    }

    /// A new lease of this life. Written before anything stands under it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn lease(&mut self, lease: LeaseId) -> Result<(), MemoryError> {
        self.record.leases.insert(0, lease.0);
        self.record.leases.truncate(LEASES);
        self.write()
    }

    /// All was given back: the next start need know nothing.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(&mut self) -> Result<(), MemoryError> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(MemoryError { what: "remove", path: self.path.clone(), source: e })
            }
            _ => Ok(()),
        }
    }

    /// Whole or not at all: a torn file would say nothing.
    fn write(&self) -> Result<(), MemoryError> {
        let failed = |source| MemoryError { what: "write", path: self.path.clone(), source };
        let bytes = serde_json::to_vec(&self.record).map_err(|e| failed(e.into()))?;
        let new = self.path.with_extension("new");
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, &self.path)).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_leases_and_addresses_until_all_is_given_back() {
        let dir = std::env::temp_dir().join(format!("vipd-memory-{}", std::process::id()));
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        let mut memory = Memory::open(&dir).unwrap();
        memory.will_put(vec![ip]).unwrap();
        (1..=9).for_each(|n| memory.lease(LeaseId(n)).unwrap());

        assert!(Memory::open(&dir).is_err(), "one life at a time");
        drop(memory);
        let mut again = Memory::open(&dir).unwrap();
        assert_eq!(again.leases(), [9, 8, 7, 6].map(LeaseId));
        assert_eq!(again.addresses(), [ip]);
        again.forget().unwrap();
        drop(again);
        assert!(Memory::open(&dir).unwrap().leases().is_empty());

        fs::write(dir.join("session.json"), b"{\"leases\":7").unwrap();
        assert!(Memory::open(&dir).unwrap().leases().is_empty(), "a torn file says nothing");
        fs::remove_dir_all(&dir).unwrap();
    }
}
