//! HTTP/1 (RFC 9112): requests with their responses, and what their bodies look like.
//!
//! Heads are read by `httparse`; what it refuses is read leniently and named. Bodies are counted and, where they are files, hashed, never kept.

use std::collections::VecDeque;

use record::{
    Anomaly, BodyFacts, Direction, Endpoint, Head, Http, PacketId, Record, RelayKind, RequestHeaders,
    Service, Timestamp,
};

use crate::content::{Content, Told};
use crate::outbox::{ParseContext, text};
use crate::protocol::{Protocol, Step};
use crate::relay::{self, Destination, Relayed};
use crate::self_report;

/// A head longer than this is not read; Apache's and nginx's limits are 8–32 KiB.
const MAX_HEAD: usize = 32 << 10;
/// Headers read of a head.
const MAX_HEADERS: usize = 100;
/// Requests that wait for their response on one connection.
const MAX_WAITING: usize = 64;
/// Requests of one packet that are told although nobody answers them: clients that pipeline send fewer at once (*assumed*).
const CROWD: usize = 8;
/// Bytes kept of a line that says how long a chunk is: sixteen digits, and room for an extension.
const MAX_CHUNK_LINE: usize = 64;
/// Bytes kept of what a client sends before its CONNECT is granted.
const MAX_HELD: usize = 16 << 10;
/// What the texts of a request take on average (*assumed*; the limits of path and values bound the worst).
const WAITING_TEXT: usize = 512;
const MAX_PATH: usize = 1024;
const MAX_VALUE: usize = 512;

const METHODS: [&[u8]; 13] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PROPFIND ",
    b"REPORT ",
    b"SUBSCRIBE ",
    b"RPC_IN_DATA ",
];

/// Whether bytes begin an HTTP/1 request: a method, a target, and if the line is there, its version. A method that is not known needs the
/// whole line.
pub fn is_request(b: &[u8]) -> bool {
    let line = b.split(|c| *c == b'\n').next().unwrap_or_default();
    let whole = line.len() < b.len();
    let mut words = line.trim_ascii_end().split(|c| *c == b' ');
    let (method, target, version) = (words.next().unwrap_or_default(), words.next(), words.next());
    if METHODS.iter().any(|m| b.starts_with(m)) {
        return !whole || version.is_none() || line.windows(6).any(|w| w == b"HTTP/1");
    }
    whole && is_method(method) && target.is_some() && version.is_some_and(|v| v.starts_with(b"HTTP/1."))
}

/// A token that can be a method (RFC 9110 §5.6.2): those in use are upper case with hyphens and underscores.
fn is_method(word: &[u8]) -> bool {
    (3..=24).contains(&word.len())
        && word.iter().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'))
        && word.first().is_some_and(u8::is_ascii_uppercase)
}

/// Whether the first line of a head is a request's: a method, something that can be a target, and a version or, before there were any,
/// none.
fn is_request_line(head: &MessageHead) -> bool {
    let [method, target, version] = &head.start;
    let target_fits = target.starts_with(['/', '*'])
        || target.contains("://")
        || (method == "CONNECT" && target.contains(':'))
        || METHODS.iter().any(|m| m.trim_ascii_end() == method.as_bytes());
    is_method(method.to_ascii_uppercase().as_bytes())
        && target_fits
        && (version.is_empty() || version.starts_with("HTTP/"))
}

/// The parts of an absolute target `http://host:port/path`: host, port, path.
fn absolute(target: &str) -> Option<(&str, u16, &str)> {
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://"))?;
    let rest = target.get(scheme.len()..)?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(at)?;
    let (host, port) = authority_parts(authority.rsplit('@').next()?, 80)?;
    Some((host, port, if path.is_empty() { "/" } else { path }))
}

/// Host and port of `host:port`, of `[v6]:port`, or of a host alone.
fn authority_parts(authority: &str, default: u16) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((host, port.parse().ok()?)),
        _ => (!authority.is_empty()).then_some((authority, default)),
    }
}

