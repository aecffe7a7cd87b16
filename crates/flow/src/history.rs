//! What happened on a TCP connection, and the state that Zeek would name.

use record::{ConnState, Direction, History, Transport};

/// What one side of a connection has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done(pub u16);

impl Done {
    pub const SYN: u16 = 1;
    pub const SYN_ACK: u16 = 2;
    pub const ACK: u16 = 4;
    pub const DATA: u16 = 8;
    pub const FIN: u16 = 16;
    pub const RST: u16 = 32;
    pub const GAP: u16 = 64;
    pub const RETRANSMIT: u16 = 128;
    pub const BAD_CHECKSUM: u16 = 256;
    /// A FIN stood right behind all that was seen of it. Zeek has no letter for it.
    pub const ENDED: u16 = 512;

    pub const fn has(self, what: u16) -> bool {
        self.0 & what != 0
    }
}

/// Zeek's letter for each bit of [`Done`].
const LETTERS: &[u8] = b"shadfrgtc";

/// Notes that `side` did `what` (one bit), the first time with a letter.
#[inline]
pub fn note(history: &mut History, done: &mut Done, side: Direction, what: u16) {
    if done.has(what) {
        return;
    }
    done.0 |= what;
    if let Some(letter) = LETTERS.get(what.trailing_zeros() as usize) {
        history.push(if side == Direction::Orig { letter.to_ascii_uppercase() } else { *letter });
    }
}

/// Zeek's name for how a flow went.
pub fn state(transport: Transport, done: [Done; 2], packets: [u64; 2]) -> ConnState {
    let [o, r] = done;
    if transport != Transport::Tcp {
        return match packets {
            [_, 0] => ConnState::S0,
            [0, _] => ConnState::ShR,
            _ => ConnState::SF,
        };
    }
    let established = o.has(Done::SYN) && r.has(Done::SYN_ACK);
    match (o.has(Done::SYN), r.has(Done::SYN_ACK)) {
        (true, true) => {}
        (true, false) if r.has(Done::RST) => return ConnState::Rej,
        (true, false) if o.has(Done::RST) => return ConnState::RstOS0,
        (true, false) if o.has(Done::FIN) => return ConnState::Sh,
        // Who goes on was answered: the answers were not captured, which is no refusal.
        (true, false) if packets[1] == 0 && !o.has(Done::ACK | Done::DATA) => return ConnState::S0,
        (true, false) => return ConnState::Oth,
        (false, true) if r.has(Done::RST) => return ConnState::RstRH,
        (false, true) if r.has(Done::FIN) && packets[0] == 0 => return ConnState::ShR,
        _ => return ConnState::Oth,
    }
    debug_assert!(established);
    match (o.has(Done::RST), r.has(Done::RST), o.has(Done::FIN), r.has(Done::FIN)) {
        (_, _, true, true) => ConnState::SF,
        (true, ..) => ConnState::RstO,
        (_, true, ..) => ConnState::RstR,
        (_, _, true, false) => ConnState::S2,
        (_, _, false, true) => ConnState::S3,
        _ => ConnState::S1,
    }
}
