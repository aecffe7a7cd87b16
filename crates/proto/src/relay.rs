//! Proxies that a client names its destination to: SOCKS 4, 4a (RFC 1928 and NEC's notes) and 5, the PROXY protocol (HAProxy, versions 1 and 2); and
//! what CONNECT and absolute targets of HTTP name.
//!
//! What is relayed is somebody else's protocol: it is recognised anew, and its records are about the destination.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use record::{Direction, Endpoint, Record, Relay, RelayKind};

use crate::cursor::Cursor;
use crate::outbox::{ParseContext, text};
use crate::protocol::{Protocol, Step};

/// Bytes of each side of a SOCKS negotiation: greetings, a login (2 × 255 bytes), a request with a name of 255 bytes.
const MAX_NEGOTIATION: usize = 1536;
/// A host name has at most 255 bytes.
const MAX_NAME: usize = 255;

/// What a client wants to talk with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub end: Endpoint,
    pub name: Option<String>,
}

impl Destination {
    /// Of a name or an address in text, and a port.
    pub fn of(host: &str, port: u16) -> Self {
        let bare = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        match bare.parse::<IpAddr>() {
            Ok(ip) => Self { end: Endpoint { ip, port }, name: None },
            Err(_) => Self { end: Endpoint::of_name(&bare, port), name: Some(bare) },
        }
    }

    /// Whether it is a name that only means something within the house: such a destination is no remote.
    pub fn is_of_the_house(&self) -> bool {
        self.name.as_deref().is_some_and(Endpoint::is_name_of_the_house)
    }
}

/// What a relayed flow goes on with.
#[derive(Debug)]
pub struct Relayed {
    /// With whom, where that is a remote.
    pub to: Option<Endpoint>,
    /// Bytes of each side that belong to the inner protocol already.
    pub rest: [Vec<u8>; 2],
    /// Bytes of the client's that belong there too, behind those, and were not kept.
    pub lost: u64,
}

/// Tells that a proxy was asked to talk with a destination.
pub fn tell(kind: RelayKind, destination: &Destination, context: &mut ParseContext<'_>) {
    context.out.records.push(Record::Relay(Box::new(Relay {
        head: context.flow.head(context.ts, context.at),
        kind,
        destination: destination.end,
        name: destination.name.clone(),
        packets: vec![context.packet],
    })));
}

/// What came of a SOCKS negotiation so far.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    More,
    Failed,
    /// Granted; so many bytes of each side belong to it.
    Granted(Destination, [usize; 2]),
}

/// A SOCKS negotiation.
#[derive(Debug, Default)]
pub struct SocksSession {
    sides: [Vec<u8>; 2],
}

impl Protocol for SocksSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        let [client, server] = &mut self.sides;
        let side = if from == Direction::Orig { &mut *client } else { &mut *server };
        side.extend_from_slice(bytes);
        let too_long = side.len() > MAX_NEGOTIATION;
        match negotiation(client, server) {
            Outcome::More if too_long => Step::Over,
            Outcome::More => Step::More,
            Outcome::Failed => Step::Over,
            Outcome::Granted(destination, [c, s]) => {
                tell(RelayKind::Socks, &destination, context);
                let rest = |side: &[u8], used: usize| side.get(used..).unwrap_or_default().to_vec();
                let to = (!destination.is_of_the_house()).then_some(destination.end);
                Step::Relayed(Relayed { to, rest: [rest(client, c), rest(server, s)], lost: 0 })
            }
        }
    }

    fn gap(&mut self, _: Direction, _: u64, _: &mut ParseContext<'_>) -> Step {
        Step::Over
    }

    fn weight(&self) -> usize {
        self.sides.iter().map(Vec::capacity).fold(0, usize::saturating_add)
    }
}

fn negotiation(client: &[u8], server: &[u8]) -> Outcome {
    match client.first() {
        Some(4) => version4(client, server),
        Some(5) => version5(client, server),
        Some(_) => Outcome::Failed,
        None => Outcome::More,
    }
}

