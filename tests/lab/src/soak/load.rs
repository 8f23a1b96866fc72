//! Something else that keeps all cores busy.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;

/// Threads that do nothing, as fast as they can, until this is dropped.
pub(super) struct Load(Arc<AtomicBool>);

impl Load {
    /// Two for each core, so that whoever else wants one has to wait for it.
    pub(super) fn start() -> Result<Self> {
        let load = Self(Arc::default());
        for _ in 0..2 * thread::available_parallelism()?.get() {
            let over = Arc::clone(&load.0);
            thread::Builder::new().name("load".to_owned()).spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            })?;
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
