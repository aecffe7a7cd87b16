use std::io::{self, Write};

use record::Timestamp;

/// LINKTYPE_ETHERNET.
pub const LINKTYPE_ETHERNET: u16 = 1;

/// Writes pcapng: one section, an interface for each link type, nanosecond clock. Times before 1970 get an interface whose clock begins
/// earlier.
pub struct PcapngWriter<W: Write> {
    out: W,
    /// Link type of each interface, and the second that its clock begins at.
    interfaces: Vec<(u16, i64)>,
}

/// Where the clock of an interface for times before 1970 begins: before any time that a capture can have.
const EARLY: i64 = i64::MIN / 1_000_000_000;

impl<W: Write> PcapngWriter<W> {
    /// Writes the headers. `application` is named as the file's maker.
    ///
    /// # Errors
    /// Writing failed.
    pub fn new(mut out: W, link: u16, application: &str) -> io::Result<Self> {
        let mut options = option(4, application.as_bytes());
        options.extend([0; 4]);
        let mut body = vec![0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
        body.extend([0xff; 8]);
        body.extend(options);
        write_block(&mut out, 0x0a0d_0d0a, &body)?;
        let mut made = Self { out, interfaces: Vec::new() };
        made.interface(link, 0)?;
        Ok(made)
    }

    /// The number of the interface with this link type and clock; the first asked for is 0.
    fn interface(&mut self, link: u16, begins: i64) -> io::Result<u32> {
        if let Some(known) = self.interfaces.iter().position(|i| *i == (link, begins)) {
            return Ok(known as u32);
        }
        let mut body = link.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(262_144u32.to_le_bytes());
        body.extend(option(9, &[9]));
        if begins != 0 {
            body.extend(option(14, &begins.to_le_bytes()));
        }
        body.extend([0; 4]);
        write_block(&mut self.out, 1, &body)?;
        self.interfaces.push((link, begins));
        Ok(self.interfaces.len() as u32 - 1)
    }

    /// Writes one packet of the first interface that was `original` bytes long on the wire.
    ///
    /// # Errors
    /// Writing failed.
    pub fn packet(&mut self, ts: Timestamp, frame: &[u8], original: u32) -> io::Result<()> {
        let link = self.interfaces.first().map_or(0, |i| i.0);
        self.packet_on(link, ts, frame, original, None)
    }

    /// Writes one packet of a link type, with a comment (at most 65,535 bytes of it) that other programs show.
    ///
    /// # Errors
    /// Writing failed.
    pub fn packet_on(
        &mut self,
        link: u16,
        ts: Timestamp,
        frame: &[u8],
        original: u32,
        comment: Option<&str>,
    ) -> io::Result<()> {
        let begins = if ts.0 < 0 { EARLY } else { 0 };
        let interface = self.interface(link, begins)?;
        let ticks = ts.0.saturating_sub(begins.saturating_mul(1_000_000_000)).cast_unsigned();
        let mut body = Vec::with_capacity(frame.len() + 32);
        for word in [
            interface,
            (ticks >> 32) as u32,
            ticks as u32,
            frame.len() as u32,
            original.max(frame.len() as u32),
        ] {
            body.extend(word.to_le_bytes());
        }
        body.extend(frame);
        if let Some(comment) = comment {
            body.resize(body.len().next_multiple_of(4), 0);
            let cut = comment.floor_char_boundary(usize::from(u16::MAX));
            body.extend(option(1, &comment.as_bytes()[..cut]));
            body.extend([0; 4]);
        }
        write_block(&mut self.out, 6, &body)
    }

    /// What is written to.
    pub const fn get_ref(&self) -> &W {
        &self.out
    }

    /// Makes sure that all of it was handed on.
    ///
    /// # Errors
    /// Writing failed.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Gives back what was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let mut out = code.to_le_bytes().to_vec();
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn write_block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let padded = body.len().next_multiple_of(4);
    let total = (padded as u32 + 12).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&total)?;
    out.write_all(body)?;
    out.write_all(&[0; 3][..padded - body.len()])?;
    out.write_all(&total)
}
