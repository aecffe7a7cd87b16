use serde::{Deserialize, Serialize};
/// The number of leading bytes that are kept of a payload: a frame of 24 (KRAKEN §3) and some more.
const HEAD: usize = 32;
/// The number of leading bytes that are counted; random and plain text differ long before.
const COUNTED: usize = 512;
/// A run of printable bytes beyond this is text (Wu et al., Ex3).
const LONGEST_TEXT: u16 = 20;

/// What is known of one payload without knowing its protocol: numbers, and its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadFacts {
    /// Length on the wire in bytes.
    pub len: u32,
    /// How many leading bytes the counts below cover (≤ 512; fewer when the capture cut the packet).
    pub counted: u16,
    /// Set bits in the counted bytes; 0 where the first bytes tell what it is (TLS, HTTP, text).
    pub ones: u16,
    /// Counted bytes in 0x20..=0x7e; 0 where the first bytes tell.
    pub printable: u16,
    /// The longest run of printable bytes among those counted; 0 where something else already speaks against random bytes.
    pub printable_run: u16,
    /// How many of the 256 byte values occur among those counted; 0 where something else already speaks against random bytes.
    pub distinct: u16,
    /// The first bytes, zero where there were fewer than 32.
    head: [u8; HEAD],
}

/// Why a payload does not count as opaque, or that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plainness {
    /// None of the exemptions holds: encrypted, compressed or random.
    Opaque,
    /// The share of set bits is too far from one half for random bytes of this length.
    Bits,
    /// The first six bytes are printable.
    TextStart,
    /// More than half of the bytes are printable.
    MostlyText,
    /// More than 20 printable bytes in a row.
    TextRun,
    /// It begins like TLS or like an HTTP request.
    KnownStart,
    /// Fewer than 8 bytes: nothing can be said.
    Short,
}

const fn is_printable(b: u8) -> bool {
    b >= 0x20 && b <= 0x7e
}

impl PayloadFacts {
    /// Counts `bytes`, the captured part of a payload that was `wire_len` bytes long on the wire.
    pub fn of(bytes: &[u8], wire_len: u32) -> Self {
        let counted = &bytes[..bytes.len().min(COUNTED)];
        let mut head = [0; HEAD];
        let kept = counted.len().min(HEAD);
        head[..kept].copy_from_slice(&counted[..kept]);
        let mut facts = Self {
            len: wire_len,
            counted: counted.len() as u16,
            ones: 0,
            printable: 0,
            printable_run: 0,
            distinct: 0,
            head,
        };
        if facts.exempt_by_start().is_some() {
            return facts;
        }
        let (words, rest) = counted.as_chunks::<8>();
        let bits: u32 = words.iter().map(|w| u64::from_ne_bytes(*w).count_ones()).sum();
        facts.ones = (bits + rest.iter().map(|b| b.count_ones()).sum::<u32>()) as u16;
        facts.printable = counted.iter().filter(|b| is_printable(**b)).count() as u16;
        if facts.exempt_by_count().is_some() {
            return facts;
        }
        let (mut run, mut longest, mut seen) = (0u16, 0u16, [0u64; 4]);
        for &b in counted {
            if is_printable(b) {
                run += 1;
                if run > longest {
                    longest = run;
                }
            } else {
                run = 0;
            }
            seen[usize::from(b >> 6)] |= 1 << (b & 63);
        }
        facts.printable_run = longest;
        if longest <= LONGEST_TEXT {
            facts.distinct = seen.iter().map(|bits| bits.count_ones() as u16).sum();
        }
        facts
    }

