//! As much HTTP as it takes to ask an etcd member how it is. Of version 1.0: then an answer comes in one piece.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What an idle member may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// The whole answer to a GET, headers and all.
pub(super) fn get(to: SocketAddr, path: &str) -> io::Result<String> {
    ask(to, &format!("GET {path} HTTP/1.0\r\nHost: {to}\r\n\r\n"))
}

fn ask(to: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
