//! DHCP (RFC 2131): who a host says it is.

use std::net::{IpAddr, Ipv4Addr};

use record::{Anomaly, Dhcp, Direction, Mac, Record};

use crate::cursor::Cursor;
use crate::outbox::{ParseContext, text};
use crate::protocol::{Protocol, Step};

const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// A host name is at most 255 bytes (RFC 2132 §3.14).
const MAX_NAME: usize = 255;

/// Resolvers kept of an answer.
const MAX_RESOLVERS: usize = 8;
/// The operation of a server's messages.
const BOOTREPLY: u8 = 2;

/// Whether a datagram is a DHCP or BOOTP message over Ethernet.
pub fn is_dhcp(b: &[u8]) -> bool {
    matches!(b, [1 | 2, 1, 6, ..]) && b.get(236..240) == Some(&COOKIE)
}

/// Messages, each for itself; acknowledgements and requests name hosts, the others do not.
pub struct DhcpSession;

impl Protocol for DhcpSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        if parse(from, bytes, context).is_none() {
            context.out.strange(Anomaly::DhcpMalformed);
        }
        Step::More
    }

    fn weight(&self) -> usize {
        0
    }
}

fn parse(from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Option<()> {
    let mut c = Cursor::new(bytes);
    let reply = c.u8()? == BOOTREPLY;
    c.take(11)?;
    let (current, offered) = (c.array::<4>()?, c.array::<4>()?);
    c.take(8)?;
    let mac = Mac(c.array::<6>()?);
    c.seek(240)?;
    let (mut kind, mut host_name, mut requested) = (0, None, None);
    let (mut resolvers, mut lease, mut vendor) = (Vec::new(), None, None);
    loop {
        match c.u8()? {
            0 => {}
            255 => break,
            code => {
                let value = c.vec8()?;
                match (code, value) {
                    (53, [k]) => kind = *k,
                    (12, name) => host_name = Some(text(name, MAX_NAME).trim_end_matches('\0').to_owned()),
                    (6, servers) => {
                        let all = servers.as_chunks::<4>().0.iter().take(MAX_RESOLVERS);
                        resolvers = all.map(|a| IpAddr::V4(Ipv4Addr::from(*a))).collect();
                    }
                    (51, [a, b, c, d]) => lease = Some(u32::from_be_bytes([*a, *b, *c, *d])),
                    (60, class) => vendor = Some(text(class, MAX_NAME).trim_end_matches('\0').to_owned()),
                    (50, [a, b, c, d]) => requested = Some([*a, *b, *c, *d]),
                    _ => {}
                }
            }
        }
        if c.is_empty() {
            break;
        }
    }
    // REQUEST, ACK, INFORM.
    if !matches!(kind, 3 | 5 | 8) {
        return Some(());
    }
    let ip = [offered, current, requested.unwrap_or_default()].into_iter().find(|a| *a != [0; 4]);
    context.out.records.push(Record::Dhcp(Box::new(Dhcp {
        head: context.flow.head(context.ts, context.at),
        mac,
        ip: ip.map(|a| IpAddr::V4(Ipv4Addr::from(a))),
        host_name,
        kind,
        server: reply.then_some(match from {
            Direction::Orig => context.flow.tuple.orig.ip,
            Direction::Resp => context.flow.tuple.resp.ip,
        }),
        resolvers,
        lease,
        vendor: vendor.filter(|_| !reply),
        packets: vec![context.packet],
    })));
    Some(())
}
