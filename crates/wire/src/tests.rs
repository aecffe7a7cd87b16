use super::*;
use record::Timestamp;

#[derive(Default)]
struct Seen {
    packets: Vec<Packet>,
    fragments: Vec<(FragmentPiece, Vec<u8>)>,
    anomalies: Vec<Anomaly>,
    not_ip: Vec<&'static str>,
    unread: Vec<Unread>,
    headers: Vec<Header>,
}

impl Sink for Seen {
    fn header(&mut self, header: Header) {
        self.headers.push(header);
    }
    fn not_ip(&mut self, what: &'static str) {
        self.not_ip.push(what);
    }
    fn unread(&mut self, why: Unread) {
        self.unread.push(why);
    }
    fn packet(&mut self, packet: Packet) {
        self.packets.push(packet);
    }
    fn fragment(&mut self, piece: FragmentPiece, bytes: &[u8]) {
        self.fragments.push((piece, bytes.to_vec()));
    }
    fn anomaly(&mut self, anomaly: Anomaly) {
        self.anomalies.push(anomaly);
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

fn seen(link: u32, bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    decode(bytes, link, bytes.len() as u32, &mut seen);
    seen
}

/// UDP 10.0.0.1:1234 → 10.0.0.2:53, payload `abcd`, made by hand after RFC 791 and 768.
const UDP4: &str = "4500 0020 0001 0000 4011 66ca 0a000001 0a000002 04d2 0035 000c 0000 61626364";
/// TCP SYN 10.0.0.1:4000 → 10.0.0.2:80.
const TCP4: &str =
    "4500 0028 0001 0000 4006 66cd 0a000001 0a000002 0fa0 0050 00000064 00000000 5002 2000 0000 0000";
const ETH4: &str = "020000000002 020000000001 0800";

fn check_udp(seen: &Seen, layer: u8, frame: &[u8]) {
    let p = seen.packets.last().expect("a packet");
    assert_eq!((p.transport, p.sport, p.dport, p.layer), (Transport::Udp, 1234, 53, layer));
    assert_eq!(&frame[p.payload_at..p.payload_at + p.payload_captured as usize], b"abcd");
}

#[test]
fn every_link_type_finds_the_packet() {
    let cases: &[(u32, &str)] = &[
        (1, ETH4),
        (1, "020000000002 020000000001 8100 0005 0800"),
        (1, "020000000002 020000000001 88a8 0007 8100 0005 0800"),
        (1, "020000000002 020000000001 8847 00001 0ff 00002 1ff"),
        (1, "020000000002 020000000001 8864 1100 0001 0022 0021"),
        (1, "020000000002 020000000001 0028 aaaa03 000000 0800"),
        (1, "020000000003 020000000004 8903 0041 020000000002 020000000001 0800"),
        (192, "0000 0800 65000000"),
        (101, ""),
        (12, ""),
        (228, ""),
        (0, "02000000"),
        (0, "00000002"),
        (108, "00000002"),
        (9, "ff03 0021"),
        (9, "0021"),
        (50, "0f00 0800"),
        (113, "0000 0001 0006 020000000001 0000 0800"),
        (276, "0800 0000 00000001 0001 00 06 020000000001 0000"),
        // Tags: VN-Tag (also before and behind 802.1Q), E-Tag, security group tag with one option and with two, TTag, HSR, MACsec in
        // clear without and with the channel's name, the customer's frame of 802.1ah, TRILL, ISL.
        (1, "020000000002 020000000001 8926 40020001 0800"),
        (1, "020000000002 020000000001 8100 0005 8926 40020001 8100 0006 0800"),
        (1, "020000000002 020000000001 893f 0000 0005 0000 0800"),
        (1, "020000000002 020000000001 8909 0101 0001 000c 0800"),
        (1, "020000000002 020000000001 8909 0102 0001 000c 0002 000d 0800"),
        (1, "020000000002 020000000001 8905 000000000001 0800"),
        (1, "020000000002 020000000001 892f 0034 0001 0800"),
        (1, "020000000002 020000000001 88e5 0000 00000001 0800"),
        (1, "020000000002 020000000001 88e5 2000 00000001 0200000000010001 0800"),
        (1, "020000000005 020000000006 88e7 00000064 020000000002 020000000001 0800"),
        (1, "020000000005 020000000006 22f3 0041 0001 0002 01020304 020000000002 020000000001 0800"),
        (1, "01000c000000 020000000001 003e aaaa03 020000 0001 0002 0000 020000000002 020000000001 0800"),
        (1, "020000000002 020000000001 0028 060603"),
        // 802.11: to the access point, from it with QoS, between two with HT control; behind radiotap (plain, and padded), Prism, AVS.
        (105, "0801 0000 020000000009 020000000001 020000000002 0000 aaaa03 000000 0800"),
        (105, "8802 0000 020000000002 020000000009 020000000001 0000 0000 aaaa03 000000 0800"),
        (
            105,
            "8883 0000 020000000009 020000000008 020000000002 0000 020000000001 0000 00000000 aaaa03 000000 0800",
        ),
        (105, "0841 0000 020000000009 020000000001 020000000002 0000 0102030400000000 aaaa03 000000 0800"),
        (127, "0000 0800 00000000 0801 0000 020000000009 020000000001 020000000002 0000 aaaa03 000000 0800"),
        (
            127,
            "0000 0900 02000000 20 8801 0000 020000000009 020000000001 020000000002 0000 0000 0000 aaaa03 000000 0800",
        ),
        (
            119,
            "44000000 10000000 0000000000000000 0801 0000 020000000009 020000000001 020000000002 0000 aaaa03 000000 0800",
        ),
        (
            163,
            "80211001 0000000c 00000000 0801 0000 020000000009 020000000001 020000000002 0000 aaaa03 000000 0800",
        ),
        (192, "0000 0800 69000000 0801 0000 020000000009 020000000001 020000000002 0000 aaaa03 000000 0800"),
        (239, "0200 0000 0800 0100 0800 0300 1000 0800 0006 0000 020000000001 0000 2400 0900"),
        (258, "0c000000 01000000 65000000"),
        (
            117,
            "3d02 0000 00000000000000000000000000000000 00000000000000000000000000000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000",
        ),
        (104, "0f00 0800"),
        (205, "01 0f00 0800"),
        (107, "1841 03 cc"),
        (107, "1841 03 00 80 000000 0800"),
        (107, "1841 0800"),
        (206, "00 1841 03 cc"),
        (10, "50 020000000002 020000000001 aaaa03 000000 0800"),
        (6, "1040 020000000002 020000000001 aaaa03 000000 0800"),
        (6, "1040 020000000002 820000000001 0600 0011 0021 aaaa03 000000 0800"),
        (100, "aaaa03 000000 0800"),
        (123, "02 00 0064 aaaa03 000000 0800"),
        (122, "0000000000000000 0000000000000000 aaaa03 000000 0800"),
        (197, "0000000000000000 02 00 0040 0000 002e 0000 020000000002 020000000001 0800"),
        (197, "0000000000000000 82 00 0048 0000 002e 0400000000000000 0000 020000000002 020000000001 0800"),
        (197, "0000000000000000 01 00 0034 0000 0024 0f00 0800"),
        (
            242,
            "00000000000000000000 00000000000000000000 00000000000000000000 00000000000000000000 0800 0000",
        ),
        (247, "0002 0001 000a 0002 64 00 ffff 00000010 00000001 00000b1b 00000012 0800 0000"),
        (109, "02000000 00000001 00000000"),
        (138, "0000000000000001 0000000000000002 0800"),
        (
            253,
            "0000 0338 00000000000000000000 000c 40000000 0003 0000 00000000 00000000 02 00 0000 0800 0100 00000000 2400 0a00",
        ),
        (113, "0004 0321 0006 020000000001 0000 0800"),
        // 802.11s: a mesh control field of six bytes, and of twelve, with or without its flag.
        (105, "8802 0000 020000000002 020000000009 020000000001 0000 0000 001f2d000000 aaaa03 000000 0800"),
        (
            105,
            "8803 0000 020000000009 020000000008 020000000002 0000 020000000001 0001 011f2d000000 0016cbace5f9 aaaa03 000000 0800",
        ),
        (274, "55555555555555d5 020000000002 020000000001 0800"),
        (284, "020000000002 020000000001 c0280000 0800"),
    ];
    for (link, prefix) in cases {
        let frame = hex(&format!("{prefix}{UDP4}"));
        let got = seen(*link, &frame);
        assert_eq!(got.packets.len(), 1, "link {link} {prefix}: {:?}", got.anomalies);
        check_udp(&got, 0, &frame);
    }
}

#[test]
fn tags_and_addresses_are_kept() {
    let got = seen(1, &hex(&format!("020000000002 020000000001 88a8 0007 8100 0005 0800{UDP4}")));
    assert_eq!(got.packets[0].segment, Some(Segment::Vlan(7)));
    assert_eq!(got.packets[0].mac, Some(Mac([2, 0, 0, 0, 0, 1])));
    let sll = seen(113, &hex(&format!("0000 0001 0006 020000000009 0000 0800{UDP4}")));
    assert_eq!(sll.packets[0].mac, Some(Mac([2, 0, 0, 0, 0, 9])));
}

#[test]
fn tunnels_are_followed_and_reported() {
    // Outer IPv4 10.1.0.1 → 10.1.0.2 with total length for the given body.
    let outer = |protocol: u8, body: &[u8]| {
        let total = (20 + body.len()) as u16;
        let mut b = hex("4500 0000 0001 0000 40");
        b[2..4].copy_from_slice(&total.to_be_bytes());
        b.push(protocol);
        b.extend(hex("0000 0a010001 0a010002"));
        b.extend(body);
        b
    };
    let udp = |port: u16, body: &[u8]| {
        let mut b = hex("c350");
        b.extend(port.to_be_bytes());
        b.extend(((8 + body.len()) as u16).to_be_bytes());
        b.extend([0, 0]);
        b.extend(body);
        outer(17, &b)
    };
    let inner = hex(UDP4);
    let with = |head: &str, tail: &[u8]| [hex(head), tail.to_vec()].concat();
    let ether = with(ETH4, &inner);
    let v6_inner = hex(
        "6000 0000 000c 11 40 20010000000000000000000000000001 20010000000000000000000000000002 04d2 0035 000c 0000 61626364",
    );
    let cases: Vec<(&str, Vec<u8>, usize)> = vec![
        ("ip in ip", outer(4, &inner), 1),
        ("gre", outer(47, &with("0000 0800", &inner)), 1),
        ("gre with key and sequence", outer(47, &with("3000 0800 00000001 00000002", &inner)), 1),
        ("gre ethernet", outer(47, &with("0000 6558", &ether)), 1),
        ("erspan ii", outer(47, &with("1000 88be 00000001 1000000000000000", &ether)), 1),
        ("pptp", outer(47, &with("3081 880b 0024 0001 00000001 00000002 ff03 0021", &inner)), 1),
        ("vxlan", udp(4789, &with("08000000 00002a00", &ether)), 2),
        ("gre with a route", outer(47, &with("4000 0800 00000000 0800 0004 0a000001 0000 0000", &inner)), 1),
        ("erspan iii", outer(47, &with("1000 22eb 00000001 200000000000000000000004", &ether)), 1),
        (
            "erspan iii with its optional header",
            outer(47, &with("1000 22eb 00000001 200000000000000000000005 0000000000000000", &ether)),
            1,
        ),
        (
            "erspan iii with a bare packet",
            outer(47, &with("1000 22eb 00000001 200000000000000000000804", &inner)),
            1,
        ),
        ("wccp", outer(47, &with("0000 883e", &inner)), 1),
        ("wccp version 2", outer(47, &with("0000 883e 00000000", &inner)), 1),
        ("eoip", outer(47, &with("2001 6400 002a 0001", &ether)), 1),
        (
            "nsh in gre",
            outer(47, &with("0000 894f 0fc6 0103 00000100 00000000000000000000000000000000", &ether)),
            1,
        ),
        ("nsh of type 2", outer(47, &with("0000 894f 0fc2 0201 00000100", &inner)), 1),
        ("etherip", outer(97, &with("3000", &ether)), 1),
        (
            "authentication header",
            outer(51, &with("0404 0000 00000001 00000001 000000000000000000000000", &inner)),
            1,
        ),
        ("l2tpv3", outer(115, &with("00000005", &ether)), 2),
        (
            "l2tpv3 with cookie and sublayer",
            outer(115, &with("00000005 0102030405060708 40000001", &ether)),
            2,
        ),
        ("pim register", outer(103, &with("2100 0000 00000000", &inner)), 2),
        ("mpls in ip", outer(137, &with("000011ff", &inner)), 1),
        ("vxlan with a group policy", udp(4789, &with("88400007 00002a00", &ether)), 2),
        ("vxlan with reserved bits", udp(4789, &with("0a000001 00002a05", &ether)), 2),
        ("vxlan gpe", udp(4790, &with("0c000003 00002a00", &ether)), 2),
        ("vxlan gpe of a packet", udp(4790, &with("0c000001 00002a00", &inner)), 2),
        ("vxlan gpe of nsh", udp(4790, &with("0c000004 00002a00 0fc2 0203 00000100", &ether)), 2),
        ("tzsp", udp(37008, &with("01000001 01", &ether)), 2),
        ("tzsp with tags and padding", udp(37008, &with("01010001 0a01b0 00 0d04 00000001 01", &ether)), 2),
        (
            "tzsp of 802.11",
            udp(
                37008,
                &with(
                    "01000012 0a01b0 01 0801 0000 020000000009 020000000001 020000000002 0000 aaaa03 000000 0800",
                    &inner,
                ),
            ),
            2,
        ),
        ("capwap of 802.3", udp(5247, &with("00100200 00000000", &ether)), 2),
        (
            "capwap of 802.11",
            udp(
                5247,
                &with(
                    "00100300 00000000 0108 0000 020000000009 020000000001 020000000002 0000 aaaa03 000000 0800",
                    &inner,
                ),
            ),
            2,
        ),
        ("mpls in udp", udp(6635, &with("000011ff", &inner)), 2),
        ("gre in udp", udp(4754, &with("2000 0800 00000001", &inner)), 2),
        ("lisp", udp(4341, &with("80000000 00000001", &inner)), 2),
        ("l2tpv2", udp(1701, &with("4002 002c 0001 0002 ff03 0021", &inner)), 2),
        (
            "l2tpv2 with numbers and offset",
            udp(1701, &with("0a02 0001 0002 0001 0000 0002 0000 0021", &inner)),
            2,
        ),
        ("l2tpv3 in udp", udp(1701, &with("0003 0000 00000005", &ether)), 2),
        ("geneve of nsh", udp(6081, &with("0040894f 00002a00 0fc2 0203 00000100", &ether)), 2),
        ("geneve", udp(6081, &with("02006558 00002a00 0102030100000000", &ether)), 2),
        ("gtp-u", udp(2152, &with("30ff0020 11223344", &inner)), 2),
        ("gtp-u with extension", udp(2152, &with("34ff0028 11223344 00000085 01100900", &inner)), 2),
        ("teredo", udp(3544, &v6_inner), 2),
        ("teredo with origin", udp(3544, &with("0000 1234 f5fffffe", &v6_inner)), 2),
        (
            "teredo with both",
            udp(3544, &with("0001 0000 0000000000000000 00 0000 1234 f5fffffe", &v6_inner)),
            2,
        ),
    ];
    for (name, frame, packets) in cases {
        let got = seen(101, &frame);
        assert_eq!(got.packets.len(), packets, "{name}: {:?}", got.anomalies);
        assert_eq!(got.packets[0].carries.is_some(), packets == 2 && frame[9] == 17, "{name}");
        check_udp(&got, 1, &frame);
    }
}

#[test]
fn the_links_that_are_decoded_are_those_that_are_said_to_be() {
    for link in 0..400 {
        let followed = seen(link, &[0; 64]).unread != [Unread::Link(link)];
        // A number for private use is read where it holds what Apple wrote under it.
        assert_eq!(followed || link == 149, LINKS.contains(&link), "{link}");
    }
}

#[test]
fn netfilter_shows_packets_of_every_family() {
    let packet = "4500 001c 0001 0000 40 11 66ce 0a000001 0a000002 0400 0035 0008 0000";
    let address = "1000 0800 0006 0000 020000000001 0000";
    let link = "1200 1000 020000000002 020000000001 0800 0000";
    for (family, kind) in [("02", "0800"), ("07", "0800"), ("05", "0800"), ("07", "0000")] {
        let head = format!("{family} 00 0000 0800 0100 {kind} 00 00");
        let got = seen(239, &hex(&format!("{head} {address} {link} 2000 0900 {packet}")));
        assert_eq!((got.packets.len(), got.packets[0].dport), (1, 53), "{family} {kind}");
        assert_eq!(got.packets[0].mac, Some(Mac([2, 0, 0, 0, 0, 1])));
        let macs = got.headers.iter().filter(|h| matches!(h, Header::Mac { .. })).count();
        assert_eq!(macs, 3, "whoever hides addresses is told of all");
    }
    let arp = seen(
        239,
        &hex(
            "03 00 0000 0800 0100 0806 00 00 2000 0900 0001080006040001 0200000000010a00000100000000000000000a0002",
        ),
    );
    assert!(arp.not_ip == ["arp"] && arp.headers.iter().any(|h| matches!(h, Header::Arp { .. })));
    // A socket hands over several messages at once.
    let message =
        format!("3c000000 0004 0000 00000000 00000000 02 00 0000 0800 0100 0800 00 00 2000 0900 {packet}");
    let got = seen(253, &hex(&format!("0000 0338 0000 0000000000000000 000c {}", message.repeat(3))));
    assert_eq!((got.packets.len(), got.not_ip.len()), (3, 0));
}

#[test]
fn a_tunnel_over_udp_is_one_flow_and_what_is_in_it() {
    let udp = |gre: &str| {
        let gre = hex(gre);
        let (total, len) = (28 + gre.len() as u16, 8 + gre.len() as u16);
        let mut all = hex("4500 0000 0001 0000 40 11 0000 0a010001 0a010002 c000 1292 0000 0000");
        all[2..4].copy_from_slice(&total.to_be_bytes());
        all[24..26].copy_from_slice(&len.to_be_bytes());
        all.extend(gre);
        seen(101, &all).packets.iter().map(|p| (p.sport, p.dport)).collect::<Vec<_>>()
    };
    assert_eq!(
        udp("0000 0800 4500 001c 0001 0000 40 11 66ce 0a000001 0a000002 0400 0035 0008 0000"),
        [(0xc000, 4754), (0x400, 53)]
    );
    // What is no protocol of a tunnel is the datagram and nothing else.
    assert_eq!(udp("0000 1234 00000001"), [(0xc000, 4754)]);
}

#[test]
fn extension_headers_are_stepped_over_behind_a_fragment_header_too() {
    let head = "6000 0000 0000 2c 40 20010db8000000000000000000000001 20010db8000000000000000000000002";
    let first = format!("{head} 3c 00 0001 00000007 11 00 0000000000 00");
    let rest = format!("{head} 3c 00 0008 00000007 0400 0035 0008 0000");
    let mut fragments = Fragments::new(1 << 20);
    let mut whole = None;
    for frame in [first, rest] {
        let mut frame = hex(&frame);
        let len = frame.len() as u16 - 40;
        frame[4..6].copy_from_slice(&len.to_be_bytes());
        for (piece, bytes) in seen(101, &frame).fragments {
            whole = whole.or(fragments.add(piece, &bytes, Timestamp(0), &mut |_| ()).whole());
        }
    }
    assert_eq!(whole.as_ref().map(crate::Datagram::frames), Some(2));
    let mut sink = Seen::default();
    decode_datagram(&whole.unwrap(), &mut sink);
    assert_eq!(sink.packets.iter().map(|p| p.dport).collect::<Vec<_>>(), [53]);
}

#[test]
fn what_is_not_followed_has_a_name() {
    let cases: &[(u32, &str, Unread)] = &[
        (252, "0000", Unread::Link(252)),
        (192, "0000 0800 ff000000 00", Unread::Link(255)),
        (1, "020000000002 020000000001 4305 0000", Unread::EtherType(0x4305)),
        (1, "020000000002 020000000001 0004 980003 00", Unread::Llc(0x98)),
        (
            1,
            "020000000002 020000000001 88e5 2c00 00000001 0200000000010001 ffff",
            Unread::Encrypted("MACsec"),
        ),
        (
            105,
            "0841 0000 020000000009 020000000001 020000000002 0000 0102030400000000 1234567890",
            Unread::Encrypted("Wi-Fi"),
        ),
        (101, "4500 001c 0001 0000 40 32 0000 0a010001 0a010002 00000001 00000001", Unread::Encrypted("ESP")),
        (101, "4500 001c 0001 0000 40 fd 0000 0a010001 0a010002 00000001 00000001", Unread::IpProtocol(253)),
        (
            101,
            "4500 001c 0001 0000 40 2f 0000 0a010001 0a010002 0000 1234 00000001",
            Unread::Tunnel("GRE protocol", 0x1234),
        ),
        (9, "00fd 00", Unread::Ppp(0xfd)),
    ];
    for (link, frame, why) in cases {
        assert_eq!(seen(*link, &hex(frame)).unread, [*why], "{frame}");
    }
    let understood: &[(u32, &str, &str)] = &[
        (1, "020000000002 020000000001 0806 0001", "arp"),
        (1, "0180c2000000 020000000001 0026 424203", "stp"),
        (1, "01000ccccccc 020000000001 0020 aaaa03 00000c 2000", "cdp"),
        (1, "020000000002 020000000001 8909 0101 0001 0000 0806 0001", "arp"),
        (105, "8000 0000 ffffffffffff 020000000001 020000000001 0000", "802.11_management"),
        (105, "4801 0000 020000000009 020000000001 020000000002 0000", "802.11_null"),
        (113, "0000 0338 0000 0000000000000000 0010", "netlink"),
    ];
    for (link, frame, what) in understood {
        let got = seen(*link, &hex(frame));
        assert_eq!(
            (got.not_ip.as_slice(), got.unread.len()),
            (&[*what][..], 0),
            "{frame}: {:?}",
            got.anomalies
        );
    }
}

#[test]
fn an_aggregate_of_802_11_gives_each_frame() {
    let one = format!("020000000002 020000000001 0028 aaaa03 000000 0800 {UDP4} 0000");
    let head = "8801 0000 020000000009 020000000001 020000000002 0000 8000";
    let frame = hex(&format!("{head} {one} {one}"));
    let got = seen(105, &frame);
    assert_eq!(got.packets.len(), 2, "{:?}", got.anomalies);
    check_udp(&got, 0, &frame);
}

#[test]
fn a_tunnel_without_end_is_given_up() {
    let mut frame = hex(UDP4);
    for _ in 0..30 {
        let total = (20 + frame.len()) as u16;
        let mut outer = hex("4500 0000 0001 0000 4004 0000 0a010001 0a010002");
        outer[2..4].copy_from_slice(&total.to_be_bytes());
        outer.extend(frame);
        frame = outer;
    }
    let got = seen(101, &frame);
    assert!(got.packets.is_empty());
    assert!(got.anomalies.contains(&Anomaly::TooManyLayers));
}

#[test]
fn tcp_fields_and_checksum() {
    let mut frame = hex(TCP4);
    let got = seen(101, &frame);
    let p = got.packets[0];
    assert_eq!((p.tcp.seq, p.tcp.flags, p.payload_len), (100, TcpFlags::SYN, 0));
    assert_eq!(p.checksum, crate::Checksum::Wrong);
    let sum =
        checksum::fold(checksum::sum(&frame[20..]) + checksum::pseudo(p.src, p.dst, 6, frame.len() - 20));
    frame[36..38].copy_from_slice(&(!sum).to_be_bytes());
    assert_eq!(seen(101, &frame).packets[0].checksum, crate::Checksum::Right);
}

#[test]
fn options_padding_and_offload() {
    // IPv4 with 4 bytes of options and 6 bytes of Ethernet padding.
    let frame = hex(&format!(
        "{ETH4} 4600 0024 0001 0000 4011 0000 0a000001 0a000002 01010101 04d2 0035 000c 0000 61626364 000000000000"
    ));
    let got = seen(1, &frame);
    check_udp(&got, 0, &frame);
    assert_eq!(got.packets[0].payload_len, 4);
    // Total length 0.
    let mut frame = hex(UDP4);
    frame[2..4].fill(0);
    let got = seen(101, &frame);
    check_udp(&got, 0, &frame);
    assert!(got.anomalies.contains(&Anomaly::OffloadedLength));
}

#[test]
fn ipv6_extension_headers_are_walked() {
    // Hop-by-hop, destination options, atomic fragment, then UDP.
    let frame =
        hex("6000 0000 0024 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002 \
         3c00 0104 00000000 2c00 0104 00000000 1100 0000 00000001 04d2 0035 000c 0000 61626364");
    let got = seen(229, &frame);
    check_udp(&got, 0, &frame);
    let mut chain =
        hex("6000 0000 0000 3c 40 20010db8000000000000000000000001 20010db8000000000000000000000002");
    chain.extend(hex("3c00 0104 00000000").repeat(40));
    assert!(seen(229, &chain).anomalies.contains(&Anomaly::TooManyLayers));
}

#[test]
fn a_cut_packet_keeps_its_wire_length() {
    let frame = hex(UDP4);
    for cut in 0..frame.len() {
        let mut got = Seen::default();
        decode(&frame[..cut], 101, frame.len() as u32, &mut got);
        if cut >= 28 {
            assert_eq!(got.packets[0].payload_len, 4);
            assert_eq!(got.packets[0].payload_captured as usize, cut - 28);
        } else {
            assert!(got.packets.is_empty() && !got.anomalies.is_empty(), "{cut}");
        }
    }
}

fn fragments_of(payload: &[u8], cuts: &[usize]) -> Vec<(FragmentPiece, Vec<u8>)> {
    let info = IpInfo {
        src: "10.0.0.1".parse().unwrap(),
        dst: "10.0.0.2".parse().unwrap(),
        protocol: 17,
        ttl: 64,
        layer: 0,
        ident: 0,
    };
    let mut bounds = vec![0];
    bounds.extend(cuts);
    bounds.push(payload.len());
    bounds
        .windows(2)
        .map(|w| {
            let piece = FragmentPiece {
                info,
                ident: 9,
                offset: w[0] as u32,
                more: w[1] < payload.len(),
                complete: true,
                frame_len: 60,
                mac: None,
                segment: None,
            };
            (piece, payload[w[0]..w[1]].to_vec())
        })
        .collect()
}

#[test]
fn fragments_in_any_order_make_the_datagram() {
    let payload: Vec<u8> = (0..60u8).collect();
    let pieces = fragments_of(&payload, &[16, 32, 40]);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let mut table = Fragments::new(1 << 20);
        let mut anomalies = Vec::new();
        let mut whole = None;
        for i in order {
            let (piece, bytes) = &pieces[i];
            whole = whole.or(table.add(*piece, bytes, Timestamp(0), &mut |a| anomalies.push(a)).whole());
        }
        assert_eq!(whole.unwrap().bytes(), payload);
        assert!(anomalies.is_empty());
        assert_eq!(table.held(), 0);
    }
}

#[test]
fn overlapping_fragments_are_named_and_the_first_counts() {
    let payload: Vec<u8> = (0..48u8).collect();
    let pieces = fragments_of(&payload, &[24]);
    let mut table = Fragments::new(1 << 20);
    let mut anomalies = Vec::new();
    let mut report = |a| anomalies.push(a);
    table.add(pieces[0].0, &pieces[0].1, Timestamp(0), &mut report);
    let mut evil = pieces[0].clone();
    evil.0.offset = 16;
    evil.1 = vec![0xee; 16];
    table.add(evil.0, &evil.1, Timestamp(0), &mut report);
    let whole = table.add(pieces[1].0, &pieces[1].1, Timestamp(0), &mut report).whole().unwrap();
    assert_eq!(&whole.bytes()[..24], &payload[..24]);
    assert_eq!(&whole.bytes()[24..32], &[0xee; 8]);
    assert_eq!(anomalies, [Anomaly::FragmentOverlap, Anomaly::FragmentOverlap]);
}

#[test]
fn fragments_are_bounded_and_forgotten() {
    let mut table = Fragments::new(10_000);
    let mut dropped = 0;
    for ident in 0..1000 {
        let mut piece = fragments_of(&[0; 64], &[32])[0].0;
        piece.ident = ident;
        table
            .add(piece, &[0; 32], Timestamp(0), &mut |a| dropped += u32::from(a == Anomaly::FragmentDropped));
        assert!(table.held() <= 10_000);
    }
    assert!(dropped > 900);
    let mut incomplete = 0;
    let (last, bytes) = fragments_of(&[0; 64], &[32])[0].clone();
    table.add(last, &bytes, Timestamp::from_secs(31), &mut |a| {
        incomplete += u32::from(a == Anomaly::FragmentIncomplete);
    });
    assert!(incomplete > 10);
}

#[test]
fn any_bytes_decode_without_panic() {
    let mut state = 1u64;
    for round in 0..2000usize {
        let mut bytes = match round % 4 {
            0 => hex(&format!("{ETH4}{UDP4}")),
            1 => hex(&format!("{ETH4}{TCP4}")),
            2 => hex(
                "020000000002 020000000001 86dd 6000 0000 0024 00 40 20010db8000000000000000000000001 20010db8000000000000000000000002 3c00 0104 00000000 2c00 0104 00000000 1100 0000 00000001 04d2 0d80 000c 0000 61626364",
            ),
            _ => vec![0; 80],
        };
        for _ in 0..=(round % 7) {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        bytes.truncate((state >> 40) as usize % (bytes.len() + 1));
        fuzz_decode(&bytes);
    }
}

#[test]
fn what_waits_at_the_end_waited_in_vain() {
    let first = hex(
        "6000 0000 0012 2c 40 20010db8000000000000000000000001 20010db8000000000000000000000002 11 00 0001 00000007 0400 0035 0010 0000 0000",
    );
    let mut fragments = Fragments::new(1 << 20);
    for (piece, bytes) in seen(101, &first).fragments {
        let added = fragments.add(piece, &bytes, Timestamp(0), &mut |_| ());
        assert!(matches!(added, crate::Added::Waits));
    }
    // Its other piece comes twice: the second time it is a copy, and a second later the number is another datagram's.
    let rest = hex(
        "6000 0000 0010 2c 40 20010db8000000000000000000000001 20010db8000000000000000000000002 11 00 0008 00000007 0000 0000 0000 0000",
    );
    let mut add = |frame: &[u8], millis: i64| {
        let (piece, bytes) = seen(101, frame).fragments.remove(0);
        fragments.add(piece, &bytes, Timestamp(millis * 1_000_000), &mut |_| ())
    };
    assert!(add(&rest, 10).whole().is_some_and(|datagram| datagram.frames() == 2));
    assert!(matches!(add(&rest, 20), crate::Added::Copy));
    let mut other = rest.clone();
    *other.last_mut().unwrap() = 9;
    let added = add(&other, 25);
    assert!(matches!(added, crate::Added::Waits), "another datagram with the number");
    assert!(matches!(add(&rest, 1020), crate::Added::Waits));
    let mut told = Vec::new();
    fragments.finish(&mut |a| told.push(a));
    assert_eq!((told, fragments.held()), (vec![record::Anomaly::FragmentIncomplete], 0));
}
