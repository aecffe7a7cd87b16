//! One log: its header, its rows, its end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use record::Timestamp;

use super::rows::Columns;

/// What a column of a row holds.
pub(super) enum Value {
    /// Nothing is known of it.
    Unset,
    /// What needs no escape: an address, a number, a word of ours.
    Plain(String),
    /// Text of whatever origin.
    Text(String),
    /// Several; none of them is something else than not to know.
    List(Vec<String>),
}

impl Value {
    /// Text, if there is some.
    pub(super) fn text(told: Option<&str>) -> Self {
        told.map_or(Self::Unset, |t| Self::Text(t.to_owned()))
    }

    /// Whatever is written as it is, if it is known.
    pub(super) fn plain(told: Option<impl ToString>) -> Self {
        told.map_or(Self::Unset, |t| Self::Plain(t.to_string()))
    }

    /// A moment: seconds since the epoch.
    pub(super) fn time(t: Timestamp) -> Self {
        let micros = t.0.div_euclid(1000);
        let sign = if micros < 0 { "-" } else { "" };
        let (secs, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
        Self::Plain(format!("{sign}{secs}.{rest:06}"))
    }

    /// A span: seconds.
    pub(super) fn interval(span: Option<Duration>) -> Self {
        Self::plain(span.map(|s| format!("{}.{:06}", s.as_secs(), s.subsec_micros())))
    }

    /// Yes or no.
    pub(super) fn flag(told: bool) -> Self {
        Self::Plain(if told { "T" } else { "F" }.to_owned())
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Unset => out.push('-'),
            Self::Plain(word) => out.push_str(word),
            Self::Text(text) => escape(text, false, out),
            Self::List(all) if all.is_empty() => out.push_str("(empty)"),
            Self::List(all) => {
                for (n, one) in all.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    escape(one, true, out);
                }
            }
        }
    }
}

/// Text as Zeek writes it: what would break a line or hide in it as `\xNN`, byte by byte, and so what means something else in a log.
fn escape(text: &str, in_list: bool, out: &mut String) {
    match text {
        "" => return out.push_str("(empty)"),
        "-" => return out.push_str("\\x2d"),
        "(empty)" => return out.push_str("\\x28empty)"),
        _ => {}
    }
    for c in text.chars() {
        let shown = record::clean(c.encode_utf8(&mut [0; 4])).chars().eq([c]);
        if shown && c != '\\' && !(in_list && c == ',') {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// A time as headers have it.
fn wall(t: Timestamp) -> String {
    t.to_string().replace(['T', ':'], "-").split('.').next().unwrap_or_default().to_owned()
}

/// A log that is being written.
pub(super) struct Log {
    out: BufWriter<File>,
    line: String,
}

impl Log {
    pub(super) fn begin(path: &Path, name: &str, columns: &Columns, opened: Timestamp) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        let part = |n: usize| columns.iter().map(|c| [c.0, c.1][n]).collect::<Vec<_>>().join("\t");
        write!(
            out,
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\t{name}\n#open\t{}\n#fields\t{}\n#types\t{}\n",
            wall(opened),
            part(0),
            part(1)
        )?;
        Ok(Self { out, line: String::new() })
    }

    pub(super) fn row(&mut self, values: &[Value]) -> io::Result<()> {
        self.line.clear();
        for (n, value) in values.iter().enumerate() {
            if n > 0 {
                self.line.push('\t');
            }
            value.write(&mut self.line);
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    pub(super) fn finish(mut self, closed: Timestamp) -> io::Result<()> {
        writeln!(self.out, "#close\t{}", wall(closed))?;
        self.out.flush()?;
        self.out.get_ref().sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> String {
        let mut out = String::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn nothing_breaks_a_line_or_means_something_else() {
        let text = |t: &str| written(&Value::Text(t.to_owned()));
        assert_eq!(text("a\tb\nc\\x41\u{202e}d\u{1b}"), "a\\x09b\\x0ac\\x5cx41\\xe2\\x80\\xaed\\x1b");
        assert_eq!(text("über,alles"), "über,alles");
        assert_eq!(
            (text(""), text("-"), text("(empty)")),
            ("(empty)".into(), "\\x2d".into(), "\\x28empty)".into())
        );
        let list = |all: &[&str]| written(&Value::List(all.iter().map(ToString::to_string).collect()));
        assert_eq!(list(&["a,b", "c"]), "a\\x2cb,c");
        assert_eq!(list(&[]), "(empty)");
        assert_eq!(written(&Value::time(Timestamp(-1))), "-0.000001");
        assert_eq!(written(&Value::interval(Some(Duration::from_millis(1_500)))), "1.500000");
        assert_eq!(wall(Timestamp(0)), "1970-01-01-00-00-00");
    }
}
