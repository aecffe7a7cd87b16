//! File sharing between neighbours, as administrators do it and as worms do: messages made from the tables of MS-SMB2, MS-CIFS and C706, which hold what is told of
//! them and zeros else.

use crate::Tcp;
use crate::protocols::{Answer, dns, http_get};
use crate::script::{End, Script};

const START: i64 = 1_600_000_000;
/// Whoever pushes software to the others.
pub const CONSOLE: &str = "10.20.0.5";

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn packet(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

/// A message of SMB2 (MS-SMB2 §2.2.1.2).
fn smb2(answers: bool, command: u16, id: u64, status: u32, tree: u32, body: &[u8]) -> Vec<u8> {
    let mut m = b"\xfeSMB\x40\0\0\0".to_vec();
    m.extend(status.to_le_bytes());
    m.extend(command.to_le_bytes());
    m.extend([1, 0, u8::from(answers), 0, 0, 0, 0, 0, 0, 0]);
    m.extend(id.to_le_bytes());
    m.extend([0; 4]);
    m.extend(tree.to_le_bytes());
    m.extend([1; 8]);
    m.extend([0; 16]);
    m.extend(body);
    packet(&m)
}

/// The body of a request or answer: fields at their places, zeros between, then what is variable.
fn body(fields: &[(usize, &[u8])], length: usize, rest: &[u8]) -> Vec<u8> {
    let mut b = vec![0; length];
    for (at, field) in fields {
        b[*at..at + field.len()].copy_from_slice(field);
    }
    b.extend(rest);
    b
}

fn short(n: usize) -> [u8; 2] {
    (n as u16).to_le_bytes()
}

fn long(n: usize) -> [u8; 4] {
    (n as u32).to_le_bytes()
}

/// A session of one client in the making.
struct Session<'a> {
    tcp: Tcp<'a>,
    id: u64,
}

impl Session<'_> {
    fn ask(mut self, command: u16, tree: u32, request: &[u8], answer: &[u8]) -> Self {
        let (asked, answered) =
            (smb2(false, command, self.id, 0, tree, request), smb2(true, command, self.id, 0, tree, answer));
        self.id += 1;
        self.tcp = self.tcp.client(&asked).server(&answered);
        self
    }

    fn connect(self, tree: u32, path: &str) -> Self {
        let path = wide(path);
        let request = body(&[(0, &[9]), (4, &[72, 0]), (6, &short(path.len()))], 8, &path);
        self.ask(3, tree, &request, &body(&[(0, &[16])], 16, &[]))
    }

    fn open(self, tree: u32, name: &str, handle: u8) -> Self {
        let name = wide(name);
        let request = body(&[(0, &[57]), (44, &[120, 0]), (46, &short(name.len()))], 56, &name);
        self.ask(5, tree, &request, &body(&[(0, &[89]), (64, &[handle; 16])], 88, &[]))
    }

    fn write(self, tree: u32, handle: u8, data: &[u8]) -> Self {
        let mut session = self;
        for (n, part) in data.chunks(65_536).enumerate() {
            let offset = (n as u64 * 65_536).to_le_bytes();
            let fields: [(usize, &[u8]); 5] =
                [(0, &[49]), (2, &[112]), (4, &long(part.len())), (8, &offset), (16, &[handle; 16])];
            let request = body(&fields, 48, part);
            session = session.ask(9, tree, &request, &body(&[(0, &[17])], 16, &[]));
        }
        session
    }

    fn close(self, tree: u32, handle: u8) -> Self {
        let request = body(&[(0, &[24]), (8, &[handle; 16])], 24, &[]);
        self.ask(6, tree, &request, &body(&[(0, &[60])], 60, &[]))
    }

    /// A call of an operation and its answer, over a pipe (`FSCTL_PIPE_TRANSCEIVE`).
    fn call(self, tree: u32, handle: u8, fragment: &[u8], answer: &[u8]) -> Self {
        let code = 0x0011_c017u32.to_le_bytes();
        let asks: [(usize, &[u8]); 5] =
            [(0, &[57]), (4, &code), (8, &[handle; 16]), (24, &long(120)), (28, &long(fragment.len()))];
        let says: [(usize, &[u8]); 5] =
            [(0, &[49]), (4, &code), (8, &[handle; 16]), (32, &long(112)), (36, &long(answer.len()))];
        self.ask(11, tree, &body(&asks, 56, fragment), &body(&says, 48, answer))
    }
}

/// A fragment of DCE/RPC (C706 §12.6.3.1).
fn fragment(kind: u8, call: usize, rest: &[u8]) -> Vec<u8> {
    let mut f = vec![5, 0, kind, 3, 0x10, 0, 0, 0];
    f.extend(short(16 + rest.len()));
    f.extend([0, 0]);
    f.extend(long(call));
    f.extend(rest);
    f
}