/// Whether bytes begin an HTTP/1 response.
pub fn is_response(b: &[u8]) -> bool {
    b.starts_with(b"HTTP/1.") || b.starts_with(b"ICY 200")
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// The headers that matter.
#[derive(Debug, Default)]
struct MessageHead {
    start: [String; 3],
    host: Option<String>,
    user_agent: Option<String>,
    referer: Option<String>,
    cookie: bool,
    headers: RequestHeaders,
    content_type: Option<String>,
    encoded: bool,
    location: Option<String>,
    /// What the server says that the file is called.
    file_name: Option<String>,
    /// A range of a file is put.
    part: bool,
    length: Option<u64>,
    /// Two lengths that differ: where the body ends, nobody can say.
    lengths_differ: bool,
    chunked: bool,
}

/// The name of a file in a `Content-Disposition` (RFC 6266): the plain one.
fn file_name(disposition: &str) -> Option<String> {
    let named = disposition.split(';').find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("filename").then_some(value)
    })?;
    Some(named.trim().trim_matches('"').to_owned())
}

fn value(bytes: &[u8]) -> String {
    text(bytes.trim_ascii(), MAX_VALUE)
}

impl MessageHead {
    /// Whether no page says that it led to this request.
    const fn is_unled(&self) -> bool {
        self.referer.is_none() && !self.headers.has(RequestHeaders::ORIGIN)
    }

    fn header(&mut self, name: &[u8], bytes: &[u8]) {
        self.headers.count = self.headers.count.saturating_add(1);
        let mut lower = [0; 24];
        let kept = name.len().min(lower.len());
        let (Some(lower), Some(name)) = (lower.get_mut(..kept), name.get(..kept)) else { return };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let lower: &[u8] = lower;
        if !self.headers.note(lower) {
            self.value_of(lower, bytes);
        }
    }

    /// A header whose value matters.
    fn value_of(&mut self, name: &[u8], bytes: &[u8]) {
        if name == b"host" {
            let host = value(bytes).to_ascii_lowercase();
            let bare = match host.rsplit_once(':') {
                Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
                    name.to_owned()
                }
                _ => host,
            };
            // A root's dot changes no name.
            self.host = Some(bare.trim_end_matches('.').to_owned());
        } else if name == b"user-agent" {
            self.user_agent = Some(value(bytes));
        } else if name == b"referer" {
            self.referer = Some(value(bytes));
        } else if name == b"cookie" {
            self.cookie = true;
        } else if name == b"content-type" {
            let full = value(bytes).to_ascii_lowercase();
            self.content_type = Some(full.split(';').next().unwrap_or_default().trim().to_owned());
        } else if name == b"content-encoding" {
            self.encoded |= !bytes.trim_ascii().eq_ignore_ascii_case(b"identity");
        } else if name == b"content-disposition" {
            self.file_name = file_name(&value(bytes));
        } else if name == b"content-range" {
            self.part = true;
        } else if name == b"location" {
            self.location = Some(value(bytes));
        } else if name == b"content-length" {
            // Said twice, or as a list, it must be the same each time (RFC 9112 §6.3).
            for said in value(bytes).split(',') {
                let said = said.trim().parse().ok();
                self.lengths_differ |= said.is_none() || self.length.is_some_and(|n| Some(n) != said);
                self.length = said;
            }
        } else if name == b"transfer-encoding" {
            let said = value(bytes).to_ascii_lowercase();
            self.chunked = said.contains("chunked");
            self.encoded |= said.contains("gzip") || said.contains("deflate") || said.contains("compress");
        }
    }

    /// Reads a whole head, strictly first; the flag says that only the lenient reading took it.
    fn parse(bytes: &[u8], request: bool) -> Option<(Self, bool)> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = Self::default();
        if request {
            let mut parsed = httparse::Request::new(&mut headers);
            if let Ok(httparse::Status::Complete(_)) = parsed.parse(bytes) {
                let path = text(parsed.path.unwrap_or_default().as_bytes(), MAX_PATH);
                head.start = [parsed.method.unwrap_or_default().to_owned(), path, "HTTP/1".to_owned()];
                if parsed.version == Some(0) {
                    head.headers.add(RequestHeaders::HTTP_1_0);
                }
                for h in parsed.headers {
                    head.header(h.name.as_bytes(), h.value);
                }
                return Some((head, false));
            }
        } else {
            let mut parsed = httparse::Response::new(&mut headers);
            if let Ok(httparse::Status::Complete(_)) = parsed.parse(bytes) {
                head.start = [String::new(), parsed.code.unwrap_or(0).to_string(), String::new()];
                for h in parsed.headers {
                    head.header(h.name.as_bytes(), h.value);
                }
                return Some((head, false));
            }
        }
        Self::lenient(bytes).map(|head| (head, true))
    }

    /// Reads a whole head and names what is wrong with it.
    fn read(bytes: &[u8], request: bool, context: &mut ParseContext<'_>) -> Option<Self> {
        let parsed = Self::parse(bytes, request);
        if !matches!(parsed, Some((_, false))) {
            context.out.strange(Anomaly::HttpMalformed);
        }
        parsed.map(|(head, _)| head)
    }

    /// Three words, then lines with a colon.
    fn lenient(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
        let first = lines.next()?;
        let mut words = first.splitn(3, |b| *b == b' ');
        let mut head = Self::default();
        for slot in &mut head.start {
            *slot = text(words.next().unwrap_or_default(), MAX_PATH);
        }
        if head.start.iter().take(2).any(String::is_empty) {
            return None;
        }
        for line in lines.take(MAX_HEADERS) {
            if let Some(colon) = line.iter().position(|b| *b == b':') {
                let (name, rest) = line.split_at_checked(colon)?;
                head.header(name, rest.get(1..).unwrap_or_default());
            }
        }
        Some(head)
    }
}

