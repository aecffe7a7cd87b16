//! TLS (RFC 8446, 5246): ClientHello, ServerHello and the server's certificate, and the JA4 fingerprint of the first.
//!
//! JA4 source: FoxIO, "JA4: TLS Client Fingerprinting" (BSD 3-Clause), technical details as of 2026.

use std::collections::BTreeMap;

use record::{Anomaly, Certificate, Direction, KeyProof, Record, Timestamp, Tls, Transport};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use crate::cursor::Cursor;
use crate::outbox::{Packets, ParseContext, text};
use crate::protocol::{KEPT, Protocol, Step};

/// A hello with post-quantum key shares and many extensions stays below 4 KiB; this leaves room.
const MAX_HELLO: usize = 16 << 10;
/// A host name has at most 255 bytes.
const MAX_NAME: usize = 255;
/// Names kept of a certificate.
const MAX_NAMES: usize = 32;
/// The handshake messages that are read.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_STATUS: u8 = 22;
/// From this version on, certificates are sent encrypted.
const TLS13: u16 = 0x0304;
/// From this version on, a signature says by which scheme it was made.
const TLS12: u16 = 0x0303;
/// Random bytes of a hello.
const RANDOM: usize = 32;

/// What a ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    pub legacy_version: u16,
    pub random: [u8; RANDOM],
    pub ciphers: Vec<u16>,
    pub extensions: Vec<u16>,
    pub sni: Option<String>,
    pub alpn: Option<Vec<u8>>,
    pub versions: Vec<u16>,
    pub signature_algorithms: Vec<u16>,
}

const fn is_grease(v: u16) -> bool {
    v & 0x0f0f == 0x0a0a && v >> 8 == v & 0xff
}

fn u16s(b: &[u8]) -> Vec<u16> {
    b.as_chunks::<2>().0.iter().map(|c| u16::from_be_bytes(*c)).collect()
}

impl ClientHello {
    /// Parses the body of a ClientHello (without the handshake header).
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(body);
        let legacy_version = c.u16()?;
        let random = c.take(RANDOM)?.try_into().ok()?;
        let mut made = Self { legacy_version, random, ..Self::default() };
        if c.vec8()?.len() > 32 {
            return None;
        }
        // DTLS has a cookie here.
        if made.legacy_version >> 8 == 0xfe {
            c.vec8()?;
        }
        made.ciphers = u16s(c.vec16()?);
        c.vec8()?;
        if c.is_empty() {
            return Some(made);
        }
        let mut extensions = Cursor::new(c.vec16()?);
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let data = extensions.vec16()?;
            made.extensions.push(kind);
            // A broken extension is its own loss.
            let _ = made.extension(kind, data);
        }
        Some(made)
    }

    fn extension(&mut self, kind: u16, data: &[u8]) -> Option<()> {
        let mut c = Cursor::new(data);
        match kind {
            0 => {
                let mut names = Cursor::new(c.vec16()?);
                while !names.is_empty() {
                    let (kind, name) = (names.u8()?, names.vec16()?);
                    if kind == 0 {
                        self.sni = Some(text(name, MAX_NAME).to_ascii_lowercase());
                    }
                }
            }
            13 => self.signature_algorithms = u16s(c.vec16()?),
            16 => self.alpn = Some(Cursor::new(c.vec16()?).vec8()?.to_vec()),
            43 => self.versions = u16s(c.vec8()?),
            _ => {}
        }
        Some(())
    }

    /// The highest version offered.
    pub fn version(&self) -> u16 {
        self.versions.iter().copied().filter(|v| !is_grease(*v)).max().unwrap_or(self.legacy_version)
    }

    /// The JA4 fingerprint; `protocol` is `t`, `q` or `d`.
    pub fn ja4(&self, protocol: char, digests: &mut Digests) -> String {
        let version = match self.version() {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            0xfeff => "d1",
            0xfefd => "d2",
            0xfefc => "d3",
            _ => "00",
        };
        let sni = if self.extensions.contains(&0) { 'd' } else { 'i' };
        let mut ciphers: Vec<u16> = self.ciphers.iter().copied().filter(|v| !is_grease(*v)).collect();
        let mut extensions: Vec<u16> = self.extensions.iter().copied().filter(|v| !is_grease(*v)).collect();
        let counts = (ciphers.len().min(99), extensions.len().min(99));
        let alpn = alpn_letters(self.alpn.as_deref().unwrap_or_default());
        ciphers.sort_unstable();
        extensions.retain(|e| *e != 0 && *e != 16);
        extensions.sort_unstable();
        let algorithms: Vec<u16> =
            self.signature_algorithms.iter().copied().filter(|v| !is_grease(*v)).collect();
        let mut of_extensions = hex_list(&extensions);
        if !of_extensions.is_empty() && !algorithms.is_empty() {
            of_extensions.push('_');
            of_extensions.push_str(&hex_list(&algorithms));
        }
        format!(
            "{protocol}{version}{sni}{:02}{:02}{alpn}_{}_{}",
            counts.0,
            counts.1,
            digests.of(hex_list(&ciphers)),
            digests.of(of_extensions)
        )
    }
}

