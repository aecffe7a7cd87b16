//! Connections: of as many as there is room for, over TLS where there is a certificate, to the end of what is being answered.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use axum::{Extension, Router};
use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;

use crate::guard::Door;
use crate::users::Tell;

/// Connections at once: a browser opens six (*assumed*).
const MOST: usize = 256;
/// How long a handshake, the head of a question, and the taking of a piece of an answer may take (*assumed*).
const PATIENCE: Duration = Duration::from_secs(15);
/// How long what is being answered may take when the console ends (*assumed*).
const FAREWELL: Duration = Duration::from_secs(5);
/// How long nobody is let in after the system let nobody in.
const PAUSE: Duration = Duration::from_millis(100);

/// A certificate with its key, in files that may be written anew.
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    now: Mutex<Now>,
    tell: Tell,
}

struct Now {
    written: Written,
    config: Arc<ServerConfig>,
}

/// When the files were written, as far as the system says.
type Written = [Option<SystemTime>; 2];

impl Certificate {
    /// A chain of certificates, the server's own first, and its key (PEM). They are read again when they change; what is wrong with them then is told.
    ///
    /// # Errors
    /// A file cannot be read, or the key is not that of the certificate.
    pub fn read(chain: PathBuf, key: PathBuf, tell: Tell) -> anyhow::Result<Self> {
        let now = Now { written: written(&chain, &key), config: config(&chain, &key)? };
        Ok(Self { chain, key, now: Mutex::new(now), tell })
    }

    fn config(&self) -> Arc<ServerConfig> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let written = written(&self.chain, &self.key);
        if written != now.written {
            now.written = written;
            match config(&self.chain, &self.key) {
                Ok(config) => now.config = config,
                Err(e) => (self.tell)(&format!("the certificate stays what it was: {e:#}")),
            }
        }
        now.config.clone()
    }
}

fn written(chain: &PathBuf, key: &PathBuf) -> Written {
    [chain, key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
}

fn config(chain: &PathBuf, key: &PathBuf) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates of {} (PEM)", chain.display()))?;
    ensure!(!certificates.is_empty(), "{} holds no certificate (PEM)", chain.display());
    let secret = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key (PEM) of {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .with_context(|| format!("{} and {} do not serve", chain.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A place among the connections: of all, and of those from one address.
struct Place {
    of: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _all: OwnedSemaphorePermit,
}

impl Place {
    /// None where those from there have as many as they may.
    fn take(
        all: OwnedSemaphorePermit,
        of: IpAddr,
        most: usize,
        taken: &Arc<Mutex<HashMap<IpAddr, usize>>>,
    ) -> Option<Self> {
        let mut by = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = by.get(&of).copied().unwrap_or(0);
        if so_far >= most {
            return None;
        }
        by.insert(of, so_far + 1);
        drop(by);
        Some(Self { of, taken: taken.clone(), _all: all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match by.get_mut(&self.of) {
            Some(n) if *n > 1 => *n -= 1,
            _ => drop(by.remove(&self.of)),
        }
    }
}

/// Where a question comes from.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Answers until `stop` is done, and a little longer what was asked before.
pub async fn answer(
    listener: TcpListener,
    door: Arc<Door>,
    app: Router,
    stop: impl Future<Output = ()> + Clone + Unpin + Send + 'static,
) {
    let mut stopped = pin!(stop.clone());
    let (room, taken) = (Arc::new(Semaphore::new(MOST)), Arc::default());
    let going = GracefulShutdown::new();
    loop {
        let next = pin!(async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        });
        let (place, accepted) = match select(&mut stopped, next).await {
            Either::Left(_) => break,
            Either::Right((next, _)) => next,
        };
        let (Ok((socket, peer)), Ok(place)) = (accepted, place) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let from = peer.ip().to_canonical();
        let Some(place) = Place::take(place, from, door.room_for(from), &taken) else { continue };
        let tls = door.certificate().map(|c| TlsAcceptor::from(c.config()));
        let (app, watcher) = (app.clone().layer(Extension(Peer(peer))), going.watcher());
        let stop = stop.clone();
        tokio::spawn(async move {
            let _place = place;
            match tls {
                None => speak(socket, app, watcher).await,
                Some(tls) => {
                    let shaken = pin!(tokio::time::timeout(PATIENCE, tls.accept(socket)));
                    if let Either::Right((Ok(Ok(stream)), _)) = select(stop, shaken).await {
                        speak(stream, app, watcher).await;
                    }
                }
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, going.shutdown()).await;
}

/// Answers what is asked on one connection, as long as the answers are taken.
async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, app: Router, watcher: Watcher) {
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(PATIENCE));
    let stream = Box::pin(stream);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    // Whoever goes away in between has gone.
    let _ = watcher.watch(connection).await;
}