/// A body on its way.
#[derive(Debug)]
struct Body {
    framing: Framing,
    left: u64,
    /// Bytes of a chunk-size line or of a trailer's.
    line: Vec<u8>,
    /// The last chunk has come: what follows is the trailer, up to an empty line.
    trailer: bool,
    content: Content,
    declared: Option<String>,
    file_name: Option<String>,
    encoded: bool,
    /// A part of the file was asked for, and came.
    part: bool,
    /// Where its next chunk begins is not known.
    astray: bool,
}

impl Body {
    fn new(framing: Framing, head: &MessageHead, context: &ParseContext<'_>) -> Self {
        Self {
            framing,
            left: if let Framing::Length(n) = framing { n } else { 0 },
            line: Vec::new(),
            trailer: false,
            content: Content::new(!context.out.unhashed && !head.encoded),
            declared: head.content_type.clone(),
            file_name: head.file_name.clone(),
            encoded: head.encoded,
            // 206 Partial Content (a request has no status), a range that is put, and several in one.
            part: head.part
                || head.lengths_differ
                || head.start.get(1).is_some_and(|code| code == "206")
                || head.content_type.as_ref().is_some_and(|t| t.starts_with("multipart/")),
            astray: false,
        }
    }

    /// Whether a head at the beginning of a segment ends it: its chunks cannot be told apart any more, or a chunk's length is due, which no head is.
    fn gives_way(&self) -> bool {
        self.astray || (self.framing == Framing::Chunked && self.left == 0)
    }

