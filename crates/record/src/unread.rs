use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

/// Why what a packet carries was not read: the layer where decoding had to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "Rested")]
pub enum Unread {
    /// A protocol over IP.
    IpProtocol(u8),
    /// A wrapper that encrypts, and so hides which host speaks.
    Encrypted(&'static str),
    /// An 802.2 service access point; 0xaa where a SNAP header's organisation or protocol is not known.
    Llc(u8),
    /// A link type (LINKTYPE_…) that is not decoded.
    Link(u32),
    /// What a tunnel says that it carries, or a form of the tunnel that is not followed.
    Tunnel(&'static str, u16),
    /// An EtherType that is not known.
    EtherType(u16),
    /// A PPP protocol number.
    Ppp(u16),
    /// Reasons beyond the [`Accounts::MAX_REASONS`] that are told apart.
    Further,
    /// Left out because more came than could be followed, and what that was.
    Shed(&'static str),
}

/// A reason as it rests in a file.
#[derive(Serialize, Deserialize)]
enum Rested {
    IpProtocol(u8),
    Encrypted(String),
    Llc(u8),
    Link(u32),
    Tunnel(String, u16),
    EtherType(u16),
    Ppp(u16),
    Further,
    Shed(String),
}

impl From<Unread> for Rested {
    fn from(why: Unread) -> Self {
        match why {
            Unread::IpProtocol(n) => Self::IpProtocol(n),
            Unread::Encrypted(what) => Self::Encrypted(what.to_owned()),
            Unread::Llc(n) => Self::Llc(n),
            Unread::Link(n) => Self::Link(n),
            Unread::Tunnel(what, n) => Self::Tunnel(what.to_owned(), n),
            Unread::EtherType(n) => Self::EtherType(n),
            Unread::Ppp(n) => Self::Ppp(n),
            Unread::Further => Self::Further,
            Unread::Shed(what) => Self::Shed(what.to_owned()),
        }
    }
}

impl From<Rested> for Unread {
    fn from(why: Rested) -> Self {
        match why {
            Rested::IpProtocol(n) => Self::IpProtocol(n),
            Rested::Encrypted(what) => Self::Encrypted(named(what)),
            Rested::Llc(n) => Self::Llc(n),
            Rested::Link(n) => Self::Link(n),
            Rested::Tunnel(what, n) => Self::Tunnel(named(what), n),
            Rested::EtherType(n) => Self::EtherType(n),
            Rested::Ppp(n) => Self::Ppp(n),
            Rested::Further => Self::Further,
            Rested::Shed(what) => Self::Shed(named(what)),
        }
    }
}

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Rested::deserialize(from).map(Self::from)
    }
}

/// Names of protocols that were read back, each kept once for as long as the program runs; a file that holds more than any version knows gets one name
/// for the rest.
fn named(name: String) -> &'static str {
    const MOST: usize = 512;
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.get(name.as_str()) {
        Some(known) => known,
        None if names.len() >= MOST => "other",
        None => {
            let kept: &'static str = Box::leak(name.into_boxed_str());
            names.insert(kept);
            kept
        }
    }
}

fn by_name<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<&'static str, u64>, D::Error> {
    let read = BTreeMap::<String, u64>::deserialize(from)?;
    Ok(read.into_iter().map(|(name, n)| (named(name), n)).collect())
}

impl Unread {
    /// The kind, one word for a table.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Link(_) => "link_type",
            Self::EtherType(_) => "ether_type",
            Self::Llc(_) => "llc",
            Self::Ppp(_) => "ppp",
            Self::IpProtocol(_) => "ip_protocol",
            Self::Tunnel(..) => "tunnel",
            Self::Encrypted(_) => "encrypted",
            Self::Further => "further",
            Self::Shed(_) => "shed",
        }
    }

    /// Whether the packet is still a flow between two addresses, so that it is known whose it is.
    pub const fn has_hosts(self) -> bool {
        match self {
            Self::IpProtocol(_) => true,
            Self::Encrypted(what) => matches!(what.as_bytes(), b"ESP"),
            _ => false,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Link(n) => match link_name(n) {
                Some(name) => write!(f, "link type {name} ({n})"),
                None => write!(f, "link type {n}"),
            },
            Self::EtherType(n) => write!(f, "EtherType 0x{n:04x}"),
            Self::Llc(n) => write!(f, "LLC service access point 0x{n:02x}"),
            Self::Ppp(n) => write!(f, "PPP protocol 0x{n:04x}"),
            Self::IpProtocol(n) => write!(f, "IP protocol {n}"),
            Self::Tunnel(what, n) => write!(f, "{what} 0x{n:x}"),
            Self::Encrypted(what) => write!(f, "encrypted ({what})"),
            Self::Further => f.write_str("further reasons"),
            Self::Shed(what) => write!(f, "left out because too much came ({what})"),
        }
    }
}

