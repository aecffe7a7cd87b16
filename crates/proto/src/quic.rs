//! QUIC: the client's Initial is protected with keys that anyone can derive (RFC 9001 §5.2), so its ClientHello is read.

use std::collections::BTreeMap;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{Aead, Payload};
use hkdf::Hkdf;
use record::{Anomaly, Direction, Quic, Record, Timestamp};
use sha2::Sha256;

use crate::cursor::Cursor;
use crate::outbox::{Packets, ParseContext, text};
use crate::protocol::{KEPT, Protocol, Step};
use crate::tls::ClientHello;

/// Initial packets of a client that are opened; a hello with post-quantum shares spans two.
const MAX_INITIALS: u32 = 6;
/// CRYPTO bytes kept.
const MAX_CRYPTO: usize = 16 << 10;
const V1: u32 = 1;
const V2: u32 = 0x6b33_43cf;

/// Whether a datagram begins with a QUIC long header of a known version, or an old Google one.
pub fn is_quic(b: &[u8], wire_len: u32) -> bool {
    match b {
        [first, v0, v1, v2, v3, rest @ ..] if first & 0x80 != 0 => {
            let version = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
            let fixed_bit = first & 0x40 != 0;
            let dcid = rest.first().copied().unwrap_or(255);
            match version {
                // Version negotiation: both ids have plausible lengths.
                0 => dcid <= 20 && b.len() >= 11 && usize::from(dcid).saturating_add(7) < b.len(),
                _ => {
                    (known(version) && fixed_bit && dcid <= 20)
                        || (is_greased(version) && dcid <= 20 && wire_len >= 1200)
                }
            }
        }
        // gQUIC up to Q043: public flags with version and 8-byte connection id, then the version.
        [flags, _, _, _, _, _, _, _, _, b'Q', b'0', d0, d1, ..] => {
            flags & 0x09 == 0x09 && d0.is_ascii_digit() && d1.is_ascii_digit()
        }
        _ => false,
    }
}

const fn is_greased(version: u32) -> bool {
    version & 0x0f0f_0f0f == 0x0a0a_0a0a
}

const fn known(version: u32) -> bool {
    matches!(version, V1 | V2 | 0xff00_0000..=0xff00_00ff | 0xface_b000..=0xface_b0ff)
        || matches!(version.to_be_bytes(), [b'Q' | b'T', b'0', b'4'..=b'5', b'0'..=b'9'])
}

/// The salt from which a version derives its Initial keys.
const fn salt(version: u32) -> Option<[u8; 20]> {
    Some(match version {
        V1 | 0xff00_0021..=0xff00_0022 => [
            0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
            0xcc, 0xbb, 0x7f, 0x0a,
        ],
        V2 => [
            0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
            0xf9, 0xbd, 0x2e, 0xd9,
        ],
        0xff00_001d..=0xff00_0020 => [
            0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0,
            0x43, 0x90, 0xa8, 0x99,
        ],
        0xff00_0017..=0xff00_001c | 0xface_b002 | 0xface_b00e => [
            0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65,
            0xbe, 0xf9, 0xf5, 0x02,
        ],
        _ => return None,
    })
}

fn expand(secret: &Hkdf<Sha256>, label: &str, out: &mut [u8]) -> Option<()> {
    let mut info = (out.len() as u16).to_be_bytes().to_vec();
    info.push((label.len() as u8).saturating_add(6));
    info.extend(b"tls13 ");
    info.extend(label.as_bytes());
    info.push(0);
    secret.expand(&info, out).ok()
}

struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    hp: [u8; 16],
}