    /// What of `bytes` is its own, where its length was said.
    fn share_of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let most = if let Framing::Length(_) = self.framing { self.left } else { u64::MAX };
        usize::try_from(most).ok().and_then(|most| bytes.get(..most)).unwrap_or(bytes)
    }

    /// Takes its share of `bytes`; gives what is left over and whether the body is complete.
    fn take<'a>(&mut self, mut bytes: &'a [u8], at: (Timestamp, PacketId)) -> (&'a [u8], bool) {
        match self.framing {
            Framing::None => return (bytes, true),
            Framing::UntilClose => {
                self.content.take(bytes, at);
                return (&[], false);
            }
            Framing::Length(_) => {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (mine, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
                self.content.take(mine, at);
                self.left = self.left.saturating_sub(n as u64);
                return (rest, self.left == 0);
            }
            Framing::Chunked => {}
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (mine, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
                self.content.take(mine, at);
                self.left = self.left.saturating_sub(n as u64);
                bytes = rest;
                continue;
            }
            let end = bytes.iter().position(|b| *b == b'\n');
            let (piece, rest) = bytes
                .split_at_checked(end.map_or(bytes.len(), |e| e.saturating_add(1)))
                .unwrap_or((bytes, &[]));
            // An endless line is kept no further than a length is long.
            let room = MAX_CHUNK_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            bytes = rest;
            if end.is_none() {
                break;
            }
            let line = std::mem::take(&mut self.line);
            let line = line.trim_ascii();
            if self.trailer {
                if line.is_empty() {
                    return (bytes, true);
                }
                continue;
            }
            if line.is_empty() {
                continue;
            }
            let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            match std::str::from_utf8(digits).ok().and_then(|d| u64::from_str_radix(d, 16).ok()) {
                Some(0) => self.trailer = true,
                Some(n) => self.left = n,
                None => {
                    // Where a chunk begins is not known: some of the bytes are none of its own.
                    self.content.gap(0);
                    (self.framing, self.astray) = (Framing::UntilClose, true);
                    self.content.take(bytes, at);
                    return (&[], false);
                }
            }
        }
        (bytes, false)
    }

    /// Bytes are missing; `true` when they end the body.
    fn gap(&mut self, n: u64) -> Option<bool> {
        match self.framing {
            Framing::None => None,
            Framing::UntilClose => {
                self.content.gap(n);
                Some(false)
            }
            Framing::Length(_) | Framing::Chunked if n <= self.left => {
                self.content.gap(n);
                self.left = self.left.saturating_sub(n);
                Some(self.left == 0 && self.framing != Framing::Chunked)
            }
            _ => None,
        }
    }

    fn facts(&self) -> BodyFacts {
        BodyFacts {
            len: self.content.len(),
            declared: self.declared.clone(),
            encoded: self.encoded,
            magic: self.content.magic(),
            facts: self.content.facts(),
        }
    }

    /// Whether nothing more is due; `ended` says that its side of the connection is done.
    const fn is_complete(&self, ended: bool) -> bool {
        match self.framing {
            Framing::None => true,
            Framing::UntilClose => ended,
            Framing::Length(_) => self.left == 0,
            Framing::Chunked => self.trailer,
        }
    }

    /// Tells of the file that it is, if it is one: of this request's.
    fn tell(&mut self, from: Direction, of: Option<&Waiting>, context: &mut ParseContext<'_>) {
        let path =
            of.map(|w| w.head.start.get(1).map_or("", String::as_str)).filter(|_| from == Direction::Resp);
        let path = path.and_then(|p| p.split(['?', '#']).next()).and_then(|p| p.rsplit('/').next());
        let [orig, resp] = context.flow.ended;
        let told = Told {
            from,
            carrier: Service::Http,
            name: self.file_name.as_deref().or(path),
            declared: self.declared.as_deref(),
            encoded: self.encoded,
            whole: self.is_complete(if from == Direction::Orig { orig } else { resp }) && !self.part,
            // Who refuses a CONNECT speaks for himself.
            remote: of
                .filter(|w| w.head.start.first().is_none_or(|m| m != "CONNECT"))
                .and_then(|w| w.destination.as_ref())
                .map(|d| d.end),
        };
        self.content.tell(&told, context);
    }
}

#[derive(Debug)]
enum Side {
    MessageHead(Vec<u8>),
    Body(Body),
    /// A CONNECT waits for its answer: what comes is for the destination, if it is granted.
    Held {
        kept: Vec<u8>,
        lost: u64,
    },
    /// Out of step after a gap; waits for something that begins a message.
    Lost,
}

impl Default for Side {
    fn default() -> Self {
        Self::MessageHead(Vec::new())
    }
}

/// A request that waits for its response.
struct Waiting {
    head: MessageHead,
    ts: Timestamp,
    packets: Vec<PacketId>,
    depth: u32,
    request: Option<BodyFacts>,
    /// Whom a proxy was asked to talk with.
    destination: Option<Destination>,
}

impl Waiting {
    /// Whether it was asked without a version, as before there were any.
    fn is_before_versions(&self) -> bool {
        self.head.start.last().is_some_and(String::is_empty)
    }
}

