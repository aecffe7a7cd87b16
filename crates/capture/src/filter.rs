//! What the kernel leaves out before it hands packets over: programs of the Berkeley Packet Filter, as libpcap compiles them.

use std::io;
use std::path::Path;
use std::process::Command;

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST: usize = 4096;

/// An instruction of the kernel's filter: code, jumps, operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How far to jump if a test holds.
    pub jt: u8,
    /// And if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// A program for the kernel; the empty one lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(pub Vec<Instruction>);

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The text is no program.
    #[error("{place}: {what}; a filter is what `tcpdump -ddd EXPRESSION` prints")]
    Text {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The compiler is not there.
    #[error(
        "tcpdump, which compiles filters, cannot be run ({0}): install it, or give its output by --bpf-file (tcpdump -ddd EXPRESSION)"
    )]
    Compiler(io::Error),
    /// The expression is none.
    #[error("the filter {expression:?} cannot be compiled: {why}")]
    Expression {
        /// What was given.
        expression: String,
        /// What the compiler said.
        why: String,
    },
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
}

impl Filter {
    /// A filter in tcpdump's words, compiled for an interface by tcpdump itself.
    ///
    /// # Errors
    /// tcpdump is not there, or takes it for no expression.
    pub fn compiled(expression: &str, interface: &str) -> Result<Self, FilterError> {
        let run = Command::new("tcpdump").args(["-i", interface, "-ddd", "--", expression]).output();
        let run = run.map_err(FilterError::Compiler)?;
        if !run.status.success() {
            let why = String::from_utf8_lossy(&run.stderr).trim().replace("tcpdump: ", "");
            return Err(FilterError::Expression { expression: expression.to_owned(), why });
        }
        Self::parse(&String::from_utf8_lossy(&run.stdout), "tcpdump")
    }

    /// A filter from a file.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn file(path: &Path) -> Result<Self, FilterError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| FilterError::Open { path: name.clone(), source })?;
        Self::parse(&text, &name)
    }

    /// A filter as `tcpdump -ddd` prints it: the number of instructions, then one a line, its four parts as decimal numbers.
    fn parse(text: &str, place: &str) -> Result<Self, FilterError> {
        let wrong = |line: usize, what: &str| FilterError::Text {
            place: format!("{place}:{line}"),
            what: what.to_owned(),
        };
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let count: usize = match lines.next() {
            Some((n, first)) => {
                first.trim().parse().map_err(|_| wrong(n, "the number of instructions was expected"))?
            }
            None => return Err(wrong(1, "it is empty")),
        };
        let mut program = Vec::new();
        for (n, line) in lines {
            let mut parts = line.split_whitespace();
            let mut part = || parts.next().and_then(|p| p.parse::<u32>().ok());
            let (code, jt, jf, k) = (part(), part(), part(), part());
            let instruction = (|| {
                Some(Instruction {
                    code: code?.try_into().ok()?,
                    jt: jt?.try_into().ok()?,
                    jf: jf?.try_into().ok()?,
                    k: k?,
                })
            })();
            program.push(instruction.ok_or_else(|| wrong(n, "four numbers were expected"))?);
        }
        match program.len() {
            n if n != count => Err(wrong(1, &format!("{count} instructions are announced, and {n} follow"))),
            0 => Err(wrong(1, "it has no instruction")),
            n if n > MOST => Err(wrong(1, &format!("the kernel takes {MOST} instructions, and not {n}"))),
            _ => Ok(Self(program)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tcpdump_prints_is_read_and_everything_else_named_with_its_line() {
        let udp = "6\n40 0 0 12\n21 0 5 2048\n48 0 0 23\n21 0 1 17\n6 0 0 262144\n6 0 0 0\n";
        let filter = Filter::parse(udp, "f").unwrap();
        assert_eq!(filter.0[1], Instruction { code: 21, jt: 0, jf: 5, k: 2048 });
        for (text, said) in [
            ("", "f:1: it is empty"),
            ("udp", "f:1: the number of instructions"),
            ("2\n6 0 0 0\n", "f:1: 2 instructions are announced, and 1 follow"),
            ("1\n6 0 0\n", "f:2: four numbers"),
            ("1\n6 0 256 0\n", "f:2: four numbers"),
            ("0\n", "f:1: it has no instruction"),
        ] {
            let told = Filter::parse(text, "f").unwrap_err().to_string();
            assert!(told.starts_with(said), "{text:?}: {told}");
        }
    }
}