/// What became of the packets: each is counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Packets that belong to a flow, down to their innermost header.
    pub followed: u64,
    /// Pieces of IP datagrams that wait, or waited, for the others; the piece that completes a datagram is counted as what that is.
    pub fragments: u64,
    /// Of these, frames whose datagram is whole and counted.
    #[serde(default)]
    joined: u64,
    /// Packets that are understood and are not IP, by protocol (`arp`, `stp`, `lldp` …).
    #[serde(deserialize_with = "by_name")]
    pub not_ip: BTreeMap<&'static str, u64>,
    /// Packets that the capture cut before the headers ended.
    pub cut: u64,
    /// Packets whose headers contradict themselves or end too early.
    pub damaged: u64,
    /// Packets that were not read, by reason.
    pub unread: BTreeMap<Unread, u64>,
}

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// See [`Accounts::followed`].
    Followed,
    /// See [`Accounts::fragments`].
    Fragment,
    /// See [`Accounts::not_ip`].
    NotIp(&'static str),
    /// See [`Accounts::cut`].
    Cut,
    /// See [`Accounts::damaged`].
    Damaged,
    /// See [`Accounts::unread`].
    Unread(Unread),
}

impl Accounts {
    /// Reasons that are told apart: captures have a handful, crafted ones as many as there are numbers (*assumed*).
    pub const MAX_REASONS: usize = 1024;

    /// Counts packets that were not read. Of too many reasons the first in order are told apart, so that the table does not depend on the
    /// order in which they came, nor on how the packets were dealt out.
    fn not_read(&mut self, why: Unread, n: u64) {
        if why == Unread::Further || self.unread.len() < Self::MAX_REASONS || self.unread.contains_key(&why) {
            *self.unread.entry(why).or_default() += n;
            return;
        }
        let last = self.unread.keys().rfind(|k| **k != Unread::Further).copied();
        let (kept, folded) = match last {
            Some(last) if why < last => (Some(why), self.unread.remove(&last).unwrap_or_default()),
            _ => (None, n),
        };
        *self.unread.entry(Unread::Further).or_default() += folded;
        self.unread.extend(kept.map(|why| (why, n)));
    }

    /// Counts packets that nobody looked at.
    pub fn left_out(&mut self, why: Unread, n: u64) {
        self.not_read(why, n);
    }

    /// Counts one packet.
    #[inline]
    pub fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Followed => self.followed += 1,
            Fate::Fragment => self.fragments += 1,
            Fate::NotIp(what) => *self.not_ip.entry(what).or_default() += 1,
            Fate::Cut => self.cut += 1,
            Fate::Damaged => self.damaged += 1,
            Fate::Unread(why) => self.not_read(why, 1),
        }
    }

    /// Frames that were counted as fragments, here or in an earlier part of the run, have made a datagram, of which this became.
    pub fn joined(&mut self, fate: Fate, frames: u64) {
        self.joined += frames;
        (0..frames).for_each(|_| self.add(fate));
    }

    /// All parts of the run are here: what remains of the fragments waited in vain.
    pub fn settle(&mut self) {
        self.fragments = self.fragments.saturating_sub(std::mem::take(&mut self.joined));
    }

    /// Adds the counts of another part of the same run.
    pub fn merge(&mut self, other: &Self) {
        self.followed += other.followed;
        self.fragments += other.fragments;
        self.joined += other.joined;
        self.cut += other.cut;
        self.damaged += other.damaged;
        for (what, n) in &other.not_ip {
            *self.not_ip.entry(what).or_default() += n;
        }
        for (why, n) in &other.unread {
            self.not_read(*why, *n);
        }
    }

    /// All packets that were counted.
    pub fn all(&self) -> u64 {
        let (not_ip, unread) = (self.not_ip.values().sum::<u64>(), self.unread());
        self.followed + self.fragments + self.cut + self.damaged + not_ip + unread
    }

    /// Packets that were not read, for whatever reason.
    pub fn unread(&self) -> u64 {
        self.unread.values().sum()
    }

    /// Packets of which it is not known whose they are, or what they carried: unread without addresses, cut, damaged, or fragments whose others never came.
    pub fn nobodys(&self) -> u64 {
        let unread: u64 = self.unread.iter().filter(|(why, _)| !why.has_hosts()).map(|(_, n)| n).sum();
        unread + self.cut + self.damaged + self.fragments
    }
}

