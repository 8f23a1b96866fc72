//! One end of what a proxy joins, plain or TLS: two threads have it, one reads and one writes.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::world::Client;

/// One end. Cheap to clone.
#[derive(Clone)]
pub(super) struct End {
    socket: Arc<TcpStream>,
    tls: Option<Arc<Mutex<Connection>>>,
}

impl End {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket), tls: None }
    }

    fn tls(socket: TcpStream, mut connection: Connection) -> io::Result<Self> {
        // Whoever speaks before the handshake is over is waited for.
        connection.set_buffer_limit(None);
        let end = Self { socket: Arc::new(socket), tls: Some(Arc::new(Mutex::new(connection))) };
        if let Some(tls) = &end.tls {
            end.flush(&mut open(tls))?;
        }
        Ok(end)
    }

    /// What has come; nothing: the other side is done.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.socket.as_ref().read(buffer) };
        loop {
            match open(tls).reader().read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            // Not under the lock: the other thread writes meanwhile.
            let mut raw = [0; 4096];
            let length = self.socket.as_ref().read(&mut raw)?;
            if length == 0 {
                return Ok(0);
            }
            self.take(&mut open(tls), &raw[..length])?;
        }
    }

    fn take(&self, tls: &mut Connection, mut raw: &[u8]) -> io::Result<()> {
        while !raw.is_empty() {
            tls.read_tls(&mut raw)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
        self.flush(tls)
    }

    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &self.tls else { return self.socket.as_ref().write_all(bytes) };
        let mut tls = open(tls);
        tls.writer().write_all(bytes)?;
        self.flush(&mut tls)
    }

    fn flush(&self, tls: &mut Connection) -> io::Result<()> {
        while tls.wants_write() {
            tls.write_tls(&mut self.socket.as_ref())?;
        }
        Ok(())
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// Closes both directions; it may be closed already.
    pub(super) fn shutdown(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn open(tls: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a proxy needs to be a member to a daemon and that daemon to a member. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Terminal {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Terminal {
    /// With the daemon's files, and a member's certificate and key.
    pub(crate) fn new(daemon: &Client, member: &[PathBuf; 2]) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(trusted(&daemon.ca)?);
        let asks = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let server =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let (chain, key) = pair(&member[0], &member[1])?;
        let mut server = server.with_client_cert_verifier(asks).with_single_cert(chain, key)?;
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let (chain, key) = pair(&daemon.cert, &daemon.key)?;
        let mut client = client.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }

    pub(super) fn accept(&self, socket: TcpStream) -> io::Result<End> {
        let connection = ServerConnection::new(Arc::clone(&self.server)).map_err(io::Error::other)?;
        End::tls(socket, Connection::Server(connection))
    }

    pub(super) fn connect(&self, socket: TcpStream, member: SocketAddr) -> io::Result<End> {
        let name = ServerName::from(member.ip());
        let connection = ClientConnection::new(Arc::clone(&self.client), name).map_err(io::Error::other)?;
        End::tls(socket, Connection::Client(connection))
    }
}

fn trusted(ca: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn pair(certificate: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = fs::read(key).with_context(|| format!("read {}", key.display()))?;
    Ok((certificates(certificate)?, PrivateKeyDer::from_pem_slice(&key)?))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    Ok(CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>()?)
}
