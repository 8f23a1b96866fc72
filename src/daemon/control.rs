//! The control socket: what `vipd status` and `vipd reload` ask. One request is one line of JSON, and so is its answer.
//!
//! In the runtime directory, for its owner and group alone. It bounds whatever comes (length, time, number) and hands the
//! loop only what it understood; a full queue there is an answer, too. It decides nothing.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::reload::{Refused, Reloaded, Reloader, Verdict};
use crate::config::Config;
use crate::status::Status;

/// The socket's name in the runtime directory.
const NAME: &str = "control.sock";
/// The longest request, in bytes.
const LONGEST: u64 = 4096;
/// How long a request, or taking its answer, may take.
const BOUND: Duration = Duration::from_secs(5);
/// Who may be connected at once.
const CLIENTS: usize = 16;
/// Requests that wait for the loop.
pub(super) const WAITING: usize = 4;

/// Where the socket is.
pub fn path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(NAME)
}

/// Removes what a dead daemon left; for whoever has the claim, so that nobody listens there.
pub(super) fn forget(runtime_dir: &Path) {
    if let Err(e) = remove(&path(runtime_dir)) {
        warn!("the control socket of an earlier life is left behind: {e}");
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// What is asked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", tag = "command")]
pub enum Request {
    /// The whole picture.
    Status,
    /// Read the config anew and apply what changed.
    Reload,
}

/// What is answered.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The whole picture.
    Status(Status),
    /// What the reload did.
    Reload(Reloaded),
    /// The file was refused, and nothing was changed.
    Refused(Refused),
    /// The request was not understood, or cannot be carried out now.
    Error(String),
}

/// A request for the loop.
#[derive(Debug)]
pub(super) enum Ask {
    Status(oneshot::Sender<Status>),
    /// A checked configuration.
    Reload(Box<Config>, oneshot::Sender<Verdict>),
    /// One that did not pass the check; for the status.
    Refused(Vec<String>),
}

/// The socket; it goes with this value.
#[derive(Debug)]
pub(super) struct Control {
    path: PathBuf,
    serving: AbortHandle,
}

impl Control {
    /// Listens; the loop's requests go to `asks`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(super) fn start(runtime_dir: &Path, asks: mpsc::Sender<Ask>, reloader: Reloader) -> io::Result<Self> {
        let path = path(runtime_dir);
        remove(&path)?;
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
        let serving = tokio::spawn(serve(listener, asks, reloader)).abort_handle();
        Ok(Self { path, serving })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.serving.abort();
        if let Err(e) = std::fs::remove_file(&self.path) {
            debug!("the control socket is left behind: {e}");
        }
    }
}

async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>, reloader: Reloader) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        // Who comes while all places are taken waits in the kernel's queue.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (asks, reloader) = (asks.clone(), reloader.clone());
                tokio::spawn(async move {
                    let ended = timeout(BOUND, converse(stream, asks, reloader)).await;
                    debug!(?ended, "a client of the control socket");
                    drop(place);
                });
            }
            Err(e) => {
                warn!("the control socket: {e}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One request, one answer.
async fn converse(stream: UnixStream, asks: mpsc::Sender<Ask>, reloader: Reloader) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    BufReader::new(read.take(LONGEST)).read_until(b'\n', &mut line).await?;
    let answer = answer(&line, &asks, &reloader).await;
    let mut text = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    text.push(b'\n');
    write.write_all(&text).await?;
    write.shutdown().await
}

async fn answer(line: &[u8], asks: &mpsc::Sender<Ask>, reloader: &Reloader) -> Answer {
    if line.last() != Some(&b'\n') {
        return Answer::Error(format!("a request is one line of at most {LONGEST} bytes"));
    }
    match serde_json::from_slice(line) {
        Ok(Request::Status) => {
            let (tell, told) = oneshot::channel();
            match asks.try_send(Ask::Status(tell)) {
                Ok(()) => told.await.map_or_else(|_| busy(), Answer::Status),
                Err(_) => busy(),
            }
        }
        Ok(Request::Reload) => reloader.reload().await,
        Err(e) => Answer::Error(format!("not understood: {e}")),
    }
}

fn busy() -> Answer {
    Answer::Error("the daemon is busy or ending; try again".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("vipd-control-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            // In vain: somebody looks at it.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn ask(place: &Place, request: &[u8]) -> Result<Answer, String> {
        let stream = UnixStream::connect(path(&place.0)).await.map_err(|e| e.to_string())?;
        let (read, mut write) = stream.into_split();
        // The other side may have said no before it has heard it all.
        let _refused = write.write_all(request).await;
        let _refused = write.shutdown().await;
        let mut line = String::new();
        BufReader::new(read).read_line(&mut line).await.map_err(|e| e.to_string())?;
        serde_json::from_str(&line).map_err(|e| format!("{e}: {line:?}"))
    }

    fn start(place: &Place) -> (Control, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(WAITING);
        let reloader = Reloader::new(&place.0.join("config.yaml"), asks.clone());
        (Control::start(&place.0, asks, reloader).unwrap(), asked)
    }

    #[tokio::test]
    async fn a_request_is_answered_and_the_socket_is_for_owner_and_group_alone() {
        let place = Place::new("answered");
        let (control, mut asks) = start(&place);
        let mode = std::fs::metadata(path(&place.0)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        tokio::spawn(async move {
            while let Some(Ask::Status(tell)) = asks.recv().await {
                tell.send(Status::for_test()).unwrap();
            }
        });
        let answer = ask(&place, b"{\"command\":\"status\"}\n").await;
        assert!(matches!(answer, Ok(Answer::Status(got)) if got == Status::for_test()));
        drop(control);
        assert!(!path(&place.0).exists());
    }

    #[tokio::test]
    async fn what_is_not_understood_never_reaches_the_loop() {
        let place = Place::new("junk");
        let (_control, mut asks) = start(&place);
        let long = vec![b'x'; 100_000];
        let deep = [b"[".repeat(4000), b"\n".to_vec()].concat();
        for request in [
            &b""[..],
            b"\n",
            b"{}\n",
            b"{\"command\":\"reboot\"}\n",
            b"\xff\xfe\n",
            b"{\"command\":\"status\"}",
            &long,
            &deep,
        ] {
            match ask(&place, request).await {
                Ok(Answer::Error(_)) | Err(_) => {}
                Ok(_) => panic!("{request:?} was understood"),
            }
        }
        assert!(asks.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_loop_that_is_busy_is_an_answer_and_an_old_socket_is_no_hindrance() {
        let place = Place::new("busy");
        std::mem::forget(start(&place).0);
        let (_control, asks) = start(&place);
        drop(asks);
        let answer = ask(&place, b"{\"command\":\"status\"}\n").await.unwrap();
        assert!(matches!(answer, Answer::Error(why) if why.contains("busy")));
    }
}