/// Version 4: version, command, port, address, user, NUL; and for 0.0.0.x a name, NUL. The answer has eight bytes.
fn version4(client: &[u8], server: &[u8]) -> Outcome {
    let mut c = Cursor::new(client);
    let mut read = || {
        let (_, command, port, address) = (c.u8()?, c.u8()?, c.u16()?, c.u32()?);
        let mut string = || {
            let mut bytes = Vec::new();
            loop {
                match c.u8()? {
                    0 => return Some(bytes),
                    b => bytes.push(b),
                }
            }
        };
        string()?;
        let destination = if address != 0 && address < 256 {
            Destination::of(&text(&string()?, MAX_NAME), port)
        } else {
            Destination::of(&Ipv4Addr::from(address).to_string(), port)
        };
        Some((command, destination))
    };
    let Some((command, destination)) = read() else { return Outcome::More };
    if command != 1 {
        return Outcome::Failed;
    }
    match server {
        [0, 0x5a, _, _, _, _, _, _, ..] => Outcome::Granted(destination, [c.position(), 8]),
        [0, 0x5a, ..] | [0] | [] => Outcome::More,
        _ => Outcome::Failed,
    }
}

/// Version 5: methods and the one chosen, a login if it is that, a request, and an answer.
fn version5(client: &[u8], server: &[u8]) -> Outcome {
    let (mut c, mut s) = (Cursor::new(client), Cursor::new(server));
    let mut read = || {
        c.u8()?;
        c.vec8()?;
        let (version, method) = (s.u8()?, s.u8()?);
        if version != 5 || !matches!(method, 0 | 2) {
            return Some(None);
        }
        if method == 2 {
            // RFC 1929: version, user, password; version, status.
            c.u8()?;
            c.vec8()?;
            c.vec8()?;
            let (_, status) = (s.u8()?, s.u8()?);
            if status != 0 {
                return Some(None);
            }
        }
        let (version, command) = (c.u8()?, c.u8()?);
        if version != 5 || command != 1 {
            return Some(None);
        }
        let destination = end(&mut c)?;
        let (_, status) = (s.u8()?, s.u8()?);
        if status != 0 {
            return Some(None);
        }
        end(&mut s)?;
        Some(Some(destination))
    };
    match read() {
        None => Outcome::More,
        Some(None) => Outcome::Failed,
        Some(Some(destination)) => Outcome::Granted(destination, [c.position(), s.position()]),
    }
}

/// A reserved byte, the kind of address, the address, the port.
fn end(c: &mut Cursor<'_>) -> Option<Destination> {
    c.u8()?;
    let host = match c.u8()? {
        1 => Ipv4Addr::from(c.u32()?).to_string(),
        3 => text(c.vec8()?, MAX_NAME),
        4 => Ipv6Addr::from(<[u8; 16]>::try_from(c.take(16)?).ok()?).to_string(),
        _ => return None,
    };
    Some(Destination::of(&host, c.u16()?))
}

