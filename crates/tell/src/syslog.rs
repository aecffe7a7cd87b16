//! Words of RFC 5424 to a server: in datagrams (RFC 5426), over TCP (RFC 6587), or over TLS (RFC 5425).

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned};
use serde::Deserialize;
use verdict::Verdict;

use crate::message::{Message, Told};
use crate::sinks::{SinkError, TIMEOUT};

/// Whom a server of syslog over TLS has to be vouched for by, and what it is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates (PEM) of authorities; the public ones where none is named.
    ca: Option<PathBuf>,
    /// The certificate that is shown (PEM, with those between it and its authority), and its key.
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// What these hold.
    #[serde(skip)]
    read: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// Whether anything is said of it.
    pub const fn is_said(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some()
    }

    /// Reads its files, once: whoever tells may have no right to them later.
    ///
    /// # Errors
    /// In words: a file that cannot be read or does not hold what it should, a certificate without its key.
    pub fn read(&mut self) -> Result<(), String> {
        self.read = Some(Arc::new(self.config()?));
        Ok(())
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let wrong = |what: &str, path: &Path, why: &dyn std::fmt::Display| {
            format!("{what} = {:?}: {why}", path.display().to_string())
        };
        let certificates = |what: &str, path: &Path| {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            match read {
                Ok(all) if all.is_empty() => Err(wrong(what, path, &"it holds no certificate in PEM")),
                read => read.map_err(|e| wrong(what, path, &e)),
            }
        };
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates("ca", path)? {
                    roots.add(certificate).map_err(|e| wrong("ca", path, &e))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        match (&self.certificate, &self.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let chain = certificates("certificate", certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong("key", key, &e))?;
                builder.with_client_auth_cert(chain, secret).map_err(|e| wrong("key", key, &e))
            }
            _ => Err("certificate and key belong together".to_owned()),
        }
    }
}

/// An open connection.
enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How long a server may take to refuse a certificate: in TLS 1.3 the client has finished before the server has looked (RFC 8446 §4.4.2.4). Servers that
/// do not refuse send a ticket, most of them, and nobody waits longer.
const REFUSAL: Duration = Duration::from_secs(1);
/// How long what has come already may take to be read: a socket knows no shorter time than none at all.
const AT_ONCE: Duration = Duration::from_millis(1);

