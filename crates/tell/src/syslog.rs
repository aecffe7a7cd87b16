//! Words of RFC 5424 to a server: in datagrams (RFC 5426), over TCP (RFC 6587), or over TLS (RFC 5425).

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Deserialize;
use verdict::Verdict;

use crate::message::{Message, Told};
use crate::sinks::{SinkError, TIMEOUT};

/// Whom a server of syslog over TLS has to be vouched for by, and what it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates (PEM) of authorities; the public ones where none is named.
    ca: Option<PathBuf>,
    /// The certificate that is shown (PEM, with those between it and its authority), and its key.
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Tls {
    /// Whether anything is said of it.
    pub fn is_said(&self) -> bool {
        *self != Self::default()
    }

    /// How connections are made.
    ///
    /// # Errors
    /// In words: a file that cannot be read or does not hold what it should, a certificate without its key.
    pub fn config(&self) -> Result<ClientConfig, String> {
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

impl Stream {
    fn open(to: &str, tls: Option<&Tls>) -> Result<Self, SinkError> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in to.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(open) => {
                    open.set_write_timeout(Some(TIMEOUT))?;
                    let Some(tls) = tls else { return Ok(Self::Tcp(open)) };
                    open.set_read_timeout(Some(TIMEOUT))?;
                    return Self::shake_hands(open, to, tls);
                }
                Err(e) => last = e,
            }
        }
        Err(last.into())
    }

    fn shake_hands(mut open: TcpStream, to: &str, tls: &Tls) -> Result<Self, SinkError> {
        let refused = |why: String| SinkError::Refused(format!("{to}: {why}"));
        let host = to.rsplit_once(':').map_or(to, |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| refused(e.to_string()))?;
        let config = Arc::new(tls.config().map_err(refused)?);
        let mut session = ClientConnection::new(config, name).map_err(|e| refused(e.to_string()))?;
        while session.is_handshaking() {
            session.complete_io(&mut open)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(session, open))))
    }

    /// Whether the server went away. It has nothing to say, so that all that comes tells of its end, or of what TLS has to say by itself.
    fn is_gone(&mut self) -> io::Result<bool> {
        let socket = match self {
            Self::Tcp(open) => &*open,
            Self::Tls(open) => &open.sock,
        };
        if socket.take_error()?.is_some() {
            return Ok(true);
        }
        socket.set_nonblocking(true)?;
        let gone = match self {
            Self::Tcp(open) => matches!(open.peek(&mut [0]), Ok(0)),
            Self::Tls(open) => loop {
                match open.conn.read_tls(&mut open.sock) {
                    Ok(0) => break true,
                    Ok(_) => {
                        if open.conn.process_new_packets().map_or(true, |state| state.peer_has_closed()) {
                            break true;
                        }
                    }
                    Err(e) => break e.kind() != io::ErrorKind::WouldBlock,
                }
            },
        };
        let socket = match self {
            Self::Tcp(open) => &*open,
            Self::Tls(open) => &open.sock,
        };
        socket.set_nonblocking(false)?;
        Ok(gone)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(open) => open.write_all(bytes),
            Self::Tls(open) => open.write_all(bytes).and_then(|()| open.flush()),
        }
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
        Ok(stream.write(bytes)?)
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
