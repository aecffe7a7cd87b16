//! Whether both sides of a stream speak in messages that begin with their own length in four bytes, as protocols do that somebody made up for a program of his own.

use record::{Direction, PacketId, Start};

/// Bytes that may stand before the length: a mark, a version, a type (*assumed*).
const BEFORE: [u8; 5] = [0, 1, 2, 3, 4];
/// The longest message: random bytes state a shorter one once in four thousand times.
const LONGEST: u32 = 1 << 20;
/// What known protocols of this kind say behind the length: Steam's mark, and the length and version of Tencent's header.
const KNOWN: [&[u8]; 2] = [b"VT01", &[0, 16, 0, 1]];

/// A way to state a length.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    before: u8,
    big_endian: bool,
    /// Whether what stands before and the length itself are counted.
    whole: bool,
}

/// How a side fits a form so far.
struct Fit {
    form: Form,
    /// Where its next message begins.
    next: u64,
    field: [u8; 4],
    messages: u32,
    first: u32,
    varied: bool,
}

#[derive(Default)]
struct Side {
    at: u64,
    fits: Vec<Fit>,
}

/// What is known of a stream.
pub struct Framing {
    sides: [Side; 2],
    last: Direction,
    first: PacketId,
    head: [u8; 8],
}

/// What showed.
#[derive(Clone, Copy)]
pub struct Shown {
    pub start: Start,
    pub messages: [u32; 2],
    pub first: PacketId,
}

/// Who looks how the messages of a stream begin.
pub trait Beginning {
    /// Takes a piece; gives whether it can still be shown.
    fn take(&mut self, from: Direction, bytes: &[u8], packet: PacketId) -> bool;

    /// What shows so far.
    fn shown(&self) -> Option<Shown>;
}

/// Hands a piece to who looks on; it is gone when it has shown something, or when nothing can be shown any more.
pub fn look_on(
    watch: &mut Option<Box<impl Beginning>>,
    from: Direction,
    bytes: &[u8],
    packet: PacketId,
) -> Option<Shown> {
    let looking = watch.as_mut()?;
    let fits = looking.take(from, bytes, packet);
    let shown = looking.shown().filter(|_| fits);
    if !fits || shown.is_some() {
        *watch = None;
    }
    shown
}

impl Form {
    /// A message's whole length by the field, if it can be one.
    fn length(self, field: [u8; 4]) -> Option<u32> {
        let stated = if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) };
        let header = u32::from(self.before).saturating_add(4);
        let all = if self.whole { stated } else { stated.saturating_add(header) };
        (stated <= LONGEST && all > header).then_some(all)
    }
}

impl Fit {
    /// Takes the bytes from `at` on; gives whether they fit.
    fn take(&mut self, at: u64, bytes: &[u8]) -> bool {
        let end = at.saturating_add(bytes.len() as u64);
        loop {
            let begins = self.next.saturating_add(u64::from(self.form.before));
            for (i, slot) in self.field.iter_mut().enumerate() {
                let place =
                    begins.saturating_add(i as u64).checked_sub(at).and_then(|p| usize::try_from(p).ok());
                if let Some(byte) = place.and_then(|p| bytes.get(p)) {
                    *slot = *byte;
                }
            }
            if begins.saturating_add(4) > end {
                return true;
            }
            let Some(length) = self.form.length(self.field) else { return false };
            self.first = if self.messages == 0 { length } else { self.first };
            self.varied |= length != self.first;
            self.messages = self.messages.saturating_add(1);
            self.next = self.next.saturating_add(u64::from(length));
        }
    }
}

impl Side {
    fn take(&mut self, bytes: &[u8]) {
        if self.at == 0 {
            let ways =
                |before| [(false, false), (false, true), (true, false), (true, true)].map(|w| (before, w));
            let forms = BEFORE.into_iter().flat_map(ways);
            let fit = |(before, (big_endian, whole))| Fit {
                form: Form { before, big_endian, whole },
                next: 0,
                field: [0; 4],
                messages: 0,
                first: 0,
                varied: false,
            };
            self.fits = forms.map(fit).collect();
        }
        let at = self.at;
        self.fits.retain_mut(|fit| fit.take(at, bytes));
        self.at = at.saturating_add(bytes.len() as u64);
    }

    /// It has said what it had to say: whoever stopped within a message does not fit.
    fn pause(&mut self) {
        let at = self.at;
        self.fits.retain(|fit| fit.next == at);
    }
}

impl Framing {
    pub fn new(first: PacketId) -> Self {
        Self { sides: [Side::default(), Side::default()], last: Direction::Orig, first, head: [0; 8] }
    }

    /// About how many bytes hang on it.
    pub fn weight(&self) -> usize {
        let fits = self.sides.iter().map(|s| s.fits.capacity()).sum::<usize>();
        size_of::<Self>().saturating_add(fits.saturating_mul(size_of::<Fit>()))
    }
}

