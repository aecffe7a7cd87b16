//! A UDP socket to which exporters send flows: a datagram becomes the packet that it came in, as far as a socket tells of it, and is read as one that was captured.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{RecvFlags, recvfrom, sockopt};

use crate::listening::Frame;
use crate::merge::now;
use crate::ring::drops_of;
use crate::source::BLOCK;

/// LINKTYPE_RAW: packets that begin with their IP header.
pub const LINK: u32 = 101;
/// Bytes that may wait in the kernel, if it lets us (without the right to more it gives at most `net.core.rmem_max`).
const BUFFER: usize = 8 << 20;
/// The longest datagram.
const LONGEST: usize = 1 << 16;
/// Datagrams that are taken in one go.
const AT_ONCE: usize = 128;
/// IP's number of UDP.
const UDP: u8 = 17;
/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// A socket.
pub struct Inlet {
    socket: Arc<OwnedFd>,
    local: SocketAddr,
    datagram: Vec<u8>,
    packet: Vec<u8>,
    /// Datagrams that had found no room when that was asked last.
    dropped: u32,
}

impl Inlet {
    /// Waits for datagrams at this address.
    ///
    /// # Errors
    /// The address is not this machine's, or somebody else has it.
    pub fn open(at: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        let local = socket.local_addr()?;
        // What the kernel does not give is no reason to hear nothing.
        #[cfg(target_os = "linux")]
        let given = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER);
        #[cfg(not(target_os = "linux"))]
        let given = sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
        if given.is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
        }
        let (datagram, packet) = (vec![0; LONGEST], Vec::new());
        Ok(Self { socket: Arc::new(socket.into()), local, datagram, packet, dropped: 0 })
    }

    /// Datagrams that found no room since this was asked last, where the kernel says it.
    pub fn dropped(&mut self) -> u64 {
        let Ok(all) = drops_of(&self.socket) else { return 0 };
        // It counts on from zero behind its largest number.
        u64::from(all.wrapping_sub(std::mem::replace(&mut self.dropped, all)))
    }

    /// The socket.
    pub fn socket(&self) -> Arc<OwnedFd> {
        self.socket.clone()
    }

    /// Gives some of the datagrams that wait; `false` when there are none.
    pub fn take(&mut self, mut each: impl FnMut(Frame<'_>)) -> bool {
        let mut bytes = 0;
        for n in 0..AT_ONCE {
            if bytes >= BLOCK {
                break;
            }
            let received = recvfrom(&self.socket, &mut self.datagram[..], RecvFlags::DONTWAIT);
            // An error that somebody's network told of is nobody's datagram.
            let Ok((len, _, Some(from))) = received else { return n > 0 };
            let Ok(from) = SocketAddr::try_from(from) else { continue };
            bytes += len;
            packed(from, self.local, &self.datagram[..len], &mut self.packet);
            each(Frame {
                ns: now().0,
                original: self.packet.len() as u32,
                vlan: None,
                outgoing: false,
                link: None,
                bytes: &self.packet,
            });
        }
        true
    }
}

impl AsFd for Inlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The packet of a datagram.
fn packed(from: SocketAddr, to: SocketAddr, payload: &[u8], packet: &mut Vec<u8>) {
    packet.clear();
    let len = (UDP_HEADER + payload.len()) as u16;
    let (source, target) = (from.ip().to_canonical(), to.ip().to_canonical());
    let mut sum = 0;
    match (source, target) {
        (IpAddr::V4(source), target) => {
            // A socket of both versions does not say at which address it was.
            let target = if let IpAddr::V4(target) = target { target } else { Ipv4Addr::UNSPECIFIED };
            let [high, low] = (len + 20).to_be_bytes();
            packet.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, UDP, 0, 0]);
            packet.extend(source.octets());
            packet.extend(target.octets());
            let [high, low] = checksum(&packet[..20], 0).to_be_bytes();
            packet[10..12].copy_from_slice(&[high, low]);
        }
        (IpAddr::V6(source), target) => {
            let target = match target {
                IpAddr::V4(target) => target.to_ipv6_mapped(),
                IpAddr::V6(target) => target,
            };
            let [high, low] = len.to_be_bytes();
            packet.extend([0x60, 0, 0, 0, high, low, UDP, 64]);
            packet.extend(source.octets());
            packet.extend(target.octets());
            // Its pseudo-header: both addresses, the length and the protocol (RFC 8200 §8.1).
            sum = u32::from(len) + u32::from(UDP) + added(&packet[8..40]);
        }
    }
    let header = packet.len();
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    // In IPv4 none is needed.
    if sum > 0 {
        let sum = match checksum(&packet[header..], sum) {
            0 => u16::MAX,
            sum => sum,
        };
        packet[header + 6..header + 8].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The words of some bytes added up.
fn added(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = before + added(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        packed(from.parse().unwrap(), to.parse().unwrap(), payload, &mut packet);
        packet
    }

    #[test]
    fn packets_are_well_formed() {
        let v4 = of("192.0.2.7:40000", "0.0.0.0:2055", b"flows");
        assert_eq!((v4.len(), v4[0], v4[9]), (33, 0x45, 17));
        assert_eq!(checksum(&v4[..20], 0), 0, "whatever is right adds up to nothing");
        assert_eq!((&v4[12..16], &v4[28..]), (&[192, 0, 2, 7][..], &b"flows"[..]));
        let v6 = of("[2001:db8::7]:40000", "[::]:2055", b"flows");
        assert_eq!((v6.len(), v6[0], v6[6]), (53, 0x60, 17));
        assert_eq!(checksum(&v6[40..], 13 + 17 + added(&v6[8..40])), 0);
        // A socket of both versions tells an address of IPv4 as one of IPv6.
        assert_eq!(of("[::ffff:192.0.2.7]:40000", "[::]:2055", b"flows"), v4);
    }

    #[test]
    fn datagrams_become_packets() {
        let mut inlet = Inlet::open("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(!inlet.take(|_| panic!("nothing was sent")));
        let exporter = UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..3u8 {
            exporter.send_to(&[n; 100], inlet.local).unwrap();
        }
        let mut got = Vec::new();
        assert!(inlet.take(|frame| got.push(frame.bytes[28..].to_vec())));
        assert_eq!(got, [[0; 100], [1; 100], [2; 100]]);
        assert!(Inlet::open(inlet.local).is_err(), "an address has one socket");
    }
}
