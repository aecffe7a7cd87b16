//! What hosts call themselves before their neighbours: names that they register or refresh (NetBIOS name service, RFC 1002 §4.2), under which they send
//! datagrams (NetBIOS datagram service, §4.4), and under which they announce their own address (multicast DNS, RFC 6762).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use record::{Direction, Naming, Record, Service};

use crate::cursor::Cursor;
use crate::dns;
use crate::outbox::{ParseContext, text};
use crate::protocol::{Protocol, Step};

/// Letters of a NetBIOS name: two for each of 15 bytes and of what it is for.
const LETTERS: usize = 32;
/// A NetBIOS name of a record.
const NB: u16 = 0x20;
/// Records of a message that are read.
const MAX_RECORDS: u16 = 32;
/// Under which host names stand in multicast DNS (RFC 6762 §3).
const LOCAL: &str = ".local";

/// Names that are told of a flow: a machine has one or two.
const MAX_NAMES: usize = 8;
/// To whom multicast DNS is said; what one answers to one alone is between those two.
const TO_ALL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb))];

/// Messages, each for itself; of a flow a name is told once.
pub struct NameSession {
    within: Service,
    told: Vec<String>,
}

impl NameSession {
    pub fn new(within: Service) -> Self {
        Self { within, told: Vec::new() }
    }
}

impl Protocol for NameSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        let tuple = context.flow.tuple;
        let own = tuple.orig.ip;
        let named = match (from, self.within, own) {
            (Direction::Orig, Service::Netbios, IpAddr::V4(own)) => match tuple.resp.port {
                138 => sender(bytes, own),
                _ => registered(bytes, own),
            },
            (Direction::Orig, Service::Mdns, own) if TO_ALL.contains(&tuple.resp.ip) => announced(bytes, own),
            _ => None,
        };
        if let Some(name) = named.filter(|n| self.told.len() < MAX_NAMES && !self.told.contains(n)) {
            context.out.records.push(Record::Naming(Box::new(Naming {
                head: context.flow.head(context.ts, context.at),
                within: self.within,
                name: name.clone(),
                packets: vec![context.packet],
            })));
            self.told.push(name);
        }
        Step::More
    }

    fn weight(&self) -> usize {
        self.told.iter().map(|n| n.capacity().saturating_add(size_of::<String>())).sum()
    }
}

/// The name of a machine in a NetBIOS name: of a workstation or a server, not of a group's service or of a person.
fn machine(letters: &[u8]) -> Option<String> {
    let (pairs, []) = letters.as_chunks::<2>() else { return None };
    let byte = |[high, low]: &[u8; 2]| {
        let half = |letter: &u8| letter.checked_sub(b'A').filter(|n| *n < 16);
        Some(half(high)? << 4 | half(low)?)
    };
    let plain: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
    let (kind, name) = plain.split_last()?;
    let name = text(name, name.len());
    let name = name.trim_end_matches([' ', '\0']);
    // A web server of Windows stands beside its machine under `IS~`.
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic()) && !name.starts_with("IS~");
    (matches!(kind, 0x00 | 0x20) && is_name).then(|| name.to_owned())
}

/// The name that a host registers or refreshes for its own address, as its alone.
fn registered(bytes: &[u8], own: Ipv4Addr) -> Option<String> {
    const GROUP: u16 = 0x8000;
    let mut c = Cursor::new(bytes);
    c.u16()?;
    let flags = c.u16()?;
    // A request: registration, refresh (in two spellings), or registration of one of several addresses.
    let asks = flags & 0x8000 == 0 && matches!((flags >> 11) & 15, 5 | 8 | 9 | 15);
    let counts = c.array::<8>()?;
    if !asks || counts != [0, 1, 0, 0, 0, 0, 0, 1] {
        return None;
    }
    let letters = c.vec8().filter(|letters| letters.len() == LETTERS)?;
    dns::step_over_name(&mut c)?;
    c.take(4)?;
    dns::step_over_name(&mut c)?;
    let kind = c.u16()?;
    c.take(6)?;
    let mut of = Cursor::new(c.vec16()?);
    let (flags, address) = (of.u16()?, of.array::<4>()?);
    (kind == NB && flags & GROUP == 0 && Ipv4Addr::from(address) == own).then(|| machine(letters))?
}

/// The name under which a host sends a datagram from its own address.
fn sender(bytes: &[u8], own: Ipv4Addr) -> Option<String> {
    let mut c = Cursor::new(bytes);
    // To one name, to a group, to all.
    c.u8().filter(|kind| matches!(kind, 0x10..=0x12))?;
    c.take(3)?;
    let address = Ipv4Addr::from(c.array::<4>()?);
    c.take(6)?;
    let letters = c.vec8().filter(|letters| letters.len() == LETTERS)?;
    (address == own).then(|| machine(letters))?
}

