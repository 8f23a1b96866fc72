//! What the daemon logs, heard by a test on its own thread.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

thread_local! {
    /// Who listens to this thread.
    static EAR: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// What was logged so far, without colours.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<u8>>>);

/// Ends the listening when it is dropped.
pub(crate) struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        EAR.with_borrow_mut(|ear| *ear = None);
    }
}

impl Heard {
    /// Listens to this thread for as long as the second lives.
    ///
    /// One subscriber for all threads and for good: those of single threads that come and go at once make `tracing` forget
    /// now and then that anybody listens.
    pub(crate) fn listen() -> (Self, Listening) {
        static FOR_ALL: Once = Once::new();
        FOR_ALL.call_once(|| {
            let here = || EAR.with_borrow(|ear| ear.clone().unwrap_or_default());
            tracing_subscriber::fmt().with_writer(here).with_ansi(false).init();
        });
        let heard = Self::default();
        EAR.with_borrow_mut(|ear| *ear = Some(heard.clone()));
        (heard, Listening)
    }

    fn all(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines with this in them.
    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        self.all().lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }

    /// Waits for such a line; there is only one.
    pub(crate) async fn one(&self, with: &str) -> String {
        for _ in 0..1000 {
            if let [line] = self.lines(with).as_slice() {
                return line.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not one line with {with:?} in\n{}", self.all());
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
