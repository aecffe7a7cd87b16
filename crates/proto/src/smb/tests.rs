//! Messages made by hand from the tables of MS-CIFS and MS-SMB2; none is from a capture.

use record::{
    Chunk, DceRpc, Direction, Endpoint, FlowFacts, FlowId, Magic, PacketId, Record, Service, Smb, SmbAct,
    SmbOddity, Timestamp, Transport, Tuple,
};

use crate::{Outbox, Session};
use Direction::{Orig, Resp};

type Said = (Direction, Vec<u8>);

fn flow() -> FlowFacts {
    let end = |last, port| Endpoint { ip: [10, 0, 0, last].into(), port };
    FlowFacts {
        id: FlowId::default(),
        tuple: Tuple { orig: end(1, 40_000), resp: end(2, 445), transport: Transport::Tcp },
        segment: None,
        ts: Timestamp(0),
        start_seen: true,
        ended: [true; 2],
        service: Service::Unknown,
    }
}

/// Says everything, in pieces of so many bytes.
fn run(said: &[Said], piece: usize) -> Vec<Record> {
    let (mut session, mut out, flow) = (Session::new(), Outbox::default(), flow());
    for (n, (from, bytes)) in said.iter().enumerate() {
        let ts = Timestamp::from_secs(n as i64);
        for part in bytes.chunks(piece) {
            let packet = PacketId::new(0, n as u64 + 1);
            let chunk = Chunk {
                from: *from,
                bytes: part,
                wire_len: part.len() as u32,
                ts,
                at: ts,
                packet,
                facts: None,
            };
            assert!(session.data(&flow, &chunk, &mut out).wants_more);
        }
    }
    session.end(&flow, Timestamp::from_secs(99), &mut out);
    out.records
}