/// An HTTP/1 connection.
#[derive(Default)]
pub struct HttpSession {
    client: Side,
    server: Side,
    waiting: VecDeque<Waiting>,
    /// The response whose body is on its way.
    answer: Option<(u16, Option<String>, PacketId)>,
    depth: u32,
    over: bool,
    /// The first destination that a proxy was asked for, and not yet told.
    first_remote: Option<Destination>,
    /// The destination that was told last.
    told: Option<Destination>,
    /// A CONNECT was granted: with whom the flow goes on.
    granted: Option<Relayed>,
    /// Whether its client told of its machine, as its name, and in a body.
    told_of_itself: [bool; 2],
}

impl Protocol for HttpSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        match from {
            Direction::Orig => self.client(bytes, context),
            Direction::Resp => self.server(bytes, context),
        }
        match self.granted.take() {
            Some(relayed) => Step::Relayed(relayed),
            None => Step::more(!self.over),
        }
    }

    fn gap(&mut self, from: Direction, n: u64, context: &mut ParseContext<'_>) -> Step {
        match from {
            Direction::Orig => {
                if let Side::Body(body) = &mut self.client {
                    match body.gap(n) {
                        Some(false) => {}
                        done => {
                            let facts = body.facts();
                            body.tell(Direction::Orig, self.waiting.back(), context);
                            if let Some(last) = self.waiting.back_mut() {
                                last.request = Some(facts);
                            }
                            self.client = if done.is_some() { Side::default() } else { Side::Lost };
                        }
                    }
                } else {
                    self.client = Side::Lost;
                }
            }
            Direction::Resp => {
                if let Side::Body(body) = &mut self.server {
                    match body.gap(n) {
                        Some(false) => {}
                        done => {
                            let facts = body.facts();
                            body.tell(Direction::Resp, self.waiting.front(), context);
                            self.server = if done.is_some() { Side::default() } else { Side::Lost };
                            self.answered(facts, context);
                        }
                    }
                } else {
                    self.server = Side::Lost;
                }
            }
        }
        Step::More
    }

    /// A body that goes on until then is complete.
    fn end(&mut self, context: &mut ParseContext<'_>) {
        if let Side::Body(body) = &mut self.client {
            body.tell(Direction::Orig, self.waiting.back(), context);
            if let Some(last) = self.waiting.back_mut() {
                last.request = Some(body.facts());
            }
        }
        if let Side::Body(body) = &mut self.server {
            let facts = body.facts();
            body.tell(Direction::Resp, self.waiting.front(), context);
            self.server = Side::Lost;
            self.answered(facts, context);
        }
        while !self.waiting.is_empty() {
            self.give_up_first(context);
        }
    }

    /// Unfinished heads, and requests that wait.
    fn weight(&self) -> usize {
        let of = |side: &Side| match side {
            Side::MessageHead(kept) | Side::Held { kept, .. } => kept.capacity(),
            Side::Body(body) => {
                let texts = [&body.declared, &body.file_name].into_iter().flatten().map(String::capacity);
                texts.fold(body.content.weight(), usize::saturating_add).saturating_add(body.line.capacity())
            }
            Side::Lost => 0,
        };
        let waiting = self.waiting.len().saturating_mul(size_of::<Waiting>().saturating_add(WAITING_TEXT));
        of(&self.client).saturating_add(of(&self.server)).saturating_add(waiting)
    }

    /// The first that a proxy was asked for.
    fn take_remote(&mut self) -> Option<Endpoint> {
        self.first_remote.take().map(|d| d.end)
    }
}

/// Tells what a request says of its machine, if it does; gives whether it does.
fn tells_of_itself(said: &[u8], context: &mut ParseContext<'_>) -> bool {
    self_report::of_request(context.flow, said, (context.ts, context.at), context.packet, context.out)
}