fn alpn_letters(alpn: &[u8]) -> String {
    match (alpn.first(), alpn.last()) {
        (Some(a), Some(b)) if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() => {
            [char::from(*a), char::from(*b)].iter().collect()
        }
        (Some(a), Some(b)) => {
            let (first, last) = (format!("{a:02x}"), format!("{b:02x}"));
            first.chars().take(1).chain(last.chars().skip(1)).collect()
        }
        _ => "00".to_owned(),
    }
}

fn hex_list(values: &[u16]) -> String {
    let mut list = String::with_capacity(values.len().saturating_mul(5));
    for value in values {
        if !list.is_empty() {
            list.push(',');
        }
        for shift in [12, 8, 4, 0] {
            list.push(char::from_digit(u32::from(value >> shift) & 0xf, 16).unwrap_or('0'));
        }
    }
    list
}

/// The hashes of lists seen lately: a network has few kinds of clients, and hashing is what a fingerprint costs.
#[derive(Clone, Debug, Default)]
pub struct Digests(BTreeMap<String, u64>);

impl Digests {
    /// Lists remembered, and the longest of them in bytes: a browser's have some 200.
    const MOST: usize = 256;
    const LONGEST: usize = 1024;

    /// The first six bytes of a list's SHA-256 in hexadecimal; zeros for none.
    fn of(&mut self, list: String) -> String {
        let hash = match self.0.get(&list) {
            Some(known) => *known,
            None if list.is_empty() => 0,
            None => {
                let digest: [u8; 32] = Sha256::digest(list.as_bytes()).into();
                let [a, b, c, d, e, f, ..] = digest;
                let made = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
                if self.0.len() >= Self::MOST {
                    self.0.clear();
                }
                if list.len() <= Self::LONGEST {
                    self.0.insert(list, made);
                }
                made
            }
        };
        format!("{hash:012x}")
    }
}

/// Collects the handshake bytes of one side.
#[derive(Debug, Default)]
struct Handshake {
    /// Record bytes not yet whole.
    records: Vec<u8>,
    /// Handshake bytes taken out of records.
    messages: Vec<u8>,
    over: bool,
}

impl Handshake {
    /// Adds stream bytes; `None` when they are not TLS records (any more).
    fn add(&mut self, bytes: &[u8]) -> Option<()> {
        if self.over {
            return Some(());
        }
        self.records.extend_from_slice(bytes.get(..MAX_HELLO).unwrap_or(bytes));
        let records = std::mem::take(&mut self.records);
        let mut c = Cursor::new(&records);
        while !c.is_empty() {
            let mut ahead = c;
            let (Some(kind), Some(version), Some(len)) = (ahead.u8(), ahead.u16(), ahead.u16()) else {
                break;
            };
            if !(0x14..=0x18).contains(&kind) || version >> 8 != 3 || usize::from(len) > (1 << 14) + 2048 {
                return None;
            }
            let Some(body) = ahead.take(usize::from(len)) else {
                // A hello may be read before its record is whole: keep what there is.
                break;
            };
            if kind == 0x16 {
                self.messages.extend_from_slice(body);
            } else {
                self.over = true;
            }
            c = ahead;
        }
        self.records = c.rest().to_vec();
        (self.records.len() <= 2 * MAX_HELLO && self.messages.len() <= 2 * MAX_HELLO).then_some(())
    }

