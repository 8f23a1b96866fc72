//! What the daemon logs, heard by a test on its own thread.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::subscriber::DefaultGuard;

/// What was logged so far, without colours.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// Listens to this thread for as long as the guard lives.
    pub(crate) fn listen() -> (Self, DefaultGuard) {
        let heard = Self::default();
        let to = heard.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || to.clone()).with_ansi(false).finish();
        (heard, tracing::subscriber::set_default(lines))
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