/// The service control manager's interface, version 2 (MS-SCMR §1.9).
const SVCCTL: [u8; 20] =
    [0x81, 0xbb, 0x7a, 0x36, 0x44, 0x98, 0xf1, 0x35, 0xad, 0x32, 0x98, 0xf0, 0x38, 0, 0x10, 3, 2, 0, 0, 0];

fn begin(s: &mut Script, at: f64, from: &str, to: &str) -> (u64, End, End, f64) {
    (0, s.client(from), End::new(to, 445), at)
}

/// `from` writes a program to `to`'s `ADMIN$`, and has it made a service and started where `runs`; gives when it is done.
pub fn push(s: &mut Script, at: f64, (from, to): (&str, &str), program: &[u8], runs: bool) -> f64 {
    let (id, client, server, at) = begin(s, at, from, to);
    let mut x = Session { tcp: s.tcp(at, client, server).open(), id };
    x = x.ask(
        0,
        0,
        &body(&[(0, &[36]), (2, &[1])], 36, &[0x11, 3]),
        &body(&[(0, &[65]), (4, &[0x11, 3])], 64, &[]),
    );
    x = x.ask(1, 0, &body(&[(0, &[25]), (12, &[88])], 24, &[]), &body(&[(0, &[9])], 8, &[]));
    x = x
        .connect(5, &format!(r"\\{to}\ADMIN$"))
        .open(5, "setup-agent.exe", 1)
        .write(5, 1, program)
        .close(5, 1);
    if runs {
        let bind =
            [&[0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0][..], &SVCCTL, &[0; 20]].concat();
        let operation = |n: u8| [&[0, 0, 0, 0, 0, 0, n, 0][..], &[0; 80]].concat();
        x = x.connect(9, &format!(r"\\{to}\IPC$")).open(9, "svcctl", 2).write(9, 2, &fragment(11, 1, &bind));
        for (call, n) in [(2, 15), (3, 12), (4, 19)] {
            x = x.call(9, 2, &fragment(0, call, &operation(n)), &fragment(2, call, &[0; 36]));
        }
        x = x.close(9, 2);
    }
    x.tcp.close()
}

/// A program for Windows by its first bytes, and noise.
pub fn program(s: &mut Script, n: usize) -> Vec<u8> {
    [b"MZ", s.random(n).as_slice()].concat()
}

/// `from` says to `to` what no client of SMB1 says (MS-CIFS §2.2.6.15): a reserved function, of zeros.
pub fn reserved(s: &mut Script, at: f64, from: &str, to: &str) {
    let (_, client, server, at) = begin(s, at, from, to);
    let message = |answers: bool, command: u8, words: &[u8], bytes: &[u8]| {
        let flags = if answers { 0x98 } else { 0x18 };
        let mut m = [&b"\xffSMB"[..], &[command, 0, 0, 0, 0, flags, 1, 0x40], &[0; 18], &[65, 0]].concat();
        m.push((words.len() / 2) as u8);
        m.extend(words);
        m.extend(short(bytes.len()));
        m.extend(bytes);
        packet(&m)
    };
    let function = body(&[(26, &[1]), (28, &[0x0e])], 30, &[]);
    s.tcp(at, client, server)
        .open()
        .client(&message(false, 0x72, &[], b"\x02NT LM 0.12\0"))
        .server(&message(true, 0x72, &[0, 0], &[]))
        .client(&message(false, 0x32, &function, &[0; 12]))
        .server(&message(true, 0x32, &[], &[]))
        .close();
}

/// A console pushes its agent to twenty machines, each of which calls it by HTTP from then on: nobody's bot.
pub fn console() -> Script {
    let mut s = Script::new(START, 51);
    let agent = program(&mut s, 90_000);
    for i in 0..20 {
        let at = 60.0 + 40.0 * f64::from(i);
        let machine = format!("10.20.0.{}", 100 + i);
        let done = push(&mut s, at, (CONSOLE, &machine), &agent, true);
        dns(&mut s, done + 1.0, &machine, "console.corp.example", Answer::Address(CONSOLE));
        http_get(&mut s, done + 2.0, &machine, CONSOLE, "console.corp.example", "/agent/policy", 4_000);
    }
    s
}

/// Somebody copies an installer to the shares of a dozen machines, and a scanner of the house asks thirty for a function that nobody implements.
pub fn copies_and_checks() -> [Script; 2] {
    let mut copies = Script::new(START, 52);
    let installer = program(&mut copies, 70_000);
    for i in 0..12 {
        let machine = format!("10.20.0.{}", 100 + i);
        push(&mut copies, 60.0 + 30.0 * f64::from(i), (CONSOLE, &machine), &installer, false);
    }
    let mut checks = Script::new(START, 53);
    for i in 0..30 {
        reserved(&mut checks, 60.0 + 2.0 * f64::from(i), CONSOLE, &format!("10.20.0.{}", 100 + i));
    }
    [copies, checks]
}
