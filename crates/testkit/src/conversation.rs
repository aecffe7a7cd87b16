use crate::frame::{self, Segment};
use crate::script::{End, Script};

const FIN_ACK: u8 = 0x11;
const SYN: u8 = 0x02;
const RST_ACK: u8 = 0x14;
const PSH_ACK: u8 = 0x18;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
/// Half of the round trip, in seconds.
const HALF_TRIP: f64 = 0.02;
/// Payload bytes of a full segment.
const MSS: usize = 1460;

/// A TCP conversation. Each step takes its time; what is said is cut into segments and acknowledged.
pub struct Tcp<'a> {
    script: &'a mut Script,
    /// Where the story is, in seconds.
    pub now: f64,
    client: End,
    server: End,
    seq: u32,
    peer: u32,
}

impl<'a> Tcp<'a> {
    pub(crate) fn new(
        script: &'a mut Script,
        now: f64,
        client: End,
        server: End,
        (seq, peer): (u32, u32),
    ) -> Self {
        Self { script, now, client, server, seq, peer }
    }

    fn send(&mut self, from_client: bool, flags: u8, payload: &[u8]) {
        let (src, dst, seq, ack) = if from_client {
            (self.client, self.server, self.seq, self.peer)
        } else {
            (self.server, self.client, self.peer, self.seq)
        };
        let ack = if flags & 0x10 == 0 { 0 } else { ack };
        let ident = self.script.ident();
        let frame =
            frame::tcp((src.ip, src.port), (dst.ip, dst.port), ident, Segment { seq, ack, flags }, payload);
        self.script.put(self.now, frame);
        let moved = payload.len() as u32 + u32::from(flags & 0x03 != 0);
        if from_client {
            self.seq = self.seq.wrapping_add(moved);
        } else {
            self.peer = self.peer.wrapping_add(moved);
        }
    }

    /// The handshake.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.send(true, SYN, &[]);
        self.now += HALF_TRIP;
        self.send(false, SYN_ACK, &[]);
        self.now += HALF_TRIP;
        self.send(true, ACK, &[]);
        self
    }

    /// The server refuses.
    pub fn refused(mut self) -> f64 {
        self.send(true, SYN, &[]);
        self.now += HALF_TRIP;
        self.send(false, RST_ACK, &[]);
        self.now
    }

    /// Nobody answers: `syns` SYNs of one attempt, 3 and 6 seconds apart and so on.
    pub fn unanswered(mut self, syns: u32) -> f64 {
        let mut gap = 3.0;
        for _ in 0..syns {
            let seq = self.seq;
            self.send(true, SYN, &[]);
            self.seq = seq;
            self.now += gap;
            gap *= 2.0;
        }
        self.now
    }

    fn say(&mut self, from_client: bool, bytes: &[u8]) {
        self.now += HALF_TRIP;
        for (i, part) in bytes.chunks(MSS).enumerate() {
            self.send(from_client, PSH_ACK, part);
            self.now += 0.0005;
            if i % 2 == 1 {
                self.send(!from_client, ACK, &[]);
            }
        }
        self.now += HALF_TRIP;
        self.send(!from_client, ACK, &[]);
    }

    /// The client says something.
    #[must_use]
    pub fn client(mut self, bytes: &[u8]) -> Self {
        self.say(true, bytes);
        self
    }

    /// The server says something.
    #[must_use]
    pub fn server(mut self, bytes: &[u8]) -> Self {
        self.say(false, bytes);
        self
    }

    /// The client's next `n` bytes get lost before they are seen.
    #[must_use]
    pub fn hole(mut self, n: u32) -> Self {
        self.seq = self.seq.wrapping_add(n);
        self
    }

    /// The client says something that nobody acknowledges.
    #[must_use]
    pub fn unacknowledged(mut self, bytes: &[u8]) -> Self {
        self.now += HALF_TRIP;
        for part in bytes.chunks(MSS) {
            self.send(true, PSH_ACK, part);
        }
        self
    }

    /// Nothing is said for a while.
    #[must_use]
    pub fn wait(mut self, secs: f64) -> Self {
        self.now += secs;
        self
    }

    /// Both take their leave; gives the time when it is over.
    pub fn close(mut self) -> f64 {
        self.now += HALF_TRIP;
        self.send(true, FIN_ACK, &[]);
        self.now += HALF_TRIP;
        self.send(false, FIN_ACK, &[]);
        self.now += HALF_TRIP;
        self.send(true, ACK, &[]);
        self.now
    }
}