    /// The next handshake message from `at` on, if it is whole: kind, body, and where the one after it begins.
    fn message(&self, at: usize) -> Option<(u8, &[u8], usize)> {
        let mut c = Cursor::new(self.messages.get(at..)?);
        let (kind, len) = (c.u8()?, c.u24()?);
        let body = c.take(len as usize)?;
        Some((kind, body, self.messages.len().saturating_sub(c.rest().len())))
    }
}

/// A TLS connection up to the server's certificate and the proof that it is its own.
#[derive(Default)]
pub struct TlsSession {
    sides: [Handshake; 2],
    client: Option<ClientHello>,
    server: Option<ServerHello>,
    certificate: Option<Box<Certificate>>,
    /// Handshake bytes of each side that were read.
    read: [usize; 2],
    started: Option<Timestamp>,
    packets: Packets,
    told: bool,
}

impl Protocol for TlsSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        self.started.get_or_insert(context.ts);
        let ([orig, resp], [orig_read, resp_read]) = (&mut self.sides, &mut self.read);
        let (side, read) = if from == Direction::Orig { (orig, orig_read) } else { (resp, resp_read) };
        if side.add(bytes).is_none() {
            context.out.strange(Anomaly::TlsMalformed);
            self.end(context);
            return Step::Over;
        }
        while let Some((kind, body, next)) = side.message(*read) {
            *read = next;
            let done = match (from, kind) {
                (Direction::Orig, CLIENT_HELLO) if self.client.is_none() => {
                    self.packets.add(context.packet);
                    match ClientHello::parse(body) {
                        Some(hello) => self.client = Some(hello),
                        None => context.out.strange(Anomaly::TlsMalformed),
                    }
                    false
                }
                (Direction::Resp, SERVER_HELLO) if self.server.is_none() => {
                    self.packets.add(context.packet);
                    self.server = server_hello(body);
                    self.server.as_ref().is_none_or(|s| s.version >= TLS13)
                }
                (Direction::Resp, CERTIFICATE) => {
                    self.packets.add(context.packet);
                    self.certificate = certificate(body).map(Box::new);
                    // The proof of the key follows, where the server can give one.
                    self.certificate.is_none() || self.server.as_ref().is_none_or(|s| s.version != TLS12)
                }
                (Direction::Resp, CERTIFICATE_STATUS) => false,
                (Direction::Resp, KEY_EXCHANGE) => {
                    if let (Some(certificate), Some(client), Some(server)) =
                        (&mut self.certificate, &self.client, &self.server)
                    {
                        certificate.proof = key_proof(body, [&client.random, &server.random]);
                    }
                    true
                }
                (Direction::Resp, _) => true,
                _ => false,
            };
            if done {
                self.end(context);
                return Step::Over;
            }
        }
        if from == Direction::Resp && side.over {
            self.end(context);
            return Step::Over;
        }
        Step::More
    }

    /// Bytes are missing: a hello that is not whole will not become so.
    fn gap(&mut self, _: Direction, _: u64, context: &mut ParseContext<'_>) -> Step {
        self.end(context);
        Step::Over
    }

    fn end(&mut self, context: &mut ParseContext<'_>) {
        if self.told {
            return;
        }
        self.told = true;
        let hello = self.client.take();
        let ja4 = hello.as_ref().map(|h| {
            h.ja4(
                if context.flow.tuple.transport == Transport::Udp { 'd' } else { 't' },
                &mut context.out.digests,
            )
        });
        let (version, cipher) = match &self.server {
            Some(s) => (s.version, Some(s.cipher)),
            None => (hello.as_ref().map_or(0, ClientHello::version), None),
        };
        if let Some(c) = &mut self.certificate
            && c.proof.is_none()
        {
            c.chain = Vec::new();
        }
        let (sni, alpn) = hello.map(|h| (h.sni, h.alpn)).unwrap_or_default();
        context.out.records.push(Record::Tls(Box::new(Tls {
            head: context.flow.head(self.started.unwrap_or(context.ts), context.at),
            version,
            sni,
            alpn: alpn.map(|a| text(&a, MAX_NAME)),
            ja4,
            cipher,
            certificate: self.certificate.take(),
            packets: self.packets.take(),
        })));
    }

    /// Handshakes that are not whole.
    fn weight(&self) -> usize {
        let of = |h: &Handshake| h.records.capacity().saturating_add(h.messages.capacity());
        self.sides.iter().map(of).fold(KEPT, usize::saturating_add)
    }
}

