//! A file's lines, however it is packed.

use std::io;

use capture::Window;

/// The longest line that is read (*assumed*: an EVE line with its payload takes tens of kilobytes); a longer one is told and stepped over.
pub const LONGEST: usize = 8 << 20;
/// What is read at a time.
const PIECE: usize = 64 << 10;

/// Reads a file line by line, or a JSON array object by object.
pub struct Lines {
    window: Window,
    /// Whether objects of an array stand in the place of lines.
    array: bool,
    /// Bytes of the line that was given last, with its end.
    given: usize,
    number: u64,
}

/// A line: its number from 1, and its bytes without their end; none of one that is too long.
pub type Line<'a> = (u64, Option<&'a [u8]>);

impl Lines {
    /// Of what was opened, and of which nothing was taken.
    pub const fn of(window: Window, array: bool) -> Self {
        Self { window, array, given: 0, number: 0 }
    }

    /// The same, whose first line has the number behind this one.
    pub fn behind(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// Nothing more is written to the file: what stands at its end without an end of its own is its last line.
    pub const fn stop_growing(&mut self) {
        self.window.stop_growing();
    }

    /// The number of the line that was given last.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The next line; none at the end. Of a file that grows, a line is given when it is whole.
    ///
    /// # Errors
    /// The file ends within something packed, or cannot be read: what came before it stands.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.window.advance(self.given);
        self.given = 0;
        if self.array {
            return self.next_object();
        }
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

    /// The next object of an array, or what stands in its place.
    fn next_object(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut scan = Scan::default();
        let (mut begun, mut looked) = (false, 0);
        loop {
            if !begun {
                let rest = self.window.rest();
                let between = rest.iter().take_while(|b| is_between(**b)).count();
                self.window.advance(between);
                begun = !self.window.rest().is_empty();
            }
            let end = scan.end(&self.window.rest()[looked..]).map(|end| looked + end);
            looked = self.window.rest().len();
            if let Some(end) = end {
                self.number += 1;
                self.given = end;
                let is_whole = !scan.is_long && end <= LONGEST;
                return Ok(Some((self.number, is_whole.then(|| &self.window.rest()[..end]))));
            }
            if looked > LONGEST {
                // Its end is looked for, and nothing of it kept.
                self.window.advance(looked);
                (begun, looked) = (true, 0);
                scan.is_long = true;
            }
            if self.window.ensure(looked + PIECE) <= looked {
                if let Some(failure) = self.window.take_failure() {
                    return Err(failure);
                }
                if looked == 0 {
                    return Ok(None);
                }
                // What is not closed is no object.
                self.number += 1;
                self.given = looked;
                return Ok(Some((self.number, Some(&self.window.rest()[..looked]))));
            }
        }
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
                    None => Ok((looked > 0 && !self.window.grows()).then_some(looked)),
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

/// Whether a byte stands between the objects of an array.
const fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'[' | b']' | b',')
}

/// How far into an object one is.
#[derive(Default)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    is_long: bool,
}

impl Scan {
    /// Where the object ends, as bytes of this piece of it; what is none ends where an object could begin.
    fn end(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                b',' if self.depth == 0 => return Some(at),
                _ => {}
            }
        }
        None
    }
}

/// The first objects of an array that begins here, as far as they are whole.
pub fn objects(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let between = rest.iter().take_while(|b| is_between(**b)).count();
        rest = &rest[between..];
        let end = Scan::default().end(rest)?;
        let (object, behind) = rest.split_at(end);
        rest = behind;
        Some(object)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(u64, Option<String>)> {
        read_as(bytes, false)
    }

    fn read_as(bytes: &[u8], array: bool) -> Vec<(u64, Option<String>)> {
        let mut lines = Lines::of(Window::memory(bytes.to_vec()), array);
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

    #[test]
    fn objects_of_an_array_are_whole_however_they_lie() {
        let said = |n: u64, text: &str| (n, Some(text.to_owned()));
        let all = [said(1, r#"{"a":"}]\"{"}"#), said(2, r#"{"b":[{},1]}"#)];
        let [a, b] = [all[0].1.clone().unwrap(), all[1].1.clone().unwrap()];
        assert_eq!(read_as(format!("[{a},{b}]").as_bytes(), true), all);
        assert_eq!(read_as(format!("[\n  {a} ,\n{b}\n]\n").as_bytes(), true), all);
        // Arrays behind one another, and no end.
        assert_eq!(read_as(format!("[{a}]\n[{b}").as_bytes(), true), all);
        // What is none costs itself.
        let odd = read_as(format!("[7, {a}, nonsense, {b}, {{\"c\":").as_bytes(), true);
        assert_eq!(odd.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!((&odd[1].1, &odd[3].1), (&all[0].1, &all[1].1));
        assert!(read_as(b"[]", true).is_empty() && read_as(b"[", true).is_empty());
        assert_eq!(
            objects(format!("[\n{a},{b}, {{").as_bytes()).collect::<Vec<_>>(),
            [a.as_bytes(), b.as_bytes()]
        );
    }

    #[test]
    fn an_object_that_is_too_long_is_stepped_over_and_told() {
        let long = format!(r#"[{{"a":1}},{{"x":"{}"}},{{"b":2}}]"#, "y".repeat(2 * LONGEST));
        let of = read_as(long.as_bytes(), true);
        assert_eq!(of, [(1, Some(r#"{"a":1}"#.to_owned())), (2, None), (3, Some(r#"{"b":2}"#.to_owned()))]);
    }
}
