//! Lines of a text protocol, whatever segments they come in.

use record::Anomaly;

use crate::outbox::Outbox;

/// Longest line kept; RFC 5321 allows 1,000 bytes of text, RFC 1459 512, FTP and IMAP servers send a little more.
const MAX_LINE: usize = 4096;

#[derive(Debug, Default)]
pub struct Lines {
    kept: Vec<u8>,
    /// The rest of a line that was too long is being thrown away.
    overflowing: bool,
}

impl Lines {
    /// Takes the next line off `input`, without its end; `None` when the input is used up and the line goes on.
    pub fn next(&mut self, input: &mut &[u8], out: &mut Outbox) -> Option<Vec<u8>> {
        let end = memchr_newline(input);
        let (piece, rest) = match end {
            Some(at) => {
                (input.get(..at).unwrap_or_default(), input.get(at.saturating_add(1)..).unwrap_or_default())
            }
            None => (*input, &[][..]),
        };
        *input = rest;
        let room = MAX_LINE.saturating_sub(self.kept.len());
        if piece.len() > room && !self.overflowing {
            out.strange(Anomaly::LineTooLong);
            self.overflowing = true;
        }
        self.kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
        end?;
        self.overflowing = false;
        let mut line = std::mem::take(&mut self.kept);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    /// Bytes of the line in hand.
    pub fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// Bytes are missing: the line in hand is not whole.
    pub fn gap(&mut self) {
        self.kept.clear();
        self.overflowing = false;
    }
}

fn memchr_newline(b: &[u8]) -> Option<usize> {
    b.iter().position(|&c| c == b'\n')
}