impl HttpSession {
    fn client(&mut self, mut bytes: &[u8], context: &mut ParseContext<'_>) {
        while !bytes.is_empty() && !self.over {
            match &mut self.client {
                Side::Lost if is_request(bytes) => self.client = Side::default(),
                Side::Lost => return,
                Side::Held { kept, lost } => {
                    let room = if *lost > 0 { 0 } else { MAX_HELD.saturating_sub(kept.len()) };
                    let held = bytes.get(..room).unwrap_or(bytes);
                    kept.extend_from_slice(held);
                    *lost = lost.saturating_add(bytes.len().saturating_sub(held.len()) as u64);
                    return;
                }
                Side::Body(body) => {
                    let unled = self.waiting.back().is_some_and(|w| w.head.is_unled());
                    let [_, told] = &mut self.told_of_itself;
                    if unled && !*told && body.content.len() == 0 {
                        *told = tells_of_itself(body.share_of(bytes), context);
                    }
                    let (rest, done) = body.take(bytes, (context.ts, context.packet));
                    bytes = rest;
                    if done {
                        let facts = body.facts();
                        body.tell(Direction::Orig, self.waiting.back(), context);
                        if let Some(last) = self.waiting.back_mut() {
                            last.request = Some(facts);
                            push_packet(&mut last.packets, context.packet);
                        }
                        self.client = Side::default();
                    }
                }
                Side::MessageHead(kept) => {
                    let Some((head, rest)) = take_head(kept, bytes, true, context) else { return };
                    bytes = rest;
                    if head.is_empty() {
                        continue;
                    }
                    let Some(mut head) = MessageHead::read(&head, true, context).filter(is_request_line)
                    else {
                        // What is no request is nobody's evidence.
                        self.client = Side::Lost;
                        continue;
                    };
                    let [told, _] = &mut self.told_of_itself;
                    if let Some(agent) = head.user_agent.as_deref().filter(|_| !*told && head.is_unled()) {
                        *told = tells_of_itself(agent.as_bytes(), context);
                    }
                    let destination = self.destination(&mut head, context);
                    let framing = match (head.chunked, head.length) {
                        (true, _) => Framing::Chunked,
                        (false, _) if head.lengths_differ => Framing::UntilClose,
                        (false, Some(n)) if n > 0 => Framing::Length(n),
                        _ => Framing::None,
                    };
                    let connects =
                        destination.is_some() && head.start.first().is_some_and(|m| m == "CONNECT");
                    let body = Body::new(framing, &head, context);
                    if self.waiting.len() >= MAX_WAITING {
                        self.give_up_first(context);
                    }
                    self.waiting.push_back(Waiting {
                        ts: context.ts,
                        packets: vec![context.packet],
                        depth: self.depth,
                        request: (framing == Framing::None).then(BodyFacts::default),
                        head,
                        destination,
                    });
                    self.depth = self.depth.saturating_add(1);
                    if connects {
                        self.client = Side::Held { kept: Vec::new(), lost: 0 };
                    } else if framing != Framing::None {
                        self.client = Side::Body(body);
                    }
                }
            }
        }
    }

    /// Whom a proxy is asked to talk with, if it is a proxy that is asked; a whole URL becomes host and path.
    fn destination(&mut self, head: &mut MessageHead, context: &mut ParseContext<'_>) -> Option<Destination> {
        let [method, target, _] = &mut head.start;
        if method == "CONNECT" {
            let (host, port) = authority_parts(target, 443)?;
            return Some(Destination::of(host, port));
        }
        let (host, port, path) = absolute(target)?;
        let destination = Destination::of(host, port);
        let (host, path) = (host.to_ascii_lowercase(), path.to_owned());
        *target = path;
        head.host = Some(host);
        // A server that is asked with its own whole URL is no proxy.
        let resp = context.flow.tuple.resp;
        let own = destination.end.ip == resp.ip
            || (destination.end.port == resp.port && !is_private(resp.ip))
            || destination.is_of_the_house();
        if own {
            return None;
        }
        // Of a connection to one destination one record says so; and a packet full of requests may not cost as many records as it has lines.
        let crowd = self.waiting.get(CROWD).is_some_and(|w| w.packets.first() == Some(&context.packet));
        if self.told.as_ref() != Some(&destination) && !crowd {
            relay::tell(RelayKind::Http, &destination, context);
            if self.told.is_none() {
                self.first_remote = Some(destination.clone());
            }
            self.told = Some(destination.clone());
        }
        Some(destination)
    }