/// The name of a link type in the registry of tcpdump.org, without `LINKTYPE_`.
fn link_name(link: u32) -> Option<&'static str> {
    LINKS.binary_search_by_key(&link, |l| l.0).ok().and_then(|at| LINKS.get(at)).map(|l| l.1)
}

/// Link types that captures of today and yesterday have (source: the LINKTYPE registry of tcpdump.org).
const LINKS: &[(u32, &str)] = &[
    (0, "NULL"),
    (1, "ETHERNET"),
    (2, "EXP_ETHERNET"),
    (3, "AX25"),
    (4, "PRONET"),
    (5, "CHAOS"),
    (6, "IEEE802_5"),
    (7, "ARCNET_BSD"),
    (8, "SLIP"),
    (9, "PPP"),
    (10, "FDDI"),
    (12, "RAW"),
    (14, "RAW"),
    (50, "PPP_HDLC"),
    (51, "PPP_ETHER"),
    (99, "SYMANTEC_FIREWALL"),
    (100, "ATM_RFC1483"),
    (101, "RAW"),
    (104, "C_HDLC"),
    (105, "IEEE802_11"),
    (107, "FRELAY"),
    (108, "LOOP"),
    (109, "ENC"),
    (113, "LINUX_SLL"),
    (114, "LTALK"),
    (117, "PFLOG"),
    (118, "CISCO_IOS"),
    (119, "IEEE802_11_PRISM"),
    (122, "IP_OVER_FC"),
    (123, "SUNATM"),
    (127, "IEEE802_11_RADIOTAP"),
    (129, "ARCNET_LINUX"),
    (130, "JUNIPER_MLPPP"),
    (138, "APPLE_IP_OVER_IEEE1394"),
    (139, "MTP2_WITH_PHDR"),
    (140, "MTP2"),
    (141, "MTP3"),
    (142, "SCCP"),
    (143, "DOCSIS"),
    (144, "LINUX_IRDA"),
    (147, "USER0"),
    (148, "USER1"),
    (149, "USER2"),
    (150, "USER3"),
    (151, "USER4"),
    (152, "USER5"),
    (153, "USER6"),
    (154, "USER7"),
    (155, "USER8"),
    (156, "USER9"),
    (157, "USER10"),
    (158, "USER11"),
    (159, "USER12"),
    (160, "USER13"),
    (161, "USER14"),
    (162, "USER15"),
    (163, "IEEE802_11_AVS"),
    (165, "BACNET_MS_TP"),
    (166, "PPP_PPPD"),
    (169, "GPRS_LLC"),
    (170, "GPF_T"),
    (171, "GPF_F"),
    (177, "LINUX_LAPD"),
    (178, "JUNIPER_ETHER"),
    (182, "MFR"),
    (186, "USB_FREEBSD"),
    (187, "BLUETOOTH_HCI_H4"),
    (189, "USB_LINUX"),
    (192, "PPI"),
    (195, "IEEE802_15_4_WITHFCS"),
    (196, "SITA"),
    (197, "ERF"),
    (201, "BLUETOOTH_HCI_H4_WITH_PHDR"),
    (202, "AX25_KISS"),
    (203, "LAPD"),
    (204, "PPP_WITH_DIR"),
    (205, "C_HDLC_WITH_DIR"),
    (206, "FRELAY_WITH_DIR"),
    (209, "IPMB_LINUX"),
    (210, "FLEXRAY"),
    (212, "LIN"),
    (215, "IEEE802_15_4_NONASK_PHY"),
    (220, "USB_LINUX_MMAPPED"),
    (224, "FC_2"),
    (225, "FC_2_WITH_FRAME_DELIMS"),
    (226, "IPNET"),
    (227, "CAN_SOCKETCAN"),
    (228, "IPV4"),
    (229, "IPV6"),
    (230, "IEEE802_15_4_NOFCS"),
    (231, "DBUS"),
    (235, "DVB_CI"),
    (236, "MUX27010"),
    (237, "STANAG_5066_D_PDU"),
    (239, "NFLOG"),
    (240, "NETANALYZER"),
    (241, "NETANALYZER_TRANSPARENT"),
    (242, "IPOIB"),
    (243, "MPEG_2_TS"),
    (244, "NG40"),
    (245, "NFC_LLCP"),
    (247, "INFINIBAND"),
    (248, "SCTP"),
    (249, "USBPCAP"),
    (250, "RTAC_SERIAL"),
    (251, "BLUETOOTH_LE_LL"),
    (252, "WIRESHARK_UPPER_PDU"),
    (253, "NETLINK"),
    (254, "BLUETOOTH_LINUX_MONITOR"),
    (255, "BLUETOOTH_BREDR_BB"),
    (256, "BLUETOOTH_LE_LL_WITH_PHDR"),
    (257, "PROFIBUS_DL"),
    (258, "PKTAP"),
    (259, "EPON"),
    (260, "IPMI_HPM_2"),
    (261, "ZWAVE_R1_R2"),
    (262, "ZWAVE_R3"),
    (263, "WATTSTOPPER_DLM"),
    (264, "ISO_14443"),
    (265, "RDS"),
    (266, "USB_DARWIN"),
    (268, "SDLC"),
    (270, "LORATAP"),
    (271, "VSOCK"),
    (272, "NORDIC_BLE"),
    (273, "DOCSIS31_XRA31"),
    (274, "ETHERNET_MPACKET"),
    (275, "DISPLAYPORT_AUX"),
    (276, "LINUX_SLL2"),
    (278, "OPENVIZSLA"),
    (279, "EBHSCR"),
    (280, "VPP_DISPATCH"),
    (281, "DSA_TAG_BRCM"),
    (282, "DSA_TAG_BRCM_PREPEND"),
    (283, "IEEE802_15_4_TAP"),
    (284, "DSA_TAG_DSA"),
    (285, "DSA_TAG_EDSA"),
    (286, "ELEE"),
    (287, "Z_WAVE_SERIAL"),
    (288, "USB_2_0"),
    (289, "ATSC_ALP"),
    (290, "ETW"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_links_is_in_order() {
        assert!(LINKS.is_sorted_by_key(|l| l.0));
        assert_eq!(Unread::Link(253).to_string(), "link type NETLINK (253)");
        assert_eq!(Unread::Link(9999).to_string(), "link type 9999");
    }

    #[test]
    fn every_packet_is_counted_once() {
        let mut accounts = Accounts::default();
        for fate in [
            Fate::Followed,
            Fate::NotIp("arp"),
            Fate::Cut,
            Fate::Fragment,
            Fate::Unread(Unread::Encrypted("ESP")),
            Fate::Unread(Unread::Link(253)),
        ] {
            accounts.add(fate);
        }
        accounts.add(Fate::Fragment);
        // One part of a run has the piece that completes a datagram, another one the pieces before it.
        let mut later = Accounts::default();
        later.add(Fate::Fragment);
        later.joined(Fate::Followed, 2);
        let mut twice = accounts.clone();
        twice.merge(&accounts);
        twice.merge(&later);
        twice.settle();
        assert_eq!((twice.all(), twice.followed, twice.fragments, twice.unread()), (15, 4, 3, 4));
        // Of what ESP hides it is known between whom it goes.
        assert_eq!(twice.nobodys(), 7);
    }

    #[test]
    fn of_too_many_reasons_the_same_are_told_apart_in_any_order() {
        let many = 3 * Accounts::MAX_REASONS as u16;
        let count = |numbers: &mut dyn Iterator<Item = u16>| {
            let mut made = Accounts::default();
            numbers.for_each(|n| made.add(Fate::Unread(Unread::EtherType(n))));
            made
        };
        let (up, down) = (count(&mut (0..many)), count(&mut (0..many).rev()));
        let mut dealt = count(&mut (0..many).filter(|n| n % 3 == 1));
        dealt.merge(&count(&mut (0..many).filter(|n| n % 3 != 1)));
        assert_eq!((&up, &up), (&down, &dealt));
        assert_eq!((up.unread.len(), up.unread()), (Accounts::MAX_REASONS + 1, u64::from(many)));
    }
}
