use record::{
    Chunk, Direction, Endpoint, FlowFacts, FlowId, Magic, PacketId, Record, Service, SmtpCommandForm,
    Timestamp, Transport, Tuple,
};

use crate::{Outbox, Session};
use Direction::{Orig, Resp};

type Pieces<'a> = &'a [(Direction, &'a [u8])];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

fn flow(transport: Transport, port: u16) -> FlowFacts {
    let end = |ip: &str, port| Endpoint { ip: ip.parse().unwrap(), port };
    FlowFacts {
        id: FlowId::default(),
        tuple: Tuple { orig: end("10.0.0.1", 40_000), resp: end("198.51.100.7", port), transport },
        segment: None,
        ts: Timestamp(0),
        start_seen: true,
        ended: [true; 2],
        service: Service::Unknown,
    }
}

/// Runs pieces through a session: the service it settles on, and its records.
fn run_on(flow: &FlowFacts, pieces: &[(Direction, &[u8])]) -> (Service, Vec<Record>) {
    let (mut session, mut out) = (Session::new(), Outbox::default());
    let mut service = Service::Unknown;
    for (i, (from, bytes)) in pieces.iter().enumerate() {
        let ts = Timestamp::from_secs(i as i64);
        let chunk = Chunk {
            from: *from,
            bytes,
            wire_len: bytes.len() as u32,
            ts,
            at: ts,
            packet: PacketId::new(0, i as u64 + 1),
            facts: None,
        };
        let progress = session.data(flow, &chunk, &mut out);
        service = progress.service.unwrap_or(service);
        if !progress.wants_more {
            break;
        }
    }
    service = session.end(flow, Timestamp::from_secs(99), &mut out).unwrap_or(service);
    (service, out.records)
}

fn tcp(port: u16, pieces: &[(Direction, &[u8])]) -> (Service, Vec<Record>) {
    run_on(&flow(Transport::Tcp, port), pieces)
}

fn udp(port: u16, pieces: &[(Direction, &[u8])]) -> (Service, Vec<Record>) {
    run_on(&flow(Transport::Udp, port), pieces)
}

const RANDOM: [u8; 48] = [
    0x9c, 0x1f, 0x52, 0xe7, 0x03, 0xb8, 0x6d, 0xd4, 0x21, 0x8a, 0xf5, 0x3e, 0xc9, 0x70, 0x17, 0xab, 0x44,
    0xde, 0x95, 0x0b, 0x66, 0xf8, 0x3d, 0xa1, 0x58, 0xe2, 0x0d, 0xb3, 0x7c, 0x91, 0x2e, 0xc6, 0x4f, 0xd8,
    0x13, 0xa5, 0x6a, 0xf0, 0x37, 0x8e, 0xbb, 0x04, 0xdc, 0x49, 0x72, 0xe9, 0x1a, 0x85,
];

#[test]
fn services_are_recognised_on_any_port() {
    let cases: &[(Service, Pieces<'_>)] = &[
        (Service::Http, &[(Orig, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")]),
        (Service::Http, &[(Resp, b"HTTP/1.1 200 OK\r\n\r\n")]),
        (Service::Ssh, &[(Resp, b"SSH-2.0-OpenSSH_9.2\r\n")]),
        (Service::Smtp, &[(Resp, b"220 mx.example ESMTP ready\r\n")]),
        (Service::Smtp, &[(Resp, b"220 hello\r\n"), (Orig, b"EHLO me\r\n")]),
        (Service::Ftp, &[(Resp, b"220 hello\r\n"), (Orig, b"USER anonymous\r\n")]),
        (Service::Ftp, &[(Resp, b"220 ProFTPD 1.3\r\n")]),
        (Service::Imap, &[(Resp, b"* OK IMAP4rev1 ready\r\n")]),
        (Service::Pop3, &[(Resp, b"+OK ready\r\n")]),
        (Service::Nntp, &[(Resp, b"200 news.example NNTP posting ok\r\n")]),
        (Service::Irc, &[(Orig, b"NICK abc\r\nUSER abc 0 * :abc\r\n")]),
        (Service::Irc, &[(Resp, b":irc.example NOTICE AUTH :*** Looking up\r\n")]),
        (Service::BitTorrent, &[(Orig, b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0")]),
        (Service::Smb, &[(Orig, b"\0\0\0\x45\xffSMB\x72\0\0\0\0\x18")]),
        (Service::Rdp, &[(Orig, b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0")]),
        (Service::Mqtt, &[(Orig, b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04test")]),
        (Service::Socks, &[(Orig, b"\x05\x01\0")]),
        (Service::Socks, &[(Orig, b"\x04\x01\0\x50\x0a\0\0\x01me\0")]),
        (Service::Drda, &[(Orig, b"\0\x26\xd0\x41\0\x01\0\x20\x10\x41\0\x08\x11\x47\xd8\xc4")]),
        (Service::Telnet, &[(Resp, b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23")]),
        (Service::Stratum, &[(Orig, b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n")]),
        (Service::Ssl2, &[(Orig, b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10\x01\0\x80")]),
        (Service::MySql, &[(Resp, b"\x4a\0\0\0\x0a8.0.33\0")]),
        (Service::Opaque, &[(Orig, &RANDOM), (Resp, &RANDOM)]),
        (Service::Opaque, &[(Orig, &RANDOM)]),
        (Service::Unrecognised, &[(Orig, b"hello there\n"), (Resp, b"general greeting\n")]),
        (Service::Bitcoin, &[(Orig, b"\xf9\xbe\xb4\xd9version\0\0\0\0\0\x66\0\0\0")]),
        (Service::Zabbix, &[(Orig, b"ZBXD\x01\x10\0\0\0\0\0\0\0{\"request\":")]),
        (Service::Amqp, &[(Orig, b"AMQP\0\0\x09\x01")]),
        (Service::MongoDb, &[(Orig, b"\x40\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0")]),
        (Service::Fox, &[(Orig, b"fox a 1 -1 fox hello\n{\nfox.version=s:1.0\n")]),
        (Service::Lumberjack, &[(Orig, b"2W\0\0\0\x01")]),
        (Service::Lumberjack, &[(Orig, b"2W\0\0\0\x202C\0\0\x01\0\x78\x9c")]),
        (Service::Splunk, &[(Orig, b"--splunk-cooked-mode-v3--\0\0\0\0")]),
        (Service::Syslog, &[(Orig, b"<5>Jan  1 00:00:01 pc kernel: Linux version 5.10.0-8-amd64\n")]),
        (Service::Syslog, &[(Orig, b"61 <34>1 2024-01-01T00:00:00Z pc app - - - Linux version 5.10.0-8\n")]),
        (Service::Nats, &[(Resp, b"INFO {\"server_id\":\"N\",\"version\":\"2.10\"}\r\n")]),
        (Service::Levin, &[(Orig, b"\x01\x21\x01\x01\x01\x01\x01\x01\xe2\0\0\0\0\0\0\0")]),
        (Service::Zmtp, &[(Orig, b"\xff\0\0\0\0\0\0\0\x01\x7f\x03")]),
        (Service::Iec104, &[(Orig, b"\x68\x04\x07\0\0\0")]),
        (Service::Gearman, &[(Orig, b"\0REQ\0\0\0\x16\0\0\0\x03abc")]),
        (Service::Tarantool, &[(Resp, b"Tarantool 2.11.1 (Binary) 7170b4af-c72f-4f07-8729-08fc678543a1")]),
        (Service::Kasa, &[(Orig, &hex("0000000a d0f2 81f8 8bff 9af7 d5ef"))]),
        (Service::Munin, &[(Resp, b"# munin node at pc-03\n")]),
        (Service::Rsync, &[(Resp, b"@RSYNCD: 31.0 sha512 sha256\n")]),
        (Service::Git, &[(Orig, b"0032git-upload-pack /project.git\0host=example.com\0")]),
        (Service::Hl7, &[(Orig, b"\x0bMSH|^~\\&|LAB|A|")]),
        (Service::OpcUa, &[(Orig, b"HELF\x39\0\0\0\0\0\0\0\0\0\x01\0")]),
        // IEEE 1815: a request of a master's link layer, 0 to 1, reset of link states.
        (Service::Dnp3, &[(Orig, b"\x05\x64\x05\xc0\x01\0\0\x04\xe9\x21")]),
        (Service::EtherNetIp, &[(Orig, b"\x65\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0")]),
        (
            Service::Ams,
            &[(
                Orig,
                b"\0\0\x20\0\0\0\x0a\0\0\x02\x01\x01\x21\x27\x0a\0\0\x01\x01\x01\x01\x80\x01\0\x04\0\0\0\0\0\0\0\0\0\x01\0\0\0",
            )],
        ),
        (
            Service::Modbus,
            &[
                (Orig, b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a"),
                (Resp, b"\0\x01\0\0\0\x05\x01\x03\x02\0\x2a"),
            ],
        ),
        (Service::SunRpc, &[(Orig, b"\x80\0\0\x28\x12\x34\x56\x78\0\0\0\0\0\0\0\x02\0\x01\x86\xa3\0\0\0\x03")]),
        (Service::Diameter, &[(Orig, b"\x01\0\0\x8c\x80\0\x01\x01\0\0\0\0\x00\x00\x00\x01")]),
        (Service::Smpp, &[(Orig, b"\0\0\0\x21\0\0\0\x09\0\0\0\0\0\0\0\x01test\0secret\0\0\x34\0\0\0")]),
        (Service::Thrift, &[(Orig, b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0")]),
        (Service::Kafka, &[(Orig, b"\0\0\0\x0e\0\x12\0\0\0\0\0\x01\0\x04test")]),
        (Service::Cassandra, &[(Orig, b"\x04\0\0\0\x05\0\0\0\0")]),
        (Service::Stomp, &[(Orig, b"CONNECT\naccept-version:1.2\nhost:a\n\n\0")]),
        (Service::Graphite, &[(Orig, b"servers.web-1.cpu.idle 97.5 1732000000\n")]),
        (Service::Graphite, &[(Orig, b"\0\0\0\x0c\x80\x02](X\x03\0\0\0abc")]),
        (Service::Memcached, &[(Orig, b"get a\r\n"), (Resp, b"END\r\n")]),
        (Service::AprsIs, &[(Orig, b"user N0CALL pass -1 vers aprx 2.9.1\r\n")]),
        (Service::GpsTracker, &[(Orig, b"\0\x0f356307042441013")]),
        (Service::GpsTracker, &[(Orig, b"*HQ,4109198974,V1,163245,A,2241.1")]),
        (Service::Minecraft, &[(Orig, b"\x14\0\xf9\x05\x0dmc.example.de\x63\xdd\x01")]),
        (Service::Freeciv, &[(Orig, b"\0\x61\x04klaus\0+Freeciv-3.0-network year32\0")]),
        (Service::Tinc, &[(Orig, b"0 laptop 17\n")]),
        (Service::Cotp, &[(Orig, b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02")]),
        (Service::Erlang, &[(Orig, b"\0\x07zrabbit")]),
        (Service::Redis, &[(Orig, b"*3\r\n$6\r\nCLIENT\r\n"), (Resp, b"+OK\r\n")]),
        (Service::Unrecognised, &[(Orig, b"hello there\n"), (Resp, b"+OK\r\n")]),
        (Service::Redis, &[(Orig, b"*4\r\n$9\r\nsubscribe\r\n"), (Resp, b"+OK\r\n")]),
        // A length of its own behind two bytes is no Modbus while nobody answers in kind.
        (
            Service::Unrecognised,
            &[
                (Orig, b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a"),
                (Resp, b"\0\x02\0\0\0\x05\x01\x03\x02\0\x2a"),
            ],
        ),
    ];
    for (service, pieces) in cases {
        assert_eq!(tcp(12_345, pieces).0, *service, "{:?}", String::from_utf8_lossy(pieces[0].1));
    }
}

#[test]
fn datagrams_are_recognised_on_any_port() {
    let mut wireguard = vec![1, 0, 0, 0];
    wireguard.extend([0xa7; 144]);
    let mut ntp = vec![0x23, 0, 6, 0xec];
    ntp.resize(48, 0);
    let rtp = |seq: u8| [&[0x80, 0x00, 0x10, seq, 0, 0, 1, 2, 9, 9, 9, 9][..], &RANDOM].concat();
    let stun = hex("0001 0000 2112a442 000102030405060708090a0b");
    let kad = [&[0xe4, 0x21][..], &RANDOM[..33]].concat();
    let utp = hex("4100 1234 00000001 00000000 00100000 0001 0000");
    let dtls = [&hex("16 feff 0000 000000000000 0030")[..], &RANDOM].concat();
    let ike = hex("0102030405060708 0000000000000000 2120 2208 00000000 0000001c");
    let openvpn = hex("38 0102030405060708 00 00000000");
    let cases: &[(Service, &[u8])] = &[
        (Service::Dns, &hex("1234 0100 0001 0000 0000 0000 03777777 076578616d706c65 03636f6d 00 0001 0001")),
        (Service::Stun, &stun),
        (Service::Dht, b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
        (Service::Utp, &utp),
        (Service::Kad, &kad),
        (Service::WireGuard, &wireguard),
        (Service::Ntp, &ntp),
        (Service::Dtls, &dtls),
        (Service::Ipsec, &ike),
        (Service::OpenVpn, &openvpn),
        (Service::Source, b"\xff\xff\xff\xffTSource Engine Query\0"),
        (Service::Ssdp, b"M-SEARCH * HTTP/1.1\r\n"),
        (Service::Sip, b"OPTIONS sip:a@b SIP/2.0\r\n"),
        (Service::Snmp, &hex("30 26 02 01 01 04 06 7075626c6963")),
        (Service::Opaque, &RANDOM[..24]),
    ];
    for (service, bytes) in cases {
        assert_eq!(udp(12_345, &[(Orig, bytes)]).0, *service);
    }
    assert_eq!(udp(12_345, &[(Orig, &rtp(1)), (Orig, &rtp(2))]).0, Service::Rtp);
    assert_eq!(udp(12_345, &[(Orig, &RANDOM[..24]), (Resp, &RANDOM[24..])]).0, Service::Opaque);
}

#[test]
fn random_bytes_are_hardly_ever_recognised() {
    let mut state = 7u64;
    let mut wrong = Vec::new();
    let rounds = 40_000usize;
    for i in 0..rounds {
        let bytes: Vec<u8> = (0..24 + i % 200)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            })
            .collect();
        let (a, b) = bytes.split_at(bytes.len() / 2);
        wrong.push(udp(12_345, &[(Orig, a), (Resp, b)]).0);
        wrong.push(tcp(12_345, &[(Orig, a), (Resp, b)]).0);
    }
    wrong.retain(|s| s.is_recognised());
    assert!(wrong.len() <= rounds * 2 / 4096, "{} of {}: {wrong:?}", wrong.len(), rounds * 2);
}

#[test]
fn dns_pairs_questions_and_answers() {
    let question = hex("1234 0100 0001 0000 0000 0000 03575757 076578616d706c65 03636f6d 00 0001 0001");
    let answer = hex("1234 8180 0001 0002 0000 0000 03777777 076578616d706c65 03636f6d 00 0001 0001 \
         c00c 0005 0001 0000003c 0006 0361626 3c010 c02d 0001 0001 0000003c 0004 c6336407");
    let (_, records) = udp(53, &[(Orig, &question), (Orig, &question), (Resp, &answer)]);
    let [Record::Dns(dns)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((dns.query.as_str(), dns.qtype, dns.rcode), ("www.example.com", 1, Some(0)));
    assert_eq!(dns.answers[0].name.as_deref(), Some("abc.example.com"));
    assert_eq!(dns.answers[1].addr, Some("198.51.100.7".parse().unwrap()));
    assert_eq!(dns.rtt.unwrap().as_secs(), 2);
    let (_, unanswered) = udp(53, &[(Orig, &question)]);
    assert!(matches!(&unanswered[..], [Record::Dns(d)] if d.rcode.is_none()));
    let framed = [&(question.len() as u16).to_be_bytes()[..], &question].concat();
    let (service, over_tcp) = tcp(5300, &[(Orig, &framed[..7]), (Orig, &framed[7..])]);
    assert_eq!((service, over_tcp.len()), (Service::Dns, 1));
}

#[test]
fn dns_names_that_loop_or_lie_end() {
    let looping = hex("1234 0100 0001 0000 0000 0000 c00c 0001 0001");
    assert!(crate::dns::parse(&looping).is_none());
    let cut = hex("1234 8180 0001 0009 0000 0000 03777777 00 0001 0001");
    assert!(crate::dns::parse(&cut).is_some_and(|m| m.malformed));
    let odd = hex("1234 0100 0001 0000 0000 0000 03 1b2e41 00 0001 0001");
    assert_eq!(crate::dns::parse(&odd).unwrap().query, "\\027\\.a");
}

#[test]
fn an_smtp_session_is_understood() {
    let (service, records) = tcp(
        25,
        &[
            (Resp, b"220 mx.example ESMTP\r\n"),
            (Orig, b"EHLO dlpyjaa\r\n"),
            (Resp, b"250-mx.example\r\n250-STARTTLS\r\n250 SIZE\r\n"),
            (Orig, b"MAIL FROM:<a@One.example>\r\nRCPT TO:<b@two.example>\r\nRCPT TO:<c@two.example>\r\nDATA\r\n"),
            (Resp, b"250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n"),
            (Orig, b"Message-Id: <x>\r\nSubject: s\r\n\r\nbo"),
            (Orig, b"dy\r\n.\r\n"),
            (Resp, b"250 queued\r\n"),
            (Orig, b"QUIT\r\n"),
        ],
    );
    let [Record::Smtp(s)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(service, Service::Smtp);
    assert_eq!((s.helo.as_deref(), s.hello), (Some("dlpyjaa"), SmtpCommandForm::Ehlo));
    assert_eq!(
        (s.mail_count, s.rcpt_count, s.rcpt_accepted, s.data_count, s.accepted_count),
        (1, 2, 1, 1, 1)
    );
    assert_eq!(
        (s.starttls_offered, s.starttls_used, s.quit, s.odd_message_id, s.rejects),
        (true, false, true, true, 1)
    );
    assert_eq!((s.sender_domains[0].as_str(), s.recipient_domains.len()), ("one.example", 1));
    assert_eq!(s.first_data_at, Some(Timestamp::from_secs(4)));
    assert_eq!(s.message_bytes, 15 + 2 + 10 + 2 + 2 + 4 + 2);
}

#[test]
fn starttls_hides_the_rest() {
    let (_, records) = tcp(
        587,
        &[
            (Resp, b"220 x ESMTP\r\n"),
            (Orig, b"EHLO me\r\n"),
            (Resp, b"250-x\r\n250 STARTTLS\r\n"),
            (Orig, b"STARTTLS\r\n"),
            (Resp, b"220 go\r\n"),
            (Orig, b"\x16\x03\x01MAIL FROM:<x@y>\r\n"),
        ],
    );
    let [Record::Smtp(s)] = &records[..] else { panic!() };
    assert!(s.starttls_used && s.mail_count == 0);
}

#[test]
fn http_requests_meet_their_responses() {
    let (_, records) = tcp(
        8080,
        &[
            (Orig, b"POST /a HTTP/1.1\r\nHost: Example.com:8080\r\nContent-Length: 24\r\n\r\n"),
            (Orig, &RANDOM[..24]),
            (Resp, b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nMZ\x90\0\r\n"),
            (Resp, b"3c\r\n"),
            (Resp, &[1; 60]),
            (Resp, b"\r\n0\r\n\r\n"),
            (Orig, b"GET /b HTTP/1.1\r\nHost: example.com\r\nReferer: r\r\nCookie: c\r\n\r\nGET /c HTTP/1.0\r\n\r\n"),
            (Resp, b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.0 200 OK\r\n\r\nuntil the end"),
        ],
    );
    let http: Vec<_> =
        records.iter().filter_map(|r| if let Record::Http(h) = r { Some(h) } else { None }).collect();
    assert_eq!(http.len(), 3);
    let first = http[0];
    assert_eq!(
        (first.method.as_str(), first.host.as_deref(), first.status),
        ("POST", Some("example.com"), Some(200))
    );
    assert!(first.request.facts.unwrap().is_opaque());
    assert_eq!((first.response.len, first.response.magic), (64, Magic::Pe));
    assert_eq!(first.response.declared.as_deref(), Some("text/html"));
    assert_eq!((http[1].status, http[1].cookie, http[1].depth), (Some(204), true, 1));
    assert_eq!((http[2].path.as_str(), http[2].response.len), ("/c", 13));
}

/// The files of a connection: who sent each, its name and length, and what its hash begins with.
type Told<'a> = (Direction, Option<&'a str>, u64, bool, Option<String>);

fn files(records: &[Record]) -> Vec<Told<'_>> {
    let files = records.iter().filter_map(|r| if let Record::File(f) = r { Some(f) } else { None });
    files
        .map(|f| (f.from, f.name.as_deref(), f.len, f.whole, f.sha256().map(|s| s[..8].to_owned())))
        .collect()
}

#[test]
fn files_are_told_with_their_hashes_and_pages_are_not() {
    use sha2::Digest;
    let mut exe = b"MZ".to_vec();
    exe.resize(2000, 7);
    let sum = |bytes: &[u8]| Some(record::hex(&sha2::Sha256::digest(bytes))[..8].to_owned());
    let (a, rest) = exe.split_at(700);
    let get = |path: &str| format!("GET /x/{path}?q=/1 HTTP/1.1\r\nHost: e\r\n\r\n").into_bytes();
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n";
    // In pieces; in chunks, under a name of the server's; and what a client sends.
    let chunked = [&b"HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"in voice.zip\"\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n"[..], b"PK\x03\x04", &[3; 76], b"\r\n0\r\n\r\n"].concat();
    let zip = [&b"PK\x03\x04"[..], &[3; 76]].concat();
    let post = [&b"POST /up HTTP/1.1\r\nHost: e\r\nContent-Length: 80\r\n\r\n"[..], &zip].concat();
    let (_, records) = tcp(
        80,
        &[
            (Orig, &get("a.exe")),
            (Resp, head),
            (Resp, a),
            (Resp, rest),
            (Orig, &get("b")),
            (Resp, &chunked),
            (Orig, &post),
            (Resp, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"),
        ],
    );
    assert_eq!(
        files(&records),
        [
            (Resp, Some("a.exe"), 2000, true, sum(&exe)),
            (Resp, Some("in voice.zip"), 80, true, sum(&zip)),
            (Orig, None, 80, true, sum(&zip)),
        ]
    );
    // A part of it, cut short, and packed on its way: none of these is the file.
    let part = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2000\r\n\r\n";
    let (_, records) = tcp(80, &[(Orig, &get("a.exe")), (Resp, part), (Resp, &exe)]);
    assert_eq!(files(&records), [(Resp, Some("a.exe"), 2000, false, None)]);
    let (_, records) = tcp(80, &[(Orig, &get("a.exe")), (Resp, head), (Resp, a)]);
    assert_eq!(files(&records), [(Resp, Some("a.exe"), 700, false, None)]);
    let packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2000\r\n\r\n";
    let (_, records) = tcp(80, &[(Orig, &get("a.exe")), (Resp, packed), (Resp, &exe)]);
    assert_eq!(files(&records), [(Resp, Some("a.exe"), 2000, true, None)]);
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: 2000\r\n\r\n";
    let mut gzip = b"\x1f\x8b\x08".to_vec();
    gzip.resize(2000, 9);
    assert!(files(&tcp(80, &[(Orig, &get("page")), (Resp, page), (Resp, &gzip)]).1).is_empty());
    let zip = b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nContent-Encoding: gzip\r\nContent-Length: 2000\r\n\r\n";
    let (_, records) = tcp(80, &[(Orig, &get("RFQ-1.zip")), (Resp, zip), (Resp, &gzip)]);
    assert_eq!(files(&records), [(Resp, Some("RFQ-1.zip"), 2000, true, None)]);
    // Alone on a connection, as FTP's data are, and as droppers send them; who answers speaks a protocol.
    for pieces in
        [&[(Resp, &exe[..])][..], &[(Resp, a), (Resp, rest)], &[(Resp, &exe[..3]), (Resp, &exe[3..])]]
    {
        assert_eq!(files(&tcp(40_000, pieces).1), [(Resp, None, 2000, true, sum(&exe))]);
    }
    assert!(files(&tcp(40_000, &[(Orig, b"hello, who is there?"), (Resp, &exe)]).1).is_empty());
    // Nobody wants hashes.
    let (mut session, mut out) = (Session::new(), Outbox { unhashed: true, ..Outbox::default() });
    let facts = flow(Transport::Tcp, 80);
    for (from, bytes) in [(Orig, &get("a.exe")[..]), (Resp, head), (Resp, &exe)] {
        let (ts, packet) = (Timestamp(0), PacketId::new(0, 1));
        session.data(&facts, &Chunk { from, bytes, wire_len: 0, ts, at: ts, packet, facts: None }, &mut out);
    }
    assert_eq!(files(&out.records), [(Resp, Some("a.exe"), 2000, true, None)]);
}

#[test]
fn a_gap_in_a_body_is_counted_and_the_next_message_is_found() {
    let facts = flow(Transport::Tcp, 80);
    let (mut session, mut out) = (Session::new(), Outbox::default());
    let mut say = |session: &mut Session, from, bytes: &[u8]| {
        let chunk = Chunk {
            from,
            bytes,
            wire_len: bytes.len() as u32,
            ts: Timestamp(0),
            at: Timestamp(0),
            packet: PacketId::new(0, 1),
            facts: None,
        };
        session.data(&facts, &chunk, &mut out);
    };
    say(&mut session, Orig, b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    say(&mut session, Resp, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabcdefgh");
    let mut later = Outbox::default();
    session.gap(&facts, Resp, 900, Timestamp(0), PacketId::default(), &mut later);
    let mut say = |session: &mut Session, bytes: &[u8]| {
        let chunk = Chunk {
            from: Resp,
            bytes,
            wire_len: 0,
            ts: Timestamp(0),
            at: Timestamp(0),
            packet: PacketId::new(0, 2),
            facts: None,
        };
        session.data(&facts, &chunk, &mut later);
    };
    say(&mut session, &[b'x'; 92]);
    say(&mut session, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let got: Vec<_> = later
        .records
        .iter()
        .map(|r| match r {
            Record::Http(h) => (h.path.clone(), h.status, h.response.len),
            r => panic!("{r:?}"),
        })
        .collect();
    assert_eq!(got, [("/a".to_owned(), Some(200), 1000), ("/b".to_owned(), Some(404), 0)]);
}

#[test]
fn the_quic_initial_of_rfc_9001_opens() {
    let initial = hex(include_str!("testdata/rfc9001-a2-client-initial.hex"));
    assert_eq!(initial.len(), 1200);
    let (service, records) = udp(443, &[(Orig, &initial)]);
    let [Record::Quic(q)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((service, q.version, q.sni.as_deref()), (Service::Quic, 1, Some("example.com")));
    assert_eq!(q.ja4.as_deref(), Some("q13d0211an_62ed6f6ca7ad_4d634acda6c0"));
    let mut wrong = initial;
    wrong[600] ^= 1;
    let (_, records) = udp(443, &[(Orig, &wrong)]);
    assert!(matches!(&records[..], [Record::Quic(q)] if q.sni.is_none()));
}

#[test]
fn ja4_follows_the_published_vectors() {
    use crate::tls::ClientHello;
    let mut digests = crate::tls::Digests::default();
    let list = |text: &str| text.split(',').map(|v| u16::from_str_radix(v, 16).unwrap()).collect::<Vec<_>>();
    let mut hello = ClientHello {
        random: [0; 32],
        legacy_version: 0x0303,
        ciphers: list("1a1a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"),
        extensions: list(
            "2a2a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015",
        ),
        sni: None,
        alpn: Some(b"h2".to_vec()),
        versions: list("3a3a,0304,0303"),
        signature_algorithms: list("0403,0804,0401,0503,0805,0501,0806,0601"),
    };
    assert_eq!(hello.ja4('t', &mut digests), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    hello.signature_algorithms.clear();
    assert_eq!(hello.ja4('t', &mut digests), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    let old = ClientHello {
        legacy_version: 0x0303,
        ciphers: list(
            "000a,002f,0035,003c,003d,009c,009d,c009,c00a,c013,c014,c023,c024,c027,c028,c02b,c02c,c02f,c030",
        ),
        extensions: list("0000,0005,000a,000b,000d,0017,0023,ff01"),
        signature_algorithms: list("0804,0805,0806,0401,0501,0201,0403,0503,0203,0202,0601,0603"),
        ..ClientHello::default()
    };
    assert_eq!(old.ja4('t', &mut digests), "t12d190800_d83cc789557e_7af1ed941c26");
    for (alpn, letters) in [("ab", "bb"), ("30ab", "3b"), ("30abcd31", "01"), ("3031abcd", "3d")] {
        let hello = ClientHello { alpn: Some(hex(alpn)), ..ClientHello::default() };
        let want = if alpn == "ab" { "ab" } else { letters };
        assert_eq!(&hello.ja4('t', &mut digests)[8..10], want, "{alpn}");
    }
}

#[test]
fn a_tls_handshake_in_pieces() {
    let body = [
        &hex("0303")[..],
        &[7; 32],
        &hex("00 0004 1301 1302 0100 0018 0000 0010 000e 00 000b 6578616d706c652e636f6d 002b 0000")[..],
    ]
    .concat();
    let handshake = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    let record = [&[0x16, 3, 1, 0, handshake.len() as u8][..], &handshake].concat();
    let server = [&hex("16 0303 002a 02 000026 0303")[..], &[9; 32], &hex("00 1301 00")[..]].concat();
    for cut in 1..record.len() {
        let (service, records) =
            tcp(4444, &[(Orig, &record[..cut]), (Orig, &record[cut..]), (Resp, &server)]);
        let [Record::Tls(t)] = &records[..] else { panic!("{cut}: {records:?}") };
        assert_eq!(
            (service, t.sni.as_deref(), t.cipher),
            (Service::Tls, Some("example.com"), Some(0x1301)),
            "{cut}"
        );
    }
}

/// A certificate made with `openssl req -x509 -newkey ec -subj "/CN=Test Server CA" -days 40000` for `Example.com`.
const CERTIFICATE: &str = "\
         308201a030820147a00302010202147c37dff44e3df4a7b786bcdd2c64664cd2aeefda300a06082a8648ce3d040302301931          17301506035504030c0e54657374205365727665722043413020170d3236313132343137353232315a180f32313336303533          313137353232315a30193117301506035504030c0e54657374205365727665722043413059301306072a8648ce3d02010608          2a8648ce3d0301070342000430e2fedb912824638da4e27c73bc23110adbeeaf36ead7ce0484bc8c0837808e1a19d9789ced          a6be68c59ddc424ccbbcba00e211249c48b12b32f36b9e9a8c9aa36b3069301d0603551d0e04160414437e372ae3025070bf          d3ba4077cd2bfd827f990d301f0603551d23041830168014437e372ae3025070bfd3ba4077cd2bfd827f990d300f0603551d          130101ff040530030101ff30160603551d11040f300d820b4578616d706c652e636f6d300a06082a8648ce3d040302034700          3044022007b0935dd252eda689c8bac7a7fd782d2c382d56d7997980a73f8eecf4832d0f02202aa621ad8c4ac825d4e60028          cd733228490d4be853b55204dd250e37c0660480";

#[test]
fn a_certificate_in_pieces() {
    let hello =
        [&hex("16 0301 002f 01 00002b 0303")[..], &[7; 32], &hex("00 0002 c02b 0100 0000")[..]].concat();
    let server = [&hex("02 000026 0303")[..], &[9; 32], &hex("00 c02b 00")[..]].concat();
    let der = hex(CERTIFICATE);
    let len = der.len() as u32;
    let body = [&(len + 3).to_be_bytes()[1..], &len.to_be_bytes()[1..], &der].concat();
    let certificate = [&[11][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    let messages = [server, certificate].concat();
    let answer = [&[0x16, 3, 3][..], &(messages.len() as u16).to_be_bytes(), &messages].concat();
    for cut in [1, 5, 40, 60, 100, answer.len() - 1] {
        let (_, records) = tcp(4444, &[(Orig, &hello), (Resp, &answer[..cut]), (Resp, &answer[cut..])]);
        let [Record::Tls(t)] = &records[..] else { panic!("{cut}: {records:?}") };
        let c = t.certificate.as_deref().expect("a certificate");
        assert_eq!((c.subject.as_str(), c.self_signed), ("Test Server CA", true));
        assert_eq!(c.names, ["example.com"]);
        assert_eq!(c.sha1(), "1b4b4a5f1509a456ac16630b7801e2d20af31bd4");
        assert_eq!(c.sha256(), "42bb9010f213e4b993f955cb662a5b9deb0aab72e4d6b71c420e3c0f9bf96ce1");
        assert_eq!(c.not_before.to_string(), "2026-11-24T17:52:21.000000Z");
        assert_eq!(c.not_after.since(c.not_before).as_secs(), 40_000 * 86_400);
    }
    // The proof of the key: a named curve's parameters, or a group's, and the signature over them and both random numbers.
    let long = |kind: u8, body: &[u8]| {
        let message = [&[kind][..], &(body.len() as u32).to_be_bytes()[1..], body].concat();
        [&[0x16, 3, 3][..], &(message.len() as u16).to_be_bytes(), &message].concat()
    };
    let signature = hex("0804 0004 01020304");
    let (curve, group) = (hex("03 001d 04 aabbccdd"), hex("0002 0017 0001 02 0002 aabb"));
    for parameters in [&curve, &group] {
        let exchange = long(12, &[&parameters[..], &signature].concat());
        let (_, records) = tcp(
            4444,
            &[(Orig, &hello), (Resp, &answer), (Resp, &long(22, &[1, 0, 0, 0])), (Resp, &exchange)],
        );
        let [Record::Tls(t)] = &records[..] else { panic!("{records:?}") };
        let proof = t.certificate.as_deref().and_then(|c| c.proof.as_ref()).expect("a proof");
        assert_eq!((proof.scheme, proof.signature.as_slice()), (0x0804, &[1, 2, 3, 4][..]));
        assert_eq!(proof.signed, [&[7; 32][..], &[9; 32], parameters].concat());
    }
    let more = long(12, &[&curve[..], &signature, &[0]].concat());
    let (_, records) = tcp(4444, &[(Orig, &hello), (Resp, &answer), (Resp, &more)]);
    assert!(
        matches!(&records[..], [Record::Tls(t)] if t.certificate.as_deref().is_some_and(|c| c.proof.is_none()))
    );
    let mut broken = answer;
    broken[80] ^= 0xff;
    let (_, records) = tcp(4444, &[(Orig, &hello), (Resp, &broken)]);
    assert!(matches!(&records[..], [Record::Tls(t)] if t.cipher.is_some()), "a broken one is its own loss");
}

#[test]
fn which_headers_a_request_had() {
    use record::RequestHeaders as Headers;
    let (_, records) = tcp(
        80,
        &[(Orig, b"POST /a HTTP/1.1\r\nHost: a\r\nACCEPT-language: de\r\nSec-Fetch-Mode: cors\r\nPragma: no-cache\r\n\r\n")],
    );
    let [Record::Http(h)] = &records[..] else { panic!("{records:?}") };
    assert!(h.headers.has(Headers::LANGUAGE | Headers::SEC | Headers::CACHE));
    assert!(!h.headers.has(Headers::ACCEPT) && h.headers.count == 4);
}

#[test]
fn irc_ssh_and_dhcp_tell_what_matters() {
    let (_, irc) =
        tcp(51_987, &[(Orig, b"NICK bot\r\nJOIN #x key\r\n"), (Resp, b":a!b@c PRIVMSG #x :.scan\r\n")]);
    let told: Vec<_> = irc
        .iter()
        .map(|r| match r {
            Record::Irc(i) => (i.command.as_str(), i.params.as_str()),
            r => panic!("{r:?}"),
        })
        .collect();
    assert_eq!(told, [("NICK", "bot"), ("JOIN", "#x key"), ("PRIVMSG", "#x :.scan")]);
    let (_, ssh) = tcp(2222, &[(Resp, b"SSH-2.0-a\r\n"), (Orig, b"SSH-2.0-b\r\n")]);
    assert!(matches!(&ssh[..], [Record::Ssh(s)] if s.client.as_deref() == Some("SSH-2.0-b")));
    let mut dhcp = vec![1, 1, 6, 0];
    dhcp.resize(28, 0);
    dhcp.extend([2, 0, 0, 0, 0, 5]);
    dhcp.resize(236, 0);
    dhcp.extend(hex("63825363 350103 3204 0a000005 0c03 706373 ff"));
    let (_, records) = udp(67, &[(Orig, &dhcp)]);
    let [Record::Dhcp(d)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((d.host_name.as_deref(), d.ip), (Some("pcs"), Some("10.0.0.5".parse().unwrap())));
}

#[test]
fn frames_of_24_random_bytes_are_told_and_others_are_not() {
    let (_, records) = udp(447, &[(Orig, &RANDOM[..24]), (Resp, &RANDOM[24..]), (Orig, &RANDOM[..23])]);
    assert_eq!(records.iter().filter(|r| matches!(r, Record::Frame(_))).count(), 2);
    let (_, plain) = udp(447, &[(Orig, &[0; 24]), (Orig, b"twenty-four plain bytes!")]);
    assert!(plain.is_empty());
}

#[test]
fn any_bytes_in_any_pieces_are_survived() {
    let seeds: &[&[u8]] = &[
        b"\0\x02\x30GET / HTTP/1.1\r\nHost: a\r\n\r\n\x21HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"\0\x01\x21220 mx ESMTP\r\n\x20EHLO a\r\n\x21250 ok\r\n\x20DATA\r\n\x21354 go\r\n",
        b"\0\0\x40\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01",
        b"\0\x03\x80\x16\x03\x01\x00\x60\x01\0\0\x5c\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0\x02\x13\x01\x01\0",
        b"\0\x05\x40NICK a\r\nUSER a b c :d\r\n",
    ];
    let mut state = 3u64;
    for round in 0..20_000usize {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..=(round % 5) {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 20) as u8;
        }
        crate::fuzz_session(&bytes);
        // The same pieces for every parser, whether or not they are its own.
        bytes[1] = (round % 9) as u8;
        crate::fuzz_protocol(&bytes[1..]);
    }
}

/// What the HTTP records of a run say: method, host, path, status.
fn pages(pieces: &[(Direction, &[u8])]) -> Vec<String> {
    let (_, records) = tcp(80, pieces);
    let told = records.iter().filter_map(|r| match r {
        Record::Http(h) => Some(format!(
            "{} {}{} {} {}+{}",
            h.method,
            h.host.as_deref().unwrap_or("-"),
            h.path,
            h.status.map_or("-".into(), |s| s.to_string()),
            h.request.len,
            h.response.len
        )),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_broken_chunk_ends_where_the_next_answer_begins() {
    let get = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    let page = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npage\r\n";
    let program = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nMZ";
    let told = |broken: &[u8], asked_again: bool| {
        let again: &[u8] = if asked_again { get } else { b"" };
        let pieces = [(Orig, &get[..]), (Resp, page), (Resp, broken), (Orig, again), (Resp, program)];
        let all = tcp(80, &pieces).1.into_iter();
        let all = all.filter_map(|r| if let Record::Http(h) = r { Some(h.response.magic) } else { None });
        all.collect::<Vec<_>>()
    };
    for broken in [&b"0\r\n\r\n"[..], b"\x9c\x1f\x52\xe7\x03", b"not a length\r\n", b"0\r\n\x9c\x1f"] {
        assert_eq!(told(broken, true), [Magic::None, Magic::Pe], "{}", broken.escape_ascii());
    }
    assert_eq!(told(b"not a length\r\n", false).len(), 1, "nobody asked for another");
}

#[test]
fn http_bodies_end_where_they_end() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    // A trailer behind the last chunk is no request, however much it looks like one.
    let put = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nGET /evil HTTP/1.1\r\nX: y\r\n\r\n";
    let next = b"PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(
        pages(&[(Orig, put), (Resp, answer), (Orig, next), (Resp, answer)]),
        ["PUT x/a 200 3+2", "PUT x/b 200 3+2"]
    );
    // Lengths that differ end the body nobody knows where: nothing behind them is a request.
    let doubt = b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 90\r\n\r\nabcGET /no HTTP/1.1\r\n\r\n";
    assert_eq!(pages(&[(Orig, doubt), (Resp, answer)]), ["POST x/c 200 0+2"]);
    // What is said before the answer, and what is no request.
    let early: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let get = b"GET /d HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(
        pages(&[(Orig, get), (Resp, early), (Resp, answer), (Orig, b"X-Left: over\r\nMore: of it\r\n\r\n")]),
        ["GET x/d 200 0+2"]
    );
    // Before there were versions a page was all that came.
    assert_eq!(
        pages(&[(Orig, b"GET /old\r\n"), (Resp, b"<html>"), (Resp, b"</html>")]),
        ["GET -/old - 0+13"]
    );
}

#[test]
fn after_lost_answers_the_last_question_gets_the_next() {
    let mut session = Session::new();
    let mut out = Outbox::default();
    let flow = flow(Transport::Tcp, 80);
    let at = Timestamp::from_secs(1);
    let mut say = |session: &mut Session, from, bytes: &[u8]| {
        let chunk = Chunk {
            from,
            bytes,
            wire_len: bytes.len() as u32,
            ts: at,
            at,
            packet: PacketId::default(),
            facts: None,
        };
        session.data(&flow, &chunk, &mut out);
    };
    say(&mut session, Orig, b"GET /1 HTTP/1.1\r\n\r\n");
    let mut lost = Outbox::default();
    session.gap(&flow, Resp, 500, at, PacketId::default(), &mut lost);
    say(&mut session, Orig, b"GET /2 HTTP/1.1\r\n\r\n");
    say(&mut session, Resp, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let statuses: Vec<_> = out
        .records
        .iter()
        .filter_map(|r| match r {
            Record::Http(h) => Some((h.path.as_str(), h.status)),
            _ => None,
        })
        .collect();
    assert_eq!(statuses, [("/1", None), ("/2", Some(404))]);
}

/// A hello to a name, as the bytes of a record.
fn hello(name: &str) -> Vec<u8> {
    let mut sni = vec![0, 0, 0, name.len() as u8 + 5, 0, name.len() as u8 + 3, 0, 0, name.len() as u8];
    sni.extend(name.as_bytes());
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, sni.len() as u8]);
    body.extend(sni);
    let mut record = vec![0x16, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

/// Services, remotes and names that a flow to a proxy is seen to be about.
fn seen_through(port: u16, pieces: &[(Direction, &[u8])]) -> Vec<String> {
    let (service, records) = tcp(port, pieces);
    let mut told: Vec<String> = records
        .iter()
        .map(|r| match r {
            Record::Relay(r) => {
                format!("{} {}:{}", r.kind.name(), r.name.as_deref().unwrap_or("-"), r.destination.port)
            }
            Record::Tls(t) => format!("tls {} {}", t.sni.as_deref().unwrap_or("-"), t.head.tuple.resp.port),
            Record::Http(h) => {
                format!(
                    "{} {}{} {}",
                    h.method,
                    h.host.as_deref().unwrap_or("-"),
                    h.path,
                    h.head.tuple.resp.port
                )
            }
            other => format!("{other:?}"),
        })
        .collect();
    told.push(service.to_string());
    told
}

#[test]
fn proxies_are_seen_through() {
    let hello = hello("evil.example");
    let ok = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let connect: &[u8] = b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n";
    let through = [
        "CONNECT evil.exampleevil.example:443 3128",
        "connect evil.example:443",
        "tls evil.example 443",
        "ssl",
    ];
    assert_eq!(seen_through(3128, &[(Orig, connect), (Resp, ok), (Orig, &hello)]), through);
    // The hello may come before the word that it may.
    assert_eq!(seen_through(3128, &[(Orig, &[connect, &hello].concat()), (Resp, ok)]), through);
    // A refusal leads nowhere, and what follows is asked of the proxy.
    let refused = b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        seen_through(3128, &[(Orig, connect), (Resp, refused), (Orig, connect), (Resp, ok), (Orig, &hello)]),
        [&["CONNECT evil.exampleevil.example:443 3128"], &through[..]].concat()
    );
    let five = [&[5, 1, 0][..], &[5, 1, 0, 3, 12], b"evil.example", &[1, 187]].concat();
    assert_eq!(
        seen_through(
            1080,
            &[
                (Orig, &five[..3]),
                (Resp, &[5, 0]),
                (Orig, &five[3..]),
                (Resp, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
                (Orig, &hello)
            ]
        ),
        ["socks evil.example:443", "tls evil.example 443", "ssl"]
    );
    // A proxy behind a proxy, whose answers come in one piece.
    let chained = [&five[3..], connect].concat();
    let granted = [&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], ok].concat();
    assert_eq!(
        seen_through(
            1080,
            &[(Orig, &five[..3]), (Resp, &[5, 0]), (Orig, &chained), (Resp, &granted), (Orig, &hello)]
        ),
        [
            "socks evil.example:443",
            "CONNECT evil.exampleevil.example:443 443",
            "connect evil.example:443",
            "tls evil.example 443",
            "ssl"
        ]
    );
    // More than is kept comes before the grant: the hello is whole, and what is lost is no part of anything.
    let record = [&[0x17, 3, 3, 0x40, 0][..], &[9; 0x4000]].concat();
    let flood = [connect, &hello, &record.repeat(3)].concat();
    assert_eq!(seen_through(3128, &[(Orig, &flood), (Resp, ok)]), through);
    let four_a = [&[4, 1, 0, 80, 0, 0, 0, 1, 0][..], b"evil.example\0"].concat();
    assert_eq!(
        seen_through(
            1080,
            &[
                (Orig, &four_a),
                (Resp, &[0, 0x5a, 0, 0, 0, 0, 0, 0]),
                (Orig, b"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            ]
        ),
        ["socks evil.example:80", "GET evil.example/x 80", "http"]
    );
    // Of many requests to one destination one record tells.
    let many: Vec<u8> = b"GET http://evil.example/ HTTP/1.1\r\n\r\n".repeat(20);
    let told = seen_through(3128, &[(Orig, &many)]);
    assert_eq!(told.iter().filter(|t| t.starts_with("http evil")).count(), 1, "{told:?}");
    // A whole URL to a proxy, and to the server itself.
    let whole: &[u8] = b"POST http://c2.evil.example:8080/gate.php HTTP/1.1\r\nHost: c2.evil.example\r\n\r\n";
    assert_eq!(
        seen_through(3128, &[(Orig, whole), (Resp, refused)]),
        ["http c2.evil.example:8080", "POST c2.evil.example/gate.php 8080", "http"]
    );
    assert_eq!(
        seen_through(8080, &[(Orig, whole), (Resp, refused)]),
        ["POST c2.evil.example/gate.php 8080", "http"]
    );
    let header = [b"PROXY TCP4 10.0.0.1 203.0.113.9 40000 443\r\n", &hello[..]].concat();
    assert_eq!(
        seen_through(8443, &[(Orig, &header)]),
        ["proxy_protocol -:443", "tls evil.example 443", "ssl"]
    );
}

#[test]
fn mail_in_chunks_and_by_recipient() {
    let row = |pieces: &[(Direction, &[u8])]| match tcp(25, pieces).1.as_slice() {
        [Record::Smtp(s)] => (s.mail_count, s.data_count, s.accepted_count, s.message_bytes),
        other => panic!("{other:?}"),
    };
    let greet: &[(Direction, &[u8])] =
        &[(Resp, b"220 mx ESMTP\r\n"), (Orig, b"EHLO a\r\n"), (Resp, b"250 CHUNKING\r\n")];
    let to = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n";
    let chunks = [
        greet,
        &[
            (Orig, to),
            (Resp, b"250 ok\r\n250 ok\r\n"),
            (Orig, b"BDAT 5\r\nhello"),
            (Resp, b"250 ok\r\n"),
            (Orig, b"BDAT 6 LAST\r\n world"),
            (Resp, b"250 queued\r\n"),
        ],
    ]
    .concat();
    assert_eq!(row(&chunks), (1, 1, 1, 11));
    // A refused chunk is sent all the same, and no message comes of it.
    let refused = [
        greet,
        &[
            (Orig, to),
            (Resp, b"250 ok\r\n550 no\r\n"),
            (Orig, b"BDAT 5 LAST\r\nQUIT\n"),
            (Resp, b"503 no\r\n"),
            (Orig, b"RSET\r\n"),
            (Resp, b"250 ok\r\n"),
        ],
    ]
    .concat();
    assert_eq!(row(&refused), (1, 1, 0, 5));
    let data: &[(Direction, &[u8])] = &[
        (Orig, to),
        (Resp, b"250 ok\r\n550 no\r\n"),
        (Orig, b"DATA\r\n"),
        (Resp, b"503 no\r\n"),
        (Orig, b"RSET\r\n"),
        (Resp, b"250 ok\r\n"),
    ];
    assert_eq!(row(&[greet, data].concat()), (1, 0, 0, 0));
    let lmtp: &[(Direction, &[u8])] = &[
        (Resp, b"220 mx LMTP SMTP\r\n"),
        (Orig, b"LHLO a\r\n"),
        (Resp, b"250 ok\r\n"),
        (Orig, b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\n"),
        (Resp, b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
        (Orig, b"\r\nhi\r\n.\r\n"),
        (Resp, b"250 for b\r\n452 for c\r\n"),
        (Orig, b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"),
        (Resp, b"250 ok\r\n250 ok\r\n354 go\r\n"),
        (Orig, b"\r\nhi\r\n.\r\n"),
        (Resp, b"250 for b\r\n"),
    ];
    assert_eq!(row(lmtp), (2, 2, 2, 12));
    // In chunks too each recipient has an answer, and what comes behind meets its own.
    let chunks: &[(Direction, &[u8])] = &[
        (Resp, b"220 mx LMTP SMTP\r\n"),
        (Orig, b"LHLO a\r\n"),
        (Resp, b"250 ok\r\n"),
        (Orig, b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\n"),
        (Resp, b"250 ok\r\n250 ok\r\n250 ok\r\n"),
        (Orig, b"BDAT 2 LAST\r\nhi"),
        (Resp, b"452 for b\r\n250 for c\r\n"),
        (Orig, b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n"),
        (Resp, b"250 ok\r\n250 ok\r\n"),
        (Orig, b"BDAT 2 LAST\r\nhi"),
        (Resp, b"550 for b\r\n"),
    ];
    assert_eq!(row(chunks), (2, 2, 1, 4));
    // One side alone: a login does not swallow the mail.
    for login in [&b"AUTH PLAIN AGEAYg==\r\n"[..], b"AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n"] {
        let side = [b"EHLO a\r\n", login, to, b"DATA\r\nhi\r\n.\r\nQUIT\r\n"].concat();
        assert_eq!(row(&[(Orig, &side)]).0, 1, "{}", String::from_utf8_lossy(login));
    }
}

#[test]
fn what_turns_into_tls_goes_on_as_tls() {
    let hello = hello("mail.example");
    let flows: &[(Service, Pieces<'_>)] = &[
        (
            Service::Imap,
            &[(Resp, b"* OK ready\r\n"), (Orig, b"a STARTTLS\r\n"), (Resp, b"a OK go\r\n"), (Orig, &hello)],
        ),
        (
            Service::Pop3,
            &[(Resp, b"+OK ready\r\n"), (Orig, b"STLS\r\n"), (Resp, b"+OK go\r\n"), (Orig, &hello)],
        ),
        (
            Service::Ftp,
            &[(Resp, b"220 FTP\r\n"), (Orig, b"AUTH TLS\r\n"), (Resp, b"234 go\r\n"), (Orig, &hello)],
        ),
        (
            Service::Rdp,
            &[
                (Orig, b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"),
                (Resp, b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x1f\x08\0\x02\0\0\0"),
                (Orig, &hello),
            ],
        ),
        (
            Service::Xmpp,
            &[
                (Orig, b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'>"),
                (Resp, b"<stream:features><starttls/>"),
                (Orig, b"<starttls/>"),
                (Resp, b"<proceed/>"),
                (Orig, &hello),
            ],
        ),
    ];
    for (service, pieces) in flows {
        let (found, records) = tcp(12_345, pieces);
        let names: Vec<_> = records
            .iter()
            .filter_map(|r| if let Record::Tls(t) = r { t.sni.as_deref() } else { None })
            .collect();
        assert_eq!((found, names.as_slice()), (*service, &["mail.example"][..]));
    }
}

#[test]
fn updates_and_notices_of_dns_are_no_damage() {
    // UPDATE: zone example.com, one record added (RFC 2136); NOTIFY of the same zone with its SOA.
    let zone = "076578616d706c65 03636f6d 00 0006 0001";
    let update =
        hex(&format!("1234 2800 0001 0000 0001 0000 {zone} 0161 c00c 0001 0001 00000e10 0004 0a000001"));
    let notify = hex(&format!("1234 2400 0001 0001 0000 0000 {zone} c00c 0006 0001 00000e10 0000"));
    for message in [update, notify] {
        let (mut session, mut out) = (Session::new(), Outbox::default());
        let flow = flow(Transport::Udp, 53);
        let chunk = Chunk {
            from: Orig,
            bytes: &message,
            wire_len: message.len() as u32,
            ts: Timestamp(0),
            at: Timestamp(0),
            packet: PacketId::default(),
            facts: None,
        };
        assert_eq!(session.data(&flow, &chunk, &mut out).service, Some(Service::Dns));
        assert!(out.records.is_empty() && out.anomalies.seen().count() == 0);
    }
}

#[test]
fn rpc_and_directories_by_their_lengths() {
    let bind = hex("05 00 0b 03 10000000 4800 0000 01000000");
    let big = hex("05 01 00 83 00000000 0048 0000 00000001");
    for rpc in [bind, big] {
        assert_eq!(tcp(49_152, &[(Orig, &rpc)]).0, Service::DceRpc);
    }
    let bind = hex("30 0c 02 01 01 60 07 02 01 03 04 00 80 00");
    let long = hex("30 84 0000000f 02 04 7fffffff 60 07 02 01 03 04 00 80 00");
    let search = hex("30 81 0f 02 02 0102 63 09 04 00 0a 01 02 0a 01 00 00");
    for ldap in [bind, long, search] {
        assert_eq!(tcp(12_345, &[(Orig, &ldap)]).0, Service::Ldap, "{ldap:x?}");
    }
}

#[test]
fn messages_under_one_key_are_told_once() {
    let one = |tail: u8, n: usize| {
        let rest = RANDOM.iter().cycle().take(n).map(|b| b.wrapping_add(tail));
        RANDOM[..12].iter().map(|b| b | 1).chain(rest).collect::<Vec<u8>>()
    };
    let pieces =
        [(Orig, one(1, 90)), (Resp, one(2, 9)), (Orig, one(3, 30)), (Resp, one(4, 9)), (Orig, one(5, 9))];
    let pieces: Vec<(Direction, &[u8])> = pieces.iter().map(|(from, b)| (*from, b.as_slice())).collect();
    let told = |port: u16, pieces: &[(Direction, &[u8])]| {
        let start = |r: &Record| if let Record::Framing(f) = r { Some((f.messages, f.start)) } else { None };
        tcp(port, pieces).1.iter().filter_map(start).collect::<Vec<_>>()
    };
    assert_eq!(told(2404, &pieces), [([2, 1], record::Start::Cipher { same: 12 })]);
    assert!(told(2404, &pieces[..2]).is_empty(), "two messages");
}

#[test]
fn messages_that_state_their_own_length_are_told_once() {
    let one = |mark: &[u8], n: u32| [mark, &n.to_le_bytes(), &RANDOM.repeat(9)[..n as usize]].concat();
    let pieces: Vec<(Direction, Vec<u8>)> =
        [(Orig, 75), (Resp, 1), (Orig, 134), (Resp, 9), (Orig, 30), (Resp, 12)]
            .into_iter()
            .map(|(from, n)| (from, one(b"\x00\xff", n)))
            .collect();
    let told = |pieces: &[(Direction, Vec<u8>)]| {
        let pieces: Vec<(Direction, &[u8])> = pieces.iter().map(|(from, b)| (*from, b.as_slice())).collect();
        let (_, records) = tcp(443, &pieces);
        let framing = |r: &Record| match r {
            Record::Framing(f) => Some((f.messages, f.start)),
            _ => None,
        };
        records.iter().filter_map(framing).collect::<Vec<_>>()
    };
    assert_eq!(told(&pieces), [([2, 2], record::Start::Length { before: 2 })]);
    assert!(told(&pieces[..3]).is_empty(), "three messages");
    let facts = FlowFacts { start_seen: false, ..flow(Transport::Tcp, 443) };
    let parts: Vec<(Direction, &[u8])> = pieces.iter().map(|(from, b)| (*from, b.as_slice())).collect();
    assert!(!run_on(&facts, &parts).1.iter().any(|r| matches!(r, Record::Framing(_))), "from the middle");
}