    fn server(&mut self, mut bytes: &[u8], context: &mut ParseContext<'_>) {
        while !bytes.is_empty() && !self.over && self.granted.is_none() {
            match &mut self.server {
                Side::Lost if is_response(bytes) => {
                    // Who asks again has had the answers before, which were lost.
                    while self.waiting.len() > 1 {
                        self.give_up_first(context);
                    }
                    self.server = Side::default();
                }
                Side::Lost | Side::Held { .. } => return,
                Side::MessageHead(kept)
                    if kept.is_empty()
                        && self.waiting.front().is_some_and(Waiting::is_before_versions)
                        && !is_response(bytes) =>
                {
                    // HTTP/0.9 has no heads: what comes is the page.
                    self.answer = Some((0, None, context.packet));
                    self.server =
                        Side::Body(Body::new(Framing::UntilClose, &MessageHead::default(), context));
                }
                Side::Body(body) => {
                    let answers_the_next = self.waiting.len() > 1 && body.gives_way() && is_response(bytes);
                    let (rest, done) = if answers_the_next {
                        context.out.strange(Anomaly::HttpMalformed);
                        (bytes, true)
                    } else {
                        body.take(bytes, (context.ts, context.packet))
                    };
                    bytes = rest;
                    if done {
                        let facts = body.facts();
                        body.tell(Direction::Resp, self.waiting.front(), context);
                        self.server = Side::default();
                        self.answered(facts, context);
                    }
                }
                Side::MessageHead(kept) => {
                    let Some((head, rest)) = take_head(kept, bytes, false, context) else { return };
                    bytes = rest;
                    if head.is_empty() {
                        continue;
                    }
                    let Some(head) = MessageHead::read(&head, false, context) else {
                        self.server = Side::Lost;
                        continue;
                    };
                    self.response_head(&head, context);
                    if let Some(relayed) = &mut self.granted {
                        let [_, server] = &mut relayed.rest;
                        server.extend_from_slice(bytes);
                    }
                }
            }
        }
    }

    fn response_head(&mut self, head: &MessageHead, context: &mut ParseContext<'_>) {
        let [_, code, _] = &head.start;
        let status: u16 = code.parse().unwrap_or(0);
        // 100 Continue and its like announce another head.
        if (100..200).contains(&status) && status != 101 {
            return;
        }
        let method = self
            .waiting
            .front()
            .map(|w| w.head.start.first().cloned().unwrap_or_default())
            .unwrap_or_default();
        let connected = self.waiting.front().and_then(|w| w.destination.clone());
        let framing =
            if method == "HEAD" || matches!(status, 101 | 204 | 304) || (method == "CONNECT" && status < 300)
            {
                Framing::None
            } else if head.chunked {
                Framing::Chunked
            } else if head.lengths_differ {
                Framing::UntilClose
            } else {
                match head.length {
                    Some(0) => Framing::None,
                    Some(n) => Framing::Length(n),
                    None => Framing::UntilClose,
                }
            };
        self.answer = Some((status, head.location.clone(), context.packet));
        if framing == Framing::None {
            let facts = BodyFacts { declared: head.content_type.clone(), ..BodyFacts::default() };
            self.answered(facts, context);
        } else {
            self.server = Side::Body(Body::new(framing, head, context));
        }
        if method == "CONNECT" {
            let (held, lost) = match std::mem::take(&mut self.client) {
                Side::Held { kept, lost } => (kept, lost),
                other => {
                    self.client = other;
                    (Vec::new(), 0)
                }
            };
            if (200..300).contains(&status) {
                if let Some(destination) = connected {
                    relay::tell(RelayKind::Connect, &destination, context);
                    let to = (!destination.is_of_the_house()).then_some(destination.end);
                    self.granted = Some(Relayed { to, rest: [held, Vec::new()], lost });
                } else {
                    self.over = true;
                }
                self.end(context);
            } else {
                self.client(&held, context);
            }
        } else if status == 101 {
            self.over = true;
            self.end(context);
        }
    }

    /// A response is complete: tells of it and its request.
    fn answered(&mut self, response: BodyFacts, context: &mut ParseContext<'_>) {
        let answer = self.answer.take();
        let Some(request) = self.waiting.pop_front() else { return };
        push(request, answer, response, context);
    }