fn client_keys(version: u32, dcid: &[u8]) -> Option<Keys> {
    let initial = Hkdf::<Sha256>::new(Some(&salt(version)?), dcid);
    let mut secret = [0; 32];
    expand(&initial, "client in", &mut secret)?;
    let secret = Hkdf::<Sha256>::from_prk(&secret).ok()?;
    let mut keys = Keys { key: [0; 16], iv: [0; 12], hp: [0; 16] };
    let [key, iv, hp] = if version == V2 {
        ["quicv2 key", "quicv2 iv", "quicv2 hp"]
    } else {
        ["quic key", "quic iv", "quic hp"]
    };
    expand(&secret, key, &mut keys.key)?;
    expand(&secret, iv, &mut keys.iv)?;
    expand(&secret, hp, &mut keys.hp)?;
    Some(keys)
}

fn varint(c: &mut Cursor<'_>) -> Option<u64> {
    let first = c.u8()?;
    let mut value = u64::from(first & 0x3f);
    let more = (1u8 << (first >> 6)).saturating_sub(1);
    for _ in 0..more {
        value = (value << 8) | u64::from(c.u8()?);
    }
    Some(value)
}

/// What an Initial header says, and where the packet ends.
struct Initial<'a> {
    version: u32,
    dcid: &'a [u8],
    /// The packet from its first byte to its end.
    packet: &'a [u8],
    /// Where the packet number begins.
    number_at: usize,
}

/// Reads the long header of an Initial at the beginning of a datagram.
fn initial(datagram: &[u8]) -> Option<Initial<'_>> {
    let mut c = Cursor::new(datagram);
    let first = c.u8()?;
    let version = c.u32()?;
    let kind = (first >> 4) & 3;
    let is_initial = if version == V2 { kind == 1 } else { kind == 0 };
    if first & 0xc0 != 0xc0 || !is_initial || salt(version).is_none() {
        return None;
    }
    let dcid = c.vec8()?;
    c.vec8()?;
    let token = varint(&mut c)?;
    c.take(usize::try_from(token).ok()?)?;
    let len = usize::try_from(varint(&mut c)?).ok()?;
    let number_at = c.position();
    c.take(len)?;
    Some(Initial { version, dcid, packet: datagram.get(..c.position())?, number_at })
}

/// Opens an Initial with the keys of `dcid`; gives its frames.
fn open(found: &Initial<'_>, dcid: &[u8]) -> Option<Vec<u8>> {
    let keys = client_keys(found.version, dcid)?;
    let sample_at = found.number_at.checked_add(4)?;
    let sample: [u8; 16] = found.packet.get(sample_at..sample_at.checked_add(16)?)?.try_into().ok()?;
    let mut mask = sample.into();
    Aes128::new(&keys.hp.into()).encrypt_block(&mut mask);
    let [m0, m1, m2, m3, m4, ..]: [u8; 16] = mask.into();
    let mut header = found.packet.get(..sample_at)?.to_vec();
    let first = header.first_mut()?;
    *first ^= m0 & 0x0f;
    let number_len = usize::from(*first & 3).saturating_add(1);
    let mut number = 0u64;
    for (byte, m) in header.get_mut(found.number_at..)?.iter_mut().zip([m1, m2, m3, m4]).take(number_len) {
        *byte ^= m;
        number = (number << 8) | u64::from(*byte);
    }
    let body_at = found.number_at.checked_add(number_len)?;
    header.truncate(body_at);
    let mut nonce = keys.iv;
    for (n, b) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
        *n ^= b;
    }
    let payload = Payload { msg: found.packet.get(body_at..)?, aad: &header };
    Aes128Gcm::new(&keys.key.into()).decrypt(&nonce.into(), payload).ok()
}

#[derive(Default)]
pub struct QuicSession {
    started: Option<Timestamp>,
    version: u32,
    dcid: Option<Vec<u8>>,
    crypto: BTreeMap<u64, Vec<u8>>,
    held: usize,
    opened: u32,
    packets: Packets,
    told: bool,
}