/// Whether it is a UUID: browsers make a new one for each call, so that nobody learns their address (draft-ietf-mmusic-mdns-ice-candidates).
fn is_identifier(name: &str) -> bool {
    let lengths =
        name.split('-').map(|part| part.bytes().all(|b| b.is_ascii_hexdigit()).then_some(part.len()));
    lengths.eq([8, 4, 4, 4, 12].map(Some))
}

/// The name of which a host says by multicast DNS that its own address is that one's.
fn announced(bytes: &[u8], own: IpAddr) -> Option<String> {
    let mut c = Cursor::new(bytes);
    c.u16()?;
    let answers = c.u16()? & 0x8000 != 0;
    let [questions, records, more, beside] = [c.u16()?, c.u16()?, c.u16()?, c.u16()?];
    for _ in 0..questions.min(MAX_RECORDS) {
        dns::step_over_name(&mut c)?;
        c.take(4)?;
    }
    let all = records.saturating_add(more).saturating_add(beside);
    for _ in 0..all.min(MAX_RECORDS) {
        let name = dns::name(&mut c)?;
        let kind = c.u16()?;
        c.u16()?;
        // What is to be forgotten at once is no name any more.
        let stands = c.u32()? > 0;
        let address: Option<IpAddr> = match (kind, c.vec16()?) {
            (1, value) => value.try_into().ok().map(|v: [u8; 4]| Ipv4Addr::from(v).into()),
            (28, value) => value.try_into().ok().map(|v: [u8; 16]| Ipv6Addr::from(v).into()),
            _ => None,
        };
        let host = name.strip_suffix(LOCAL).filter(|host| !host.contains(['.', '\\']) && !host.is_empty());
        if let Some(host) = host
            && answers
            && stands
            && !is_identifier(host)
            && address == Some(own)
        {
            return Some(host.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 101);

    fn letters(name: &str, kind: u8) -> Vec<u8> {
        let bytes = format!("{name:<15}").into_bytes().into_iter().chain([kind]);
        [32].into_iter().chain(bytes.flat_map(|b| [b'A' + (b >> 4), b'A' + (b & 15)])).chain([0]).collect()
    }

    fn registration(name: &str, kind: u8, flags: u16, own: Ipv4Addr) -> Vec<u8> {
        let record =
            [&[0xc0, 12, 0, 0x20, 0, 1, 0, 4, 0x93, 0xe0, 0, 6][..], &flags.to_be_bytes(), &own.octets()];
        let head = [0x81, 2, 0x29, 0x10, 0, 1, 0, 0, 0, 0, 0, 1];
        [&head[..], &letters(name, kind), &[0, 0x20, 0, 1], &record.concat()].concat()
    }

    #[test]
    fn a_machine_registers_its_name() {
        let says = |name, kind, flags| registered(&registration(name, kind, flags, OWN), OWN);
        assert_eq!(says("JOHN-PC", 0x00, 0).as_deref(), Some("JOHN-PC"));
        assert_eq!(says("JOHN-PC", 0x20, 0x6000).as_deref(), Some("JOHN-PC"), "as a server, of mixed kind");
        assert_eq!(says("WORKGROUP", 0x00, 0x8000), None, "a group");
        assert_eq!(says("JOHN", 0x03, 0), None, "a person");
        assert_eq!(says("IS~JOHN-PC", 0x00, 0), None, "a web server");
        assert_eq!(registered(&registration("DC", 0, 0, OWN), Ipv4Addr::LOCALHOST), None, "for another");
        let mut answer = registration("JOHN-PC", 0, 0, OWN);
        answer[2] |= 0x80;
        assert_eq!(registered(&answer, OWN), None);
    }

    #[test]
    fn a_machine_sends_under_its_name() {
        let datagram = |own: Ipv4Addr| {
            [&[0x11, 2, 0x80, 0x1c][..], &own.octets(), &[0, 138, 0, 200, 0, 0], &letters("HR1-PC", 0x20)]
                .concat()
        };
        assert_eq!(sender(&datagram(OWN), OWN).as_deref(), Some("HR1-PC"));
        assert_eq!(sender(&datagram(Ipv4Addr::LOCALHOST), OWN), None, "passed on for another");
    }

    #[test]
    fn a_machine_announces_its_address() {
        let says = |flags: u8, name: &[u8], address: Ipv4Addr| {
            let head = [0, 0, flags, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            let record = [&[0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4][..], &address.octets()].concat();
            announced(&[&head[..], name, &record].concat(), OWN.into())
        };
        assert_eq!(says(0x84, b"\x06Nimbus\x05local\0", OWN).as_deref(), Some("nimbus"));
        assert_eq!(says(0x84, b"\x06Nimbus\x05local\0", Ipv4Addr::LOCALHOST), None, "of another");
        assert_eq!(says(0x04, b"\x06Nimbus\x05local\0", OWN), None, "a question that knows an answer");
        assert_eq!(says(0x84, b"\x06Nimbus\x07example\0", OWN), None);
        let call = b"\x24b9c63ff2-aa55-4a0c-9b3e-0123456789ab\x05local\0";
        assert_eq!(says(0x84, call, OWN), None, "a browser's, for one call");
    }
}