/// What a Certificate message of TLS up to 1.2 says of the server's own certificate, the first of the chain, with the others as they are.
fn certificate(body: &[u8]) -> Option<Certificate> {
    let mut list = Cursor::new(body);
    list.u24()?;
    let len = list.u24()?;
    let der = list.take(len as usize)?;
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let called = |name: &X509Name<'_>| {
        let part = name.iter_common_name().chain(name.iter_organization()).next();
        text(part.and_then(|p| p.as_str().ok()).unwrap_or_default().as_bytes(), MAX_NAME)
    };
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|n| &n.value.general_names).filter_map(|n| match n {
        GeneralName::DNSName(name) => Some(text(name.as_bytes(), MAX_NAME).to_ascii_lowercase()),
        _ => None,
    });
    let validity = parsed.validity();
    Some(Certificate {
        subject: called(parsed.subject()),
        issuer: called(parsed.issuer()),
        self_signed: parsed.subject().as_raw() == parsed.issuer().as_raw(),
        not_before: Timestamp::from_secs(validity.not_before.timestamp()),
        not_after: Timestamp::from_secs(validity.not_after.timestamp()),
        names: names.take(MAX_NAMES).collect(),
        der: der.to_vec(),
        chain: std::iter::from_fn(|| {
            let len = list.u24()?;
            list.take(len as usize).map(<[u8]>::to_vec)
        })
        .take(Certificate::MAX_CHAIN)
        .collect(),
        proof: None,
    })
}

/// What a ServerKeyExchange of TLS 1.2 proves: parameters of a named curve (RFC 8422) or of a group (RFC 5246), then the signature over both
/// sides' random bytes and those.
fn key_proof(body: &[u8], randoms: [&[u8; RANDOM]; 2]) -> Option<KeyProof> {
    let curve = |c: &mut Cursor<'_>| {
        (c.u8()? == 3).then_some(())?;
        c.u16()?;
        c.vec8().map(|_| ())
    };
    let group = |c: &mut Cursor<'_>| {
        c.vec16()?;
        c.vec16()?;
        c.vec16().map(|_| ())
    };
    let read = |parameters: &dyn Fn(&mut Cursor<'_>) -> Option<()>| {
        let mut c = Cursor::new(body);
        parameters(&mut c)?;
        let signed = [randoms[0], randoms[1], body.get(..c.position())?].concat();
        let (scheme, signature) = (c.u16()?, c.vec16()?.to_vec());
        c.is_empty().then_some(KeyProof { scheme, signed, signature })
    };
    read(&curve).or_else(|| read(&group))
}

/// What a ServerHello chooses.
struct ServerHello {
    version: u16,
    random: [u8; RANDOM],
    cipher: u16,
}

fn server_hello(body: &[u8]) -> Option<ServerHello> {
    let mut c = Cursor::new(body);
    let mut version = c.u16()?;
    let random = c.take(RANDOM)?.try_into().ok()?;
    c.vec8()?;
    let cipher = c.u16()?;
    c.u8()?;
    if let Some(extensions) = c.vec16() {
        let mut c = Cursor::new(extensions);
        while let (Some(kind), Some(data)) = (c.u16(), c.vec16()) {
            if let (43, [hi, lo]) = (kind, data) {
                version = u16::from_be_bytes([*hi, *lo]);
            }
        }
    }
    Some(ServerHello { version, random, cipher })
}