impl Beginning for Framing {
    fn take(&mut self, from: Direction, bytes: &[u8], _: PacketId) -> bool {
        let [orig, resp] = &mut self.sides;
        let (own, other) = if from == Direction::Orig { (orig, resp) } else { (resp, orig) };
        if self.last != from && other.at > 0 {
            other.pause();
        }
        if own.at < 8 && from == Direction::Orig {
            let room = self.head.iter_mut().skip(usize::try_from(own.at).unwrap_or(8));
            room.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        }
        own.take(bytes);
        self.last = from;
        let lives = |side: &Side| side.at == 0 || !side.fits.is_empty();
        self.sides.iter().all(lives) && !KNOWN.iter().any(|k| self.head.ends_with(k))
    }

    /// Whether it shows: both sides are between two messages, of one form and of several lengths.
    fn shown(&self) -> Option<Shown> {
        let [orig, resp] = &self.sides;
        orig.fits.iter().filter(|fit| fit.next == orig.at).find_map(|own| {
            let other = resp.fits.iter().find(|fit| fit.form == own.form && fit.next == resp.at)?;
            let messages = [own.messages, other.messages];
            let enough =
                messages.iter().all(|n| *n > 0) && messages.iter().sum::<u32>() >= record::Framing::LEAST;
            let several = own.varied || other.varied || own.first != other.first;
            let start = Start::Length { before: own.form.before };
            (enough && several).then_some(Shown { start, messages, first: self.first })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Orig, Resp};

    /// A message of so many bytes of content, behind a mark.
    fn message(mark: &[u8], length: [u8; 4], content: usize) -> Vec<u8> {
        [mark, &length, &vec![0xa5; content]].concat()
    }

    fn shown(pieces: &[(Direction, Vec<u8>)]) -> Option<[u32; 2]> {
        let mut framing = Framing::new(PacketId::default());
        for (from, bytes) in pieces {
            if !framing.take(*from, bytes, PacketId::default()) {
                return None;
            }
        }
        framing.shown().map(|s| s.messages)
    }

    #[test]
    fn messages_that_state_their_length() {
        for mark in [&b""[..], b"\x07", b"\0\xff", b"abcd"] {
            for whole in [false, true] {
                for big in [false, true] {
                    let one = |content: usize| {
                        let stated = content as u32 + if whole { mark.len() as u32 + 4 } else { 0 };
                        message(mark, if big { stated.to_be_bytes() } else { stated.to_le_bytes() }, content)
                    };
                    let talk = [
                        (Orig, one(75)),
                        (Resp, one(1)),
                        (Orig, one(134)),
                        (Resp, [one(9), one(900)].concat()),
                    ];
                    assert_eq!(shown(&talk), Some([2, 3]), "{mark:?} {whole} {big}");
                    // However it is cut on the way.
                    let bytes = talk.iter().flat_map(|(from, b)| b.iter().map(|b| (*from, vec![*b])));
                    assert_eq!(shown(&bytes.collect::<Vec<_>>()), Some([2, 3]));
                }
            }
        }
    }

    #[test]
    fn what_states_none_shows_none() {
        let le = |n: u32, content: usize| message(b"", n.to_le_bytes(), content);
        let random = |seed: u32| {
            (0..200u32).map(|i| (i.wrapping_mul(0x9e37_79b1 ^ seed) >> 13) as u8).collect::<Vec<u8>>()
        };
        assert_eq!(
            shown(&[(Orig, random(1)), (Resp, random(2)), (Orig, random(3)), (Resp, random(4))]),
            None
        );
        let few = [(Orig, le(75, 75)), (Resp, le(1, 1)), (Orig, le(9, 9))];
        assert_eq!(shown(&few), None, "three");
        let same = [(Orig, le(8, 8)), (Resp, le(8, 8)), (Orig, le(8, 8)), (Resp, le(8, 8))];
        assert_eq!(shown(&same), None, "of one length");
        let cut = [(Orig, le(75, 70)), (Resp, le(1, 1)), (Orig, le(9, 9)), (Resp, le(2, 2))];
        assert_eq!(shown(&cut), None, "it stopped within one");
        let one_side = [
            (Orig, le(75, 75)),
            (Resp, b"fine, go on then".to_vec()),
            (Orig, le(9, 9)),
            (Resp, b"ok".to_vec()),
        ];
        assert_eq!(shown(&one_side), None);
        let steam = |n: u32| [&n.to_le_bytes()[..], b"VT01", &vec![7; n as usize]].concat();
        assert_eq!(shown(&[(Orig, steam(20)), (Resp, steam(30)), (Orig, steam(5)), (Resp, steam(6))]), None);
        let tencent = |n: u32| [&(n + 8).to_be_bytes()[..], &[0, 16, 0, 1], &vec![7; n as usize]].concat();
        assert_eq!(
            shown(&[(Orig, tencent(20)), (Resp, tencent(30)), (Orig, tencent(5)), (Resp, tencent(6))]),
            None
        );
    }
}