/// What is told is the same in pieces of any size.
fn told(said: &[Said]) -> Vec<Record> {
    let whole = run(said, usize::MAX);
    for piece in [1, 7, 1460] {
        assert_eq!(run(said, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn smb(records: &[Record]) -> Vec<&Smb> {
    records.iter().filter_map(|r| if let Record::Smb(s) = r { Some(&**s) } else { None }).collect()
}

fn rpc(records: &[Record]) -> Vec<&DceRpc> {
    records.iter().filter_map(|r| if let Record::DceRpc(s) = r { Some(&**s) } else { None }).collect()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn packet(message: Vec<u8>) -> Vec<u8> {
    [(message.len() as u32).to_be_bytes().to_vec(), message].concat()
}

/// A message of SMB2: command, number, status, tree, body (MS-SMB2 §2.2.1.2).
fn smb2(from: Direction, command: u16, id: u64, status: u32, tree: u32, body: &[u8]) -> Said {
    let mut m = b"\xfeSMB\x40\0\0\0".to_vec();
    m.extend(status.to_le_bytes());
    m.extend(command.to_le_bytes());
    m.extend([1, 0, u8::from(from == Resp), 0, 0, 0, 0, 0, 0, 0]);
    m.extend(id.to_le_bytes());
    m.extend([0xff, 0xfe, 0, 0]);
    m.extend(tree.to_le_bytes());
    m.extend([7; 8]);
    m.extend([0; 16]);
    assert_eq!(m.len(), 64);
    m.extend(body);
    (from, packet(m))
}

/// AUTHENTICATE_MESSAGE (MS-NLMP §2.2.1.3).
fn ntlm(domain: &str, user: &str, workstation: &str) -> Vec<u8> {
    let (mut m, mut payload) = (b"NTLMSSP\0\x03\0\0\0".to_vec(), Vec::new());
    for field in [vec![], vec![], wide(domain), wide(user), wide(workstation), vec![]] {
        m.extend((field.len() as u16).to_le_bytes());
        m.extend((field.len() as u16).to_le_bytes());
        m.extend((64 + payload.len() as u32).to_le_bytes());
        payload.extend(field);
    }
    m.extend(1u32.to_le_bytes());
    [m, payload].concat()
}

fn session_setup(token: &[u8]) -> Vec<u8> {
    let mut b = vec![25, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 88, 0];
    b.extend((token.len() as u16).to_le_bytes());
    b.extend([0; 8]);
    b.extend(token);
    b
}

fn tree_connect(path: &str) -> Vec<u8> {
    let path = wide(path);
    [&[9, 0, 0, 0, 72, 0], &(path.len() as u16).to_le_bytes()[..], &path].concat()
}

fn create(name: &str) -> Vec<u8> {
    let name = wide(name);
    let mut b = vec![57, 0];
    b.resize(44, 0);
    b.extend(120u16.to_le_bytes());
    b.extend((name.len() as u16).to_le_bytes());
    b.resize(56, 0);
    b.extend(name);
    b
}

fn created(handle: u8) -> Vec<u8> {
    let mut b = vec![89, 0];
    b.resize(64, 0);
    b.extend([handle; 16]);
    b.resize(88, 0);
    b
}

fn write(handle: u8, offset: u64, data: &[u8]) -> Vec<u8> {
    let mut b = vec![49, 0, 112, 0];
    b.extend((data.len() as u32).to_le_bytes());
    b.extend(offset.to_le_bytes());
    b.extend([handle; 16]);
    b.resize(48, 0);
    b.extend(data);
    b
}

fn read(handle: u8, length: u32, offset: u64) -> Vec<u8> {
    let mut b = vec![49, 0, 0, 0];
    b.extend(length.to_le_bytes());
    b.extend(offset.to_le_bytes());
    b.extend([handle; 16]);
    b.resize(49, 0);
    b
}

fn answer_of_read(data: &[u8]) -> Vec<u8> {
    let mut b = vec![17, 0, 80, 0];
    b.extend((data.len() as u32).to_le_bytes());
    b.resize(16, 0);
    b.extend(data);
    b
}

fn close(handle: u8) -> Vec<u8> {
    [&[24, 0, 0, 0, 0, 0, 0, 0][..], &[handle; 16]].concat()
}

fn transceive(handle: u8, data: &[u8], answers: bool) -> Vec<u8> {
    let mut b = vec![57, 0, 0, 0];
    b.extend(0x0011_c017u32.to_le_bytes());
    b.extend([handle; 16]);
    let (at, length) = (if answers { 112u32 } else { 120 }, data.len() as u32);
    for n in if answers { [0, 0, at, length] } else { [at, length, 0, 0] } {
        b.extend(n.to_le_bytes());
    }
    b.resize(at as usize - 64, 0);
    b.extend(data);
    b
}

/// A fragment (C706 §12.6.3.1), little-endian.
fn fragment(kind: u8, call: u32, body: &[u8]) -> Vec<u8> {
    let mut f = vec![5, 0, kind, 3, 0x10, 0, 0, 0];
    f.extend((16 + body.len() as u16).to_le_bytes());
    f.extend([0, 0]);
    f.extend(call.to_le_bytes());
    f.extend(body);
    f
}

/// The service control manager's interface (MS-SCMR §1.9), bound as number 0.
fn bind() -> Vec<u8> {
    let mut b = vec![0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    b.extend([
        0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35, 0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3, 2, 0, 0, 0,
    ]);
    b.extend([0; 20]);
    fragment(11, 1, &b)
}

fn call(id: u32, operation: u8, stub: &[u8]) -> Vec<u8> {
    fragment(0, id, &[&[0, 0, 0, 0, 0, 0, operation, 0], stub].concat())
}

fn reply(id: u32, result: u32) -> Vec<u8> {
    let stub = [&[0; 24][..], &result.to_le_bytes()].concat();
    fragment(2, id, &[&[0; 8], &stub[..]].concat())
}

/// A program of so many bytes.
fn program(n: usize) -> Vec<u8> {
    let mut p = b"MZ\x90\0".to_vec();
    p.resize(n, 0xcc);
    p
}

/// An administrator's tool copies a program to `ADMIN$`, and makes a service of it.
fn pushed() -> Vec<Said> {
    let negotiated = [65, 0, 1, 0, 0x11, 3, 0, 0];
    vec![
        smb2(Orig, 0, 0, 0, 0, &[36, 0, 1, 0]),
        smb2(Resp, 0, 0, 0, 0, &negotiated),
        smb2(Orig, 1, 1, 0, 0, &session_setup(b"NTLMSSP\0\x01\0\0\0")),
        smb2(Resp, 1, 1, 0xc000_0016, 0, &[9, 0, 0, 0]),
        smb2(Orig, 1, 2, 0, 0, &session_setup(&ntlm("CORP", "admin", "PC1"))),
        smb2(Resp, 1, 2, 0, 0, &[9, 0, 0, 0]),
        smb2(Orig, 3, 3, 0, 0, &tree_connect(r"\\10.0.0.2\ADMIN$")),
        smb2(Resp, 3, 3, 0, 5, &[16, 0, 1, 0]),
        smb2(Orig, 5, 4, 0, 5, &create("svc.exe")),
        smb2(Resp, 5, 4, 0, 5, &created(1)),
        smb2(Orig, 9, 5, 0, 5, &write(1, 0, &program(60_000))),
        smb2(Orig, 9, 6, 0, 5, &write(1, 60_000, &[0; 5_000])),
        smb2(Orig, 6, 7, 0, 5, &close(1)),
        smb2(Orig, 3, 8, 0, 0, &tree_connect(r"\\10.0.0.2\IPC$")),
        smb2(Resp, 3, 8, 0, 9, &[16, 0, 2, 0]),
        smb2(Orig, 5, 9, 0, 9, &create("svcctl")),
        smb2(Resp, 5, 9, 0, 9, &created(2)),
        smb2(Orig, 9, 10, 0, 9, &write(2, 0, &bind())),
        smb2(Orig, 11, 11, 0, 9, &transceive(2, &call(2, 15, &[0; 8]), false)),
        smb2(Resp, 11, 11, 0, 9, &transceive(2, &reply(2, 0), true)),
        smb2(Orig, 11, 12, 0, 9, &transceive(2, &call(3, 12, &[0; 90]), false)),
        smb2(Resp, 11, 12, 0x0000_0103, 9, &[9, 0, 0, 0]),
        smb2(Resp, 11, 12, 0, 9, &transceive(2, &reply(3, 5), true)),
        smb2(Orig, 11, 13, 0, 9, &transceive(2, &call(4, 12, &[0; 90]), false)),
    ]
}

#[test]
fn a_program_is_written_and_a_service_made_of_it() {
    let records = told(&pushed());
    let s = smb(&records);
    let acts: Vec<_> = s.iter().map(|s| s.act).collect();
    assert_eq!(acts, [SmbAct::LogOn, SmbAct::Connect, SmbAct::Transfer, SmbAct::Connect, SmbAct::Open]);
    assert_eq!((s[0].user.as_deref(), s[0].workstation.as_deref()), (Some("CORP\\admin"), Some("PC1")));
    assert_eq!((s[0].dialect, s[0].status), (0x0311, Some(0)));
    let file = s[2];
    assert!(file.is_administrative() && file.share_name() == "ADMIN$");
    assert_eq!(
        (file.name.as_deref(), file.moved, file.begins),
        (Some("svc.exe"), [65_000, 0], [Magic::Pe, Magic::None])
    );
    let told: Vec<_> = rpc(&records).iter().map(|r| (r.operation_name(), r.answered, r.result)).collect();
    assert_eq!(
        told,
        [
            (Some("ROpenSCManagerW"), true, Some(0)),
            (Some("RCreateServiceW"), true, Some(5)),
            (Some("RCreateServiceW"), false, None)
        ]
    );
    let made = rpc(&records)[1];
    assert_eq!((made.pipe.as_deref(), made.interface_name()), (Some("svcctl"), Some("svcctl")));
    assert!(made.runs() == Some("service") && !made.succeeded(), "the result says that access was denied");
}

#[test]
fn what_a_server_refuses_and_what_is_read() {
    let records = told(&[
        smb2(Orig, 3, 1, 0, 0, &tree_connect(r"\\10.0.0.2\share")),
        smb2(Resp, 3, 1, 0, 5, &[16, 0, 1, 0]),
        smb2(Orig, 5, 2, 0, 5, &create("secret.txt")),
        smb2(Resp, 5, 2, 0xc000_0022, 5, &[9, 0, 0, 0]),
        smb2(Orig, 5, 3, 0, 5, &create("setup.exe")),
        smb2(Resp, 5, 3, 0, 5, &created(3)),
        smb2(Orig, 8, 4, 0, 5, &read(3, 9_000, 0)),
        smb2(Resp, 8, 4, 0, 5, &answer_of_read(&program(9_000))),
    ]);
    let s = smb(&records);
    assert_eq!((s[1].act, s[1].is_refused(), s[1].name.as_deref()), (SmbAct::Open, true, Some("secret.txt")));
    assert_eq!((s[2].act, s[2].moved, s[2].begins), (SmbAct::Transfer, [0, 9_000], [Magic::None, Magic::Pe]));
}

/// A compound of CREATE, WRITE and CLOSE, whose handle nobody knows yet.
#[test]
fn a_compound_is_one_file() {
    let parts = [(5, create("a.exe")), (9, write(0xff, 0, &program(300))), (6, close(0xff))];
    let (mut whole, last) = (Vec::new(), parts.len() - 1);
    for (n, (command, body)) in parts.iter().enumerate() {
        let (_, said) = smb2(Orig, *command, 20 + n as u64, 0, 0, body);
        let mut message = said[4..].to_vec();
        message.resize(message.len().next_multiple_of(8), 0);
        let next = if n == last { 0 } else { message.len() as u32 };
        message[20..24].copy_from_slice(&next.to_le_bytes());
        whole.extend(message);
    }
    let records = told(&[(Orig, packet(whole)), smb2(Resp, 5, 20, 0, 0, &created(4))]);
    let s = smb(&records);
    assert_eq!(s.len(), 1);
    assert_eq!((s[0].moved, s[0].begins[0], s[0].name.as_deref()), ([300, 0], Magic::Pe, Some("a.exe")));
}

#[test]
fn what_is_encrypted_is_said_once_and_what_is_broken_too() {
    let hidden = |n: u8| (Orig, packet([b"\xfdSMB".to_vec(), vec![n; 90]].concat()));
    let records = told(&[smb2(Orig, 0, 0, 0, 0, &[36, 0]), hidden(1), hidden(2)]);
    assert_eq!(smb(&records).iter().map(|s| s.act).collect::<Vec<_>>(), [SmbAct::Encrypted]);
    let empty = (Orig, packet([b"\xfeSMB".to_vec(), vec![0; 80]].concat()));
    let acts = |said: &[Said]| smb(&told(said)).iter().map(|s| s.act).collect::<Vec<_>>();
    assert_eq!(acts(&[empty.clone(), empty]), [SmbAct::Odd(SmbOddity::BrokenHeader)]);
    // Data that begins a gigabyte behind the message (MS-SMB2 §2.2.42.1), and data that does not.
    let squeezed = |offset: u32| {
        let head = [&b"\xfcSMB\x40\0\0\0\x01\0\0\0"[..], &offset.to_le_bytes(), &[0; 40]].concat();
        vec![smb2(Orig, 0, 0, 0, 0, &[36, 0]), (Orig, packet(head))]
    };
    assert_eq!(acts(&squeezed(0x4000_0000)), [SmbAct::Odd(SmbOddity::BrokenHeader)]);
    assert!(acts(&squeezed(16)).is_empty());
    let stray = vec![smb2(Orig, 0, 0, 0, 0, &[36, 0]), (Orig, b"\x7fGET /".to_vec())];
    assert_eq!(smb(&run(&stray, usize::MAX))[0].act, SmbAct::Odd(SmbOddity::Foreign));
}

/// A message of SMB1: command, number, status, words, bytes (MS-CIFS §2.2.3).
fn smb1(from: Direction, command: u8, id: u16, status: u32, words: &[u8], bytes: &[u8]) -> Said {
    let mut m = b"\xffSMB".to_vec();
    m.push(command);
    m.extend(status.to_le_bytes());
    m.extend([if from == Resp { 0x98 } else { 0x18 }, 0x01, 0x40]);
    m.extend([0; 12]);
    m.extend([8, 0, 0xfe, 0xff, 0, 8]);
    m.extend(id.to_le_bytes());
    m.push((words.len() / 2) as u8);
    m.extend(words);
    m.extend((bytes.len() as u16).to_le_bytes());
    m.extend(bytes);
    (from, packet(m))
}

/// The words of SMB_COM_TRANSACTION and SMB_COM_TRANSACTION2 with a setup of these.
fn transaction(setup: &[u16], data: u16) -> Vec<u8> {
    let at = 32 + 1 + 28 + 2 * setup.len() as u16 + 2;
    let mut w = vec![0; 22];
    w.extend(data.to_le_bytes());
    w.extend(at.to_le_bytes());
    w.extend([setup.len() as u8, 0]);
    w.extend(setup.iter().flat_map(|s| s.to_le_bytes()));
    w
}

fn begin() -> Vec<Said> {
    let path = [&b"\0"[..], b"\\\\10.0.0.2\\IPC$\0?????\0"].concat();
    vec![
        smb1(Orig, 0x72, 1, 0, &[], b"\x02NT LM 0.12\0"),
        smb1(Resp, 0x72, 1, 0, &[0, 0], &[]),
        smb1(Orig, 0x75, 2, 0, &[0xff, 0, 0, 0, 0, 0, 1, 0], &path),
        smb1(Resp, 0x75, 2, 0, &[0xff, 0, 0, 0, 1, 0], &[]),
    ]
}

fn oddities(rest: Vec<Said>) -> Vec<SmbOddity> {
    let records = told(&[begin(), rest].concat());
    let odd = |s: &&Smb| if let SmbAct::Odd(o) = s.act { Some(o) } else { None };
    let share = |s: &&Smb| s.share.as_deref() == Some(r"\\10.0.0.2\IPC$");
    assert!(smb(&records).iter().all(|s| share(s) && s.dialect == 1));
    smb(&records).iter().filter_map(odd).collect()
}

#[test]
fn what_no_client_of_smb1_says() {
    let nt = smb1(Orig, 0xa0, 64, 0, &[0; 38], &[]);
    let more = smb1(Resp, 0xa0, 64, 0, &[], &[]);
    let rest = smb1(Orig, 0x33, 64, 0, &[0; 18], &[0x41; 4000]);
    assert_eq!(oddities(vec![nt.clone(), more.clone(), rest.clone(), rest]), [SmbOddity::MixedTransaction]);
    let own = smb1(Orig, 0xa1, 64, 0, &[0; 36], &[0x41; 4000]);
    assert!(oddities(vec![nt, more, own]).is_empty(), "it goes on as it began");

    let reserved = smb1(Orig, 0x32, 65, 0, &transaction(&[0x000e], 0), &[0; 12]);
    let honest = smb1(Resp, 0x32, 65, 0xc000_0002, &[], &[]);
    assert_eq!(oddities(vec![reserved.clone(), honest]), [SmbOddity::ReservedFunction]);
    let other = smb1(Resp, 0x32, 81, 0xc000_0002, &[], &[]);
    assert_eq!(oddities(vec![reserved, other]), [SmbOddity::ReservedFunction, SmbOddity::UnaskedAnswer]);
    let find = smb1(Orig, 0x32, 66, 0, &transaction(&[0x0001], 0), &[0; 12]);
    assert!(oddities(vec![find]).is_empty());

    let peek = smb1(Orig, 0x25, 67, 0, &transaction(&[0x0023, 0], 0), b"\\PIPE\\\0");
    assert_eq!(oddities(vec![peek]), [SmbOddity::PeekUnopened]);
}

#[test]
fn calls_over_a_pipe_of_smb1() {
    let mut open = vec![0; 48];
    open[0] = 0xff;
    let mut opened = vec![0; 68];
    (opened[0], opened[5]) = (0xff, 7);
    let data = [bind(), call(2, 31, &[1; 40])].concat();
    let said = vec![
        smb1(Orig, 0xa2, 3, 0, &open, b"\\BROWSER\0"),
        smb1(Resp, 0xa2, 3, 0, &opened, &[]),
        smb1(Orig, 0x25, 4, 0, &transaction(&[0x0026, 7], data.len() as u16), &data),
    ];
    let records = told(&[begin(), said].concat());
    let calls = rpc(&records);
    assert_eq!((calls.len(), calls[0].operation, calls[0].pipe.as_deref()), (1, 31, Some("\\BROWSER")));
    assert!(!calls[0].answered && calls[0].operation_name() == Some("RStartServiceA"));
}

#[test]
fn a_hole_in_a_transfer_and_one_in_a_header() {
    let flow = flow();
    let said = pushed();
    // The program's write: its head comes, then a hole of 50,000 bytes, then the rest.
    let run = |cut: std::ops::Range<usize>| {
        let (mut session, mut out) = (Session::new(), Outbox::default());
        for (n, (from, bytes)) in said.iter().enumerate() {
            let (ts, packet) = (Timestamp::from_secs(n as i64), PacketId::new(0, n as u64 + 1));
            let mut say = |bytes: &[u8], session: &mut Session| {
                let wire_len = bytes.len() as u32;
                session.data(
                    &flow,
                    &Chunk { from: *from, bytes, wire_len, ts, at: ts, packet, facts: None },
                    &mut out,
                );
            };
            if n == 10 {
                say(&bytes[..cut.start], &mut session);
                session.gap(&flow, *from, cut.len() as u64, ts, packet, &mut Outbox::default());
                say(&bytes[cut.end..], &mut session);
            } else {
                say(bytes, &mut session);
            }
        }
        session.end(&flow, Timestamp::from_secs(99), &mut out);
        let records = out.records;
        let file =
            smb(&records).iter().find(|s| s.act == SmbAct::Transfer).map(|s| (s.moved[0], s.begins[0]));
        (file, rpc(&records).len())
    };
    assert_eq!(run(5_000..55_000), (Some((65_000, Magic::Pe)), 3));
    assert_eq!(run(20..60_000), (Some((5_000, Magic::None)), 3), "the next message is found again");
}

#[test]
fn remote_calls_over_tcp() {
    let said = vec![
        (Orig, bind()),
        (Resp, fragment(12, 1, &[0; 20])),
        (Orig, call(2, 12, &[0; 3000])),
        (Resp, fragment(3, 2, &[&[0; 8][..], &5u32.to_le_bytes()].concat())),
        (Orig, call(3, 19, &[0; 20])),
        (Resp, reply(3, 0)),
    ];
    let records = told(&said);
    let calls: Vec<_> = rpc(&records).iter().map(|r| (r.operation_name(), r.fault, r.result)).collect();
    assert_eq!(calls, [(Some("RCreateServiceW"), Some(5), None), (Some("RStartServiceW"), None, Some(0))]);
    assert!(rpc(&records)[0].pipe.is_none() && rpc(&records)[1].succeeded());
}

/// Keeps changing bytes of an honest session and its pieces: nothing panics, and what is told stays bounded.
#[test]
fn changed_bytes_are_survived() {
    let whole = [begin(), pushed()].concat();
    let mut seed = 0x9e37_79b9u32;
    let mut random = |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize % n.max(1)
    };
    for _ in 0..300 {
        let mut said = whole.clone();
        for _ in 0..=random(6) {
            let n = random(said.len());
            let at = random(said[n].1.len());
            said[n].1[at] = random(256) as u8;
        }
        let records = run(&said, 1 + random(3000));
        assert!(records.len() < 64, "{}", records.len());
    }
}