impl Stream {
    /// Connects to the first address that takes it.
    fn open(to: &str, tls: Option<&Tls>) -> Result<Self, SinkError> {
        let mut last = SinkError::Io(io::ErrorKind::AddrNotAvailable.into());
        for address in to.to_socket_addrs()? {
            let opened =
                TcpStream::connect_timeout(&address, TIMEOUT).map_err(SinkError::Io).and_then(|open| {
                    open.set_write_timeout(Some(TIMEOUT))?;
                    match tls {
                        Some(tls) => Self::shake_hands(open, to, tls),
                        None => Ok(Self::Tcp(open)),
                    }
                });
            match opened {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn shake_hands(mut open: TcpStream, to: &str, tls: &Tls) -> Result<Self, SinkError> {
        let refused = |why: String| SinkError::Refused(format!("{to}: {why}"));
        let host = to.rsplit_once(':').map_or(to, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| refused(e.to_string()))?;
        let config = tls.read.clone().ok_or_else(|| refused("its certificates were not read".to_owned()))?;
        let mut session = ClientConnection::new(config, name).map_err(|e| refused(e.to_string()))?;
        let gone = || refused("it went away before the end of the handshake".to_owned());
        let begun = Instant::now();
        while session.is_handshaking() {
            sent(&mut session, &mut open)?;
            let left = TIMEOUT.saturating_sub(begun.elapsed());
            match take(&mut session, &mut open, left).map_err(&refused)? {
                Came::Something => {}
                Came::Nothing => return Err(SinkError::Io(io::ErrorKind::TimedOut.into())),
                Came::End => return Err(gone()),
            }
        }
        sent(&mut session, &mut open)?;
        if session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && take(&mut session, &mut open, REFUSAL).map_err(&refused)? == Came::End
        {
            return Err(gone());
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(session, open))))
    }

    /// Whether the server went away. It has nothing to say, so that all that comes tells of its end, or of what TLS has to say by itself.
    fn is_gone(&mut self) -> Result<bool, SinkError> {
        match self {
            Self::Tcp(open) => {
                if open.take_error()?.is_some() {
                    return Ok(true);
                }
                open.set_nonblocking(true)?;
                let gone = matches!(open.peek(&mut [0]), Ok(0));
                open.set_nonblocking(false)?;
                Ok(gone)
            }
            Self::Tls(open) => loop {
                match take(&mut open.conn, &mut open.sock, AT_ONCE).map_err(SinkError::Refused)? {
                    Came::Nothing => return Ok(false),
                    Came::Something => {}
                    Came::End => return Ok(true),
                }
            },
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        match self {
            Self::Tcp(open) => Ok(open.write_all(bytes)?),
            Self::Tls(open) => {
                open.write_all(bytes)?;
                open.flush()?;
                // Who refuses late has not taken it.
                take(&mut open.conn, &mut open.sock, AT_ONCE).map(|_| ()).map_err(SinkError::Refused)
            }
        }
    }
}

/// Says goodbye (RFC 5425 §4.4).
impl Drop for Stream {
    fn drop(&mut self) {
        if let Self::Tls(open) = self {
            open.conn.send_close_notify();
            let _ = sent(&mut open.conn, &mut open.sock);
        }
    }
}

fn sent(session: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Nothing,
    Something,
    End,
}

/// Takes what comes within a time; why it ends badly, in words.
fn take(session: &mut ClientConnection, socket: &mut TcpStream, within: Duration) -> Result<Came, String> {
    socket.set_read_timeout(Some(within.max(AT_ONCE))).map_err(|e| e.to_string())?;
    match session.read_tls(socket) {
        Ok(0) => Ok(Came::End),
        Ok(_) => match session.process_new_packets() {
            Ok(state) if state.peer_has_closed() => Ok(Came::End),
            Ok(_) => Ok(Came::Something),
            Err(e) => {
                // It is told why.
                let _ = sent(session, socket);
                Err(e.to_string())
            }
        },
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Ok(Came::Nothing)
        }
        Err(e) => Err(e.to_string()),
    }
}

/// A server, and the connection to it that is open.
#[derive(Default)]
pub struct Syslog {
    stream: Option<Stream>,
}

impl Syslog {
    /// Says one word of each turn and day.
    ///
    /// # Errors
    /// It cannot be reached, or is not who it should be.
    pub fn tell(&mut self, to: &str, facility: u8, tls: &Tls, message: &Message) -> Result<(), SinkError> {
        for told in message.told() {
            let word = word(told, facility);
            match to.split_once("://") {
                Some(("udp", to)) => datagram(to, &word)?,
                Some((way, to)) => {
                    // So many bytes follow.
                    let framed = format!("{} {word}", word.len());
                    if let Err(e) = self.stream(to, (way == "tls").then_some(tls), framed.as_bytes()) {
                        self.stream = None;
                        return Err(e);
                    }
                }
                None => return Err(SinkError::Refused(format!("{to} is no place"))),
            }
        }
        Ok(())
    }

    fn stream(&mut self, to: &str, tls: Option<&Tls>, bytes: &[u8]) -> Result<(), SinkError> {
        if let Some(open) = &mut self.stream
            && open.is_gone()?
        {
            self.stream = None;
        }
        let stream = match &mut self.stream {
            Some(open) => open,
            None => self.stream.insert(Stream::open(to, tls)?),
        };
        stream.write(bytes)
    }
}

fn word(told: &Told, facility: u8) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-".to_owned() } else { host };
    let (severity, at, kind, data) = match told {
        Told::Turn(turn) => {
            let severity = match turn.story.verdict {
                Verdict::Infected => 2,
                Verdict::Likely => 3,
                Verdict::Suspicious => 4,
                Verdict::Quiet | Verdict::Inconclusive => 5,
            };
            let data = format!(
                "host={} verdict={} before={} level_db=\"{:.1}\"",
                quoted(&turn.story.label()),
                quoted(turn.story.verdict.name()),
                quoted(turn.before.name()),
                turn.story.level_db
            );
            (severity, turn.at, "turn", data)
        }
        Told::Day(day) => {
            let (quiet, missed) = (day.is_quiet(), day.missed.len());
            (5 + u32::from(quiet), day.until, "day", format!("quiet=\"{quiet}\" missed=\"{missed}\""))
        }
    };
    format!(
        "<{}>1 {at} {host} hydrophone {} {kind} [hydrophone@32473 {data}] \u{feff}{}",
        u32::from(facility) * 8 + severity,
        std::process::id(),
        told.text()
    )
}

fn datagram(to: &str, word: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(("::", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0)))?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for to in to.to_socket_addrs()? {
        // From a socket of both kinds, addresses of IPv4 are written as those of IPv6.
        let to = match (to, socket.local_addr()?.is_ipv6()) {
            (SocketAddr::V4(v4), true) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            (to, _) => to,
        };
        match socket.send_to(word.as_bytes(), to) {
            Ok(_) => return Ok(()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// A value of structured data.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}
