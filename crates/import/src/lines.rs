//! A file's lines, however it is packed.

use std::io;
use std::path::Path;

use capture::{CaptureError, Opening, Seal, Window};

/// The longest line that is read (*assumed*: an EVE line with its payload takes tens of kilobytes); a longer one is told and stepped over.
const LONGEST: usize = 8 << 20;
/// What is read at a time.
const PIECE: usize = 64 << 10;

/// Reads a file line by line.
pub struct Lines {
    window: Window,
    /// Bytes of the line that was given last, with its end.
    given: usize,
    number: u64,
}

/// A line: its number from 1, and its bytes without their end; none of one that is too long.
pub type Line<'a> = (u64, Option<&'a [u8]>);

impl Lines {
    /// Opens a file; `seal` takes the hash of what is read of it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, opening: &Opening, seal: Option<&Seal>) -> Result<Self, CaptureError> {
        Ok(Self { window: capture::open(path, opening, seal)?, given: 0, number: 0 })
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// The file ends within something packed, or cannot be read: what came before it stands.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.window.advance(self.given);
        self.given = 0;
        let Some(len) = self.find_end()? else { return Ok(None) };
        self.number += 1;
        if len > LONGEST {
            self.step_over();
            return Ok(Some((self.number, None)));
        }
        let rest = self.window.rest();
        let line = &rest[..len];
        self.given = len + usize::from(rest.len() > len);
        Ok(Some((self.number, Some(line.strip_suffix(b"\r").unwrap_or(line)))))
    }

    /// Bytes before the next end of a line, or more than the longest; none at the end of the file.
    fn find_end(&mut self) -> io::Result<Option<usize>> {
        let (mut looked, mut wanted) = (0, 1);
        loop {
            let have = self.window.ensure(wanted);
            let rest = self.window.rest();
            if let Some(at) = memchr::memchr(b'\n', &rest[looked..]) {
                return Ok(Some(looked + at));
            }
            looked = rest.len();
            if looked > LONGEST {
                return Ok(Some(looked));
            }
            if have < wanted {
                return match self.window.take_failure() {
                    Some(failure) => Err(failure),
                    None => Ok((looked > 0).then_some(looked)),
                };
            }
            wanted = looked + PIECE;
        }
    }

    /// Goes behind the end of a line that is too long.
    fn step_over(&mut self) {
        loop {
            self.window.ensure(1);
            let rest = self.window.rest();
            let at = memchr::memchr(b'\n', rest);
            let n = at.map_or(rest.len(), |at| at + 1);
            self.window.advance(n);
            if at.is_some() || n == 0 {
                return;
            }
        }
    }

    /// Bytes of the content that were read.
    pub fn offset(&self) -> u64 {
        self.window.offset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(u64, Option<String>)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut lines = Lines::open(file.path(), &Opening::default(), None).unwrap();
        let mut all = Vec::new();
        while let Some((n, line)) = lines.next().unwrap() {
            all.push((n, line.map(|l| String::from_utf8_lossy(l).into_owned())));
        }
        all
    }

    #[test]
    fn lines_are_whole_whatever_ends_them() {
        let said = |n: u64, text: &str| (n, Some(text.to_owned()));
        assert_eq!(read(b"a\n\r\nb\r\nc"), [said(1, "a"), said(2, ""), said(3, "b"), said(4, "c")]);
        assert!(read(b"").is_empty());
        let long = vec![b'x'; 3 * PIECE];
        let of = read(&[&long[..], b"\nshort\n"].concat());
        assert_eq!((of[0].1.as_ref().unwrap().len(), &of[1]), (long.len(), &said(2, "short")));
    }

    #[test]
    fn a_line_that_is_too_long_is_stepped_over_and_told() {
        let long = vec![b'x'; LONGEST + 3 * PIECE];
        let of = read(&[b"a\n", &long[..], b"\nb\n"].concat());
        assert_eq!(of, [(1, Some("a".to_owned())), (2, None), (3, Some("b".to_owned()))]);
    }
}