    fn give_up_first(&mut self, context: &mut ParseContext<'_>) {
        let Some(request) = self.waiting.pop_front() else { return };
        // A packet full of requests that nobody answers says one thing, and may not cost as many records as it has lines.
        let crowd = self.waiting.get(CROWD).is_some_and(|w| w.packets.first() == request.packets.first());
        if crowd {
            context.out.strange(Anomaly::HttpCrowded);
        } else {
            push(request, None, BodyFacts::default(), context);
        }
    }
}

fn push_packet(packets: &mut Vec<PacketId>, packet: PacketId) {
    if packets.last() != Some(&packet) && packets.len() < 8 {
        packets.push(packet);
    }
}

fn push(
    mut request: Waiting,
    answer: Option<(u16, Option<String>, PacketId)>,
    response: BodyFacts,
    context: &mut ParseContext<'_>,
) {
    if let Some((_, _, packet)) = &answer {
        push_packet(&mut request.packets, *packet);
        push_packet(&mut request.packets, context.packet);
    }
    let [method, path, _] = request.head.start;
    let (status, location) = answer.map(|(s, l, _)| (Some(s).filter(|s| *s > 0), l)).unwrap_or_default();
    let mut tuple = context.flow.tuple;
    // A proxy that is asked for a page stands for whom it asks; a CONNECT is about the proxy.
    if let Some(destination) = &request.destination
        && method != "CONNECT"
    {
        tuple.resp = destination.end;
    }
    context.out.records.push(Record::Http(Box::new(Http {
        head: Head { tuple, ..context.flow.head(request.ts, context.at) },
        depth: request.depth,
        method: method.to_ascii_uppercase(),
        host: request.head.host,
        path,
        status,
        user_agent: request.head.user_agent,
        referer: request.head.referer,
        cookie: request.head.cookie,
        headers: request.head.headers,
        location,
        request: request.request.unwrap_or_default(),
        response,
        packets: request.packets,
    })));
}

/// Collects a head up to its empty line; gives it with the bytes behind it. Empty lines before a head are eaten.
fn take_head<'a>(
    kept: &mut Vec<u8>,
    bytes: &'a [u8],
    request: bool,
    context: &mut ParseContext<'_>,
) -> Option<(Vec<u8>, &'a [u8])> {
    if kept.is_empty() {
        let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if blank > 0 {
            return Some((Vec::new(), bytes.get(blank..).unwrap_or_default()));
        }
    }
    let before = kept.len();
    let room = MAX_HEAD.saturating_sub(before);
    kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    // The empty line may straddle the seam.
    let from = before.saturating_sub(3);
    let end = head_end(kept.get(from..).unwrap_or_default()).map(|e| e.saturating_add(from));
    let end = end.or_else(|| simple_request(kept).filter(|_| request));
    if let Some(end) = end {
        let mut head = std::mem::take(kept);
        head.truncate(end);
        return Some((head, bytes.get(end.saturating_sub(before)..).unwrap_or_default()));
    }
    if kept.len() >= MAX_HEAD {
        context.out.strange(Anomaly::HttpMalformed);
        let mut head = std::mem::take(kept);
        head.extend(b"\r\n\r\n");
        return Some((head, &[]));
    }
    None
}

/// Where a request without a version ends (HTTP/0.9): with its line, which is all there is.
fn simple_request(b: &[u8]) -> Option<usize> {
    let line = b.iter().position(|c| *c == b'\n').filter(|at| at.saturating_add(1) == b.len())?;
    let words = b.get(..line)?.trim_ascii_end().split(|c| *c == b' ').count();
    (b.starts_with(b"GET ") && words == 2).then_some(b.len())
}

/// Whether an address is of a private range, as a house's own proxy has.
fn is_private(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_loopback(),
        std::net::IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    }
}

/// Where an empty line ends.
fn head_end(b: &[u8]) -> Option<usize> {
    let mut after_newline = false;
    for (at, &c) in b.iter().enumerate() {
        match c {
            b'\n' if after_newline => return Some(at.saturating_add(1)),
            b'\n' => after_newline = true,
            b'\r' => {}
            _ => after_newline = false,
        }
    }
    None
}
