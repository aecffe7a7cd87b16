use std::net::IpAddr;

use capture::{LINKTYPE_ETHERNET, PcapngWriter};
use oorandom::Rand32;
use record::Timestamp;

use crate::conversation::Tcp;
use crate::frame;
use crate::wrappings::Wrapping;

/// An address and a port of a test host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl End {
    /// Reads `10.0.0.1` and a port.
    ///
    /// # Panics
    /// The address is none: scripts are written by hand.
    pub fn new(ip: &str, port: u16) -> Self {
        Self { ip: ip.parse().unwrap_or_else(|_| panic!("{ip:?} is no address")), port }
    }
}

/// Frames in the making. Times are seconds since the script's start.
pub struct Script {
    start: Timestamp,
    frames: Vec<(Timestamp, u32, Vec<u8>)>,
    rng: Rand32,
    ident: u16,
    port: u16,
    /// Lengths on the wire of frames that are kept in part.
    lengths: std::collections::BTreeMap<(Timestamp, u32), u32>,
}

impl Script {
    /// Begins at a moment (seconds since the epoch) with a seed; the same script makes the same capture.
    pub fn new(start_secs: i64, seed: u64) -> Self {
        Self {
            start: Timestamp::from_secs(start_secs),
            frames: Vec::new(),
            rng: Rand32::new(seed),
            ident: 1,
            port: 49_152,
            lengths: std::collections::BTreeMap::new(),
        }
    }

    /// `n` random bytes.
    pub fn random(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.rng.rand_u32() as u8).collect()
    }

    /// A number from `low` up to but not including `high`.
    pub fn range(&mut self, low: u32, high: u32) -> u32 {
        self.rng.rand_range(low..high)
    }

    /// A number between 0 and 1.
    pub fn share(&mut self) -> f64 {
        f64::from(self.rng.rand_float())
    }

    /// The next port of a client.
    pub fn client_port(&mut self) -> u16 {
        self.port = if self.port >= 65_000 { 49_152 } else { self.port + 1 };
        self.port
    }

    /// A client's end with a fresh port.
    pub fn client(&mut self, ip: &str) -> End {
        End::new(ip, self.client_port())
    }

    pub(crate) fn put(&mut self, at: f64, frame: Vec<u8>) {
        let ts = Timestamp(self.start.0 + (at * 1e9) as i64);
        let order = self.frames.len() as u32;
        self.frames.push((ts, order, frame));
    }

    pub(crate) fn ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1);
        self.ident
    }

    /// A UDP datagram.
    pub fn udp(&mut self, at: f64, from: End, to: End, payload: &[u8]) {
        let ident = self.ident();
        let frame = frame::udp((from.ip, from.port), (to.ip, to.port), ident, payload);
        self.put(at, frame);
    }

    /// The first fragments of a datagram, each with this payload (a multiple of eight bytes), whose last never comes.
    pub fn unfinished(&mut self, at: f64, from: &str, to: &str, fragments: u16, payload: &[u8]) {
        let ident = self.ident();
        let (from, to) = (End::new(from, 0).ip, End::new(to, 0).ip);
        for i in 0..fragments {
            let offset = i * (payload.len() / 8) as u16;
            self.put(at, frame::fragment(from, to, ident, offset, payload));
        }
    }

    /// A TCP conversation that begins at `at`.
    pub fn tcp(&mut self, at: f64, client: End, server: End) -> Tcp<'_> {
        let seqs = (self.rng.rand_u32(), self.rng.rand_u32());
        Tcp::new(self, at, client, server, seqs)
    }

    /// The same script with every frame replaced by others, which follow each other within microseconds.
    #[must_use]
    pub fn retold(mut self, mut tell: impl FnMut(&[u8]) -> Vec<Vec<u8>>) -> Self {
        self.sort();
        let mut told = Vec::with_capacity(self.frames.len());
        for (ts, _, frame) in &self.frames {
            for (n, frame) in (0..).zip(tell(frame)) {
                told.push((Timestamp(ts.0 + n * 1_000), told.len() as u32, frame));
            }
        }
        self.frames = told;
        self
    }

    /// The same script at another pace: every moment is `factor` times as far from the start.
    #[must_use]
    pub fn stretched(mut self, factor: f64) -> Self {
        for (ts, ..) in &mut self.frames {
            let since = (ts.0 - self.start.0) as f64 * factor;
            *ts = Timestamp(self.start.0 + since as i64);
        }
        self
    }

    /// The same script on each of these days, the first being 0.
    #[must_use]
    pub fn on_days(mut self, days: &[i64]) -> Self {
        let once = std::mem::take(&mut self.frames);
        for day in days {
            let later = |(ts, n, frame): &(Timestamp, u32, Vec<u8>)| {
                (Timestamp(ts.0 + day * 86_400 * 1_000_000_000), *n, frame.clone())
            };
            self.frames.extend(once.iter().map(later));
        }
        self
    }

    /// Both scripts at once, from the start of this one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let by = self.start.0 - other.start.0;
        self.frames.extend(other.frames.into_iter().map(|(ts, n, frame)| (Timestamp(ts.0 + by), n, frame)));
        self
    }

    /// The same script without what `keep` does not want, by seconds since the start.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(f64) -> bool) -> Self {
        let start = self.start.0;
        self.frames.retain(|(ts, ..)| keep((ts.0 - start) as f64 / 1e9));
        self
    }

    /// Packets so far.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing was scripted yet.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Puts the frames in the order of time.
    fn sort(&mut self) {
        self.frames.sort_by_key(|(ts, order, _)| (*ts, *order));
    }

    /// The same script as a capture with faults has it: each frame as often, as late and as long as `of` says, by its number and bytes:
    /// seconds to add, and bytes kept.
    #[must_use]
    pub fn faulty(mut self, mut of: impl FnMut(usize, &[u8]) -> Vec<(f64, usize)>) -> Self {
        self.sort();
        let mut made = Vec::with_capacity(self.frames.len());
        for (n, (ts, _, frame)) in self.frames.iter().enumerate() {
            for (later, kept) in of(n, frame) {
                let ts = Timestamp(ts.0 + (later * 1e9) as i64);
                let mut frame = frame.clone();
                self.lengths.insert((ts, made.len() as u32), frame.len() as u32);
                frame.truncate(kept);
                made.push((ts, made.len() as u32, frame));
            }
        }
        self.frames = made;
        self
    }

    /// The capture file, in the order of time.
    pub fn pcapng(self) -> Vec<u8> {
        self.pcapng_in(&("ethernet", LINKTYPE_ETHERNET, <[u8]>::to_vec))
    }

    /// The capture file with every frame in a wrapper, which IPv4 alone may have.
    pub fn pcapng_in(mut self, (_, link, wrap): &Wrapping) -> Vec<u8> {
        self.sort();
        let mut out = Vec::new();
        if let Ok(mut writer) = PcapngWriter::new(&mut out, *link, "hydrophone testkit") {
            for (ts, order, frame) in &self.frames {
                let cut = self.lengths.get(&(*ts, *order)).map_or(0, |whole| *whole - frame.len() as u32);
                let wrapped = wrap(frame);
                // Writing to memory does not fail.
                let _ = writer.packet(*ts, &wrapped, wrapped.len() as u32 + cut);
            }
        }
        out
    }
}