/// The signature of the PROXY protocol's second version.
const PROXY_V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The PROXY protocol's header at the beginning of a stream: its length, and who talks with whom, where it says so.
pub fn proxy_header(b: &[u8]) -> Option<(usize, Option<(IpAddr, Destination)>)> {
    if let Some(rest) = b.strip_prefix(&PROXY_V2) {
        let mut c = Cursor::new(rest);
        let (command, family) = (c.u8()?, c.u8()?);
        let mut body = Cursor::new(c.vec16()?);
        let len = PROXY_V2.len().saturating_add(c.position());
        if !matches!(command, 0x20 | 0x21) {
            return None;
        }
        let mut ends = || match family >> 4 {
            // LOCAL: the balancer speaks for itself, and whatever addresses stand there mean nothing.
            _ if command == 0x20 => None,
            1 => {
                let (source, to) = (Ipv4Addr::from(body.u32()?), Ipv4Addr::from(body.u32()?));
                body.u16()?;
                Some((source.into(), Destination::of(&to.to_string(), body.u16()?)))
            }
            2 => {
                let mut address = || <[u8; 16]>::try_from(body.take(16)?).ok().map(Ipv6Addr::from);
                let (source, to) = (address()?, address()?);
                body.u16()?;
                Some((source.into(), Destination::of(&to.to_string(), body.u16()?)))
            }
            _ => None,
        };
        return Some((len, ends()));
    }
    // Version 1 is a line of at most 107 bytes.
    let line = b.get(..107.min(b.len())).filter(|l| l.starts_with(b"PROXY "))?;
    let end = line.windows(2).position(|w| w == b"\r\n")?;
    let line = std::str::from_utf8(line.get(..end)?).ok()?;
    let len = end.saturating_add(2);
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "TCP4" | "TCP6", source, to, _, port] => {
            Some((len, Some((source.parse().ok()?, Destination::of(to, port.parse().ok()?)))))
        }
        ["PROXY", "UNKNOWN", ..] => Some((len, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, port: u16) -> Destination {
        Destination { end: Endpoint::of_name(name, port), name: Some(name.into()) }
    }

    #[test]
    fn socks_in_its_versions() {
        let four = [&[4, 1, 0, 80, 198, 51, 100, 7][..], b"me\0"].concat();
        assert_eq!(negotiation(&four, &[]), Outcome::More);
        let granted = negotiation(&four, &[0, 0x5a, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(granted, Outcome::Granted(Destination::of("198.51.100.7", 80), [11, 8]));
        assert_eq!(negotiation(&four, &[0, 0x5b, 0, 0, 0, 0, 0, 0]), Outcome::Failed);
        let four_a = [&[4, 1, 1, 187, 0, 0, 0, 1, 0][..], b"C2.evil.example\0more"].concat();
        let granted = negotiation(&four_a, &[0, 0x5a, 0, 0, 0, 0, 0, 0]);
        assert_eq!(granted, Outcome::Granted(named("c2.evil.example", 443), [25, 8]));
        let five = [&[5, 1, 0, 5, 1, 0, 3, 12][..], b"evil.example", &[1, 187]].concat();
        let reply = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(negotiation(&five, &reply), Outcome::Granted(named("evil.example", 443), [22, 12]));
        assert_eq!(negotiation(&five, &reply[..5]), Outcome::More);
        assert_eq!(negotiation(&five, &[5, 0xff]), Outcome::Failed);
        let login = [&[5, 1, 2, 1, 1, b'u', 1, b'p', 5, 1, 0, 1, 198, 51, 100, 7, 0, 80][..]].concat();
        let reply = [5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            negotiation(&login, &reply),
            Outcome::Granted(Destination::of("198.51.100.7", 80), [18, 14])
        );
    }

    #[test]
    fn the_proxy_protocol_in_its_versions() {
        let (len, ends) = proxy_header(b"PROXY TCP4 10.0.0.1 198.51.100.7 40000 443\r\nGET").unwrap();
        assert_eq!(
            (len, ends),
            (44, Some(("10.0.0.1".parse().unwrap(), Destination::of("198.51.100.7", 443))))
        );
        assert_eq!(proxy_header(b"PROXY UNKNOWN\r\n"), Some((15, None)));
        assert_eq!(proxy_header(b"PROXY of something"), None);
        let two = [&PROXY_V2[..], &[0x21, 0x11, 0, 12, 10, 0, 0, 1, 198, 51, 100, 7, 0x9c, 0x40, 1, 187, 22]]
            .concat();
        let (len, ends) = proxy_header(&two).unwrap();
        assert_eq!((len, ends.unwrap().1), (28, Destination::of("198.51.100.7", 443)));
        let local = [&two[..12], &[0x20], &two[13..]].concat();
        assert_eq!(proxy_header(&local), Some((28, None)));
    }

    #[test]
    fn names_of_the_house_are_no_remotes() {
        for (host, house) in
            [("intranet", true), ("nas.local", true), ("evil.example", false), ("10.0.0.1", false)]
        {
            assert_eq!(Destination::of(host, 80).is_of_the_house(), house, "{host}");
        }
    }
}