    /// The first bytes, at most 32.
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.counted).min(HEAD)]
    }

    /// Set bits per byte, 0.0 for an empty payload; random bytes have 4.
    pub fn ones_per_byte(&self) -> f64 {
        f64::from(self.ones) / f64::from(self.counted.max(1))
    }

    /// Whether the capture kept fewer bytes than the payload had, and too few to count on.
    pub fn is_cut(&self) -> bool {
        u32::from(self.counted) < self.len.min(COUNTED as u32)
    }

    /// The band of set bits per byte that holds 99 % of random payloads of `n` bytes.
    ///
    /// The standard deviation of one byte's bits is √2, so the band is 4 ± 2.576·√(2/n). For 24 bytes that is
    /// 3.26–4.74, for 16 3.09–4.91, for 100 3.64–4.36: KRAKEN §3.3, computed.
    pub fn random_band(n: u16) -> (f64, f64) {
        let half = 2.576 * (2.0 / f64::from(n.max(1))).sqrt();
        (4.0 - half, 4.0 + half)
    }

    /// Tells whether the payload looks opaque, or which exemption speaks against it.
    ///
    /// Source: Wu et al., "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX
    /// Security 2023, exemptions Ex1–Ex5. Ex1's fixed band 3.4–4.6 serves from 48 bytes on; shorter payloads use
    /// the 99 % band of their length instead, which 4.1 % of random 24-byte payloads would otherwise miss.
    pub fn plainness(&self) -> Plainness {
        if let Some(plain) = self.exempt() {
            return plain;
        }
        // Repeated bytes keep the bit share of random data but not its variety. The expected number of distinct
        // values among n random bytes is 256·(1 − (255/256)ⁿ); three quarters of it is far below the 1 % quantile
        // (KRAKEN §3.3: 24 bytes ≥ 20, expected 22.9).
        let expected = 256.0 * (1.0 - (255.0f64 / 256.0).powi(i32::from(self.counted)));
        if f64::from(self.distinct) < 0.75 * expected {
            return Plainness::Bits;
        }
        Plainness::Opaque
    }

    /// The exemption that the first bytes show, before anything is counted.
    fn exempt_by_start(&self) -> Option<Plainness> {
        let bytes = self.head();
        if self.counted < 8 {
            return Some(Plainness::Short);
        }
        if starts_as_tls(bytes) || starts_as_http(bytes) {
            return Some(Plainness::KnownStart);
        }
        if bytes.iter().take(6).all(|&b| is_printable(b)) {
            return Some(Plainness::TextStart);
        }
        None
    }

    /// The first exemption that holds, of those that need no count of distinct values.
    fn exempt(&self) -> Option<Plainness> {
        self.exempt_by_start().or_else(|| self.exempt_by_count())
    }

    /// The first exemption that the counts of bits and of printable bytes show.
    fn exempt_by_count(&self) -> Option<Plainness> {
        if self.printable * 2 > self.counted {
            return Some(Plainness::MostlyText);
        }
        if self.printable_run > LONGEST_TEXT {
            return Some(Plainness::TextRun);
        }
        let (low, high) = if self.counted < 48 { Self::random_band(self.counted) } else { (3.4, 4.6) };
        let ones = self.ones_per_byte();
        (ones <= low || ones >= high).then_some(Plainness::Bits)
    }

    /// Whether nothing speaks against encrypted, compressed or random bytes.
    pub fn is_opaque(&self) -> bool {
        self.plainness() == Plainness::Opaque
    }

    /// Shannon entropy of the kept first bytes, in bits per byte. At 24 bytes random data has 4.5, never 8.
    pub fn head_entropy(&self) -> f64 {
        let head = self.head();
        let mut counts = [0u8; 256];
        for &b in head {
            counts[usize::from(b)] += 1;
        }
        let n = head.len().max(1) as f64;
        counts
            .iter()
            .filter(|&&c| c > 0)
            .map(|&c| {
                let p = f64::from(c) / n;
                -p * p.log2()
            })
            .sum()
    }
}

fn starts_as_tls(b: &[u8]) -> bool {
    matches!(b, [0x14..=0x17, 3, 0..=4, ..])
}

fn starts_as_http(b: &[u8]) -> bool {
    const METHODS: [&[u8]; 8] =
        [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"HTTP/1."];
    // Most payloads are told apart by one byte.
    b.first().is_some_and(u8::is_ascii_uppercase) && METHODS.iter().any(|m| b.starts_with(m))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 24 bytes of `/dev/urandom`.
    const RANDOM_24: [u8; 24] = [
        0x9c, 0x1f, 0x52, 0xe7, 0x03, 0xb8, 0x6d, 0xd4, 0x21, 0x8a, 0xf5, 0x3e, 0xc9, 0x70, 0x17, 0xab, 0x44,
        0xde, 0x95, 0x0b, 0x66, 0xf8, 0x3d, 0xa1,
    ];

    #[test]
    fn random_bytes_are_opaque() {
        let facts = PayloadFacts::of(&RANDOM_24, 24);
        assert_eq!(facts.plainness(), Plainness::Opaque);
        assert_eq!(facts.distinct, 24);
        assert!((facts.head_entropy() - 24f64.log2()).abs() < 1e-9);
    }

    #[test]
    fn each_exemption_speaks() {
        let says = |b: &[u8]| PayloadFacts::of(b, b.len() as u32).plainness();
        assert_eq!(says(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), Plainness::KnownStart);
        assert_eq!(says(b"GET / HTTP/1.1\r\n"), Plainness::KnownStart);
        assert_eq!(says(b"220 mx.example ESMTP\r\n"), Plainness::TextStart);
        assert_eq!(says(&[0u8; 64]), Plainness::Bits);
        assert_eq!(says(&[0xff; 64]), Plainness::Bits);
        assert_eq!(
            says(&[0x0f; 64]),
            Plainness::Bits,
            "half the bits are set, but it is one byte over and over"
        );
        assert_eq!(says(b"\x01\x02abcdefgh"), Plainness::MostlyText);
        assert_eq!(says(&RANDOM_24[..7]), Plainness::Short);
        let mut long = [0u8; 100];
        for (i, b) in long.iter_mut().enumerate() {
            *b = (i as u8).wrapping_mul(151) | 0x80;
        }
        long[60..81].copy_from_slice(b"twenty-one printables");
        assert_eq!(says(&long), Plainness::TextRun);
    }

    #[test]
    fn the_bands_are_those_of_the_facts() {
        for (n, low, high) in [(24, 3.25, 4.75), (16, 3.06, 4.92), (48, 3.46, 4.54), (100, 3.64, 4.36)] {
            let band = PayloadFacts::random_band(n);
            assert!((band.0 - low).abs() < 0.04 && (band.1 - high).abs() < 0.04, "{n}: {band:?}");
        }
    }

    #[test]
    fn a_cut_payload_says_so() {
        assert!(PayloadFacts::of(&RANDOM_24[..10], 24).is_cut());
        assert!(!PayloadFacts::of(&RANDOM_24, 24).is_cut());
        assert!(!PayloadFacts::of(&[0; 512], 1400).is_cut());
    }
}