impl Protocol for QuicSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        Step::more(self.datagram(from, bytes, context) || from == Direction::Resp)
    }

    fn end(&mut self, context: &mut ParseContext<'_>) {
        if self.told {
            return;
        }
        self.told = true;
        let hello = self.hello();
        let ja4 = hello.as_ref().map(|h| h.ja4('q', &mut context.out.digests));
        context.out.records.push(Record::Quic(Box::new(Quic {
            head: context.flow.head(self.started.unwrap_or(context.ts), context.at),
            version: self.version,
            ja4,
            alpn: hello.as_ref().and_then(|h| h.alpn.as_ref()).map(|a| text(a, 255)),
            sni: hello.and_then(|h| h.sni),
            packets: self.packets.take(),
        })));
    }

    fn weight(&self) -> usize {
        KEPT.saturating_add(self.held)
    }
}

impl QuicSession {
    /// A datagram; `false` when nothing more is to be learnt.
    fn datagram(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> bool {
        self.started.get_or_insert(context.ts);
        if let [_, v @ ..] = bytes
            && let Some(version) = Cursor::new(v).u32()
            && self.version == 0
        {
            self.version = version;
        }
        if from == Direction::Resp {
            // The server answered: the hello is complete or never will be, unless it sends a Retry, which comes once and early.
            return self.opened == 0 && self.started.is_some() && !self.told;
        }
        let Some(found) = initial(bytes) else {
            // Not the version that servers answer with, and none whose keys are known.
            if self.opened == 0 && self.version != 0 && salt(self.version).is_none() {
                context.out.strange(Anomaly::QuicUnknownVersion);
            }
            self.end(context);
            return false;
        };
        self.packets.add(context.packet);
        self.version = found.version;
        let dcid = self.dcid.get_or_insert_with(|| found.dcid.to_vec()).clone();
        // After a Retry the keys come from the new id.
        let frames = open(&found, &dcid).or_else(|| {
            let opened = open(&found, found.dcid);
            if opened.is_some() {
                self.dcid = Some(found.dcid.to_vec());
            }
            opened
        });
        self.opened = self.opened.saturating_add(1);
        match frames {
            Some(frames) => {
                // A frame that is not understood ends the reading; what came before it counts.
                let _ = self.frames(&frames);
            }
            None => context.out.strange(Anomaly::QuicUndecryptable),
        }
        if self.hello().is_some() || self.opened >= MAX_INITIALS {
            self.end(context);
            return false;
        }
        true
    }

    fn frames(&mut self, frames: &[u8]) -> Option<()> {
        let mut c = Cursor::new(frames);
        while !c.is_empty() {
            match c.u8()? {
                0 | 1 => {}
                kind @ (2 | 3) => {
                    varint(&mut c)?;
                    varint(&mut c)?;
                    let ranges = varint(&mut c)?;
                    varint(&mut c)?;
                    for _ in 0..ranges.min(64) {
                        varint(&mut c)?;
                        varint(&mut c)?;
                    }
                    if kind == 3 {
                        for _ in 0..3 {
                            varint(&mut c)?;
                        }
                    }
                }
                6 => {
                    let offset = varint(&mut c)?;
                    let len = varint(&mut c)?;
                    let data = c.take(usize::try_from(len).ok()?)?;
                    if self.held.saturating_add(data.len()) <= MAX_CRYPTO {
                        self.held = self.held.saturating_add(data.len());
                        self.crypto.insert(offset, data.to_vec());
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn hello(&self) -> Option<ClientHello> {
        let mut whole: Vec<u8> = Vec::new();
        for (&offset, data) in &self.crypto {
            let have = whole.len() as u64;
            if offset > have {
                break;
            }
            let known = usize::try_from(have.saturating_sub(offset)).ok()?;
            whole.extend_from_slice(data.get(known..).unwrap_or_default());
        }
        let mut c = Cursor::new(&whole);
        let (kind, len) = (c.u8()?, c.u24()?);
        let body = c.take(len as usize)?;
        (kind == 1).then(|| ClientHello::parse(body)).flatten()
    }
}
