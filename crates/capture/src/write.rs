use std::io::{self, Write};

use record::Timestamp;

/// LINKTYPE_ETHERNET.
pub const LINKTYPE_ETHERNET: u16 = 1;

/// Writes pcapng: one section, one interface, nanosecond clock.
pub struct PcapngWriter<W: Write> {
    out: W,
}

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
        let mut body = link.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(262_144u32.to_le_bytes());
        body.extend(option(9, &[9]));
        body.extend([0; 4]);
        write_block(&mut out, 1, &body)?;
        Ok(Self { out })
    }

    /// Writes one packet that was `original` bytes long on the wire.
    ///
    /// # Errors
    /// Writing failed.
    pub fn packet(&mut self, ts: Timestamp, frame: &[u8], original: u32) -> io::Result<()> {
        let ticks = ts.0.max(0).cast_unsigned();
        let mut body = Vec::with_capacity(frame.len() + 32);
        for word in [0, (ticks >> 32) as u32, ticks as u32, frame.len() as u32, original] {
            body.extend(word.to_le_bytes());
        }
        body.extend(frame);
        write_block(&mut self.out, 6, &body)
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
