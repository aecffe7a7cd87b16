//! Flows that routers and probes export: NetFlow 5, 7 and 9, and IPFIX (RFC 3954, RFC 7011).

use record::{Direction, Export, Record};

use crate::cursor::Cursor;
use crate::outbox::ParseContext;
use crate::protocol::{Protocol, Step};

/// Exports, each datagram as it is: what is in it needs the templates of others.
pub struct ExportSession;

impl Protocol for ExportSession {
    fn data(&mut self, from: Direction, bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        let tuple = &context.flow.tuple;
        let exporter = match from {
            Direction::Orig => tuple.orig,
            Direction::Resp => tuple.resp,
        };
        context.out.records.push(Record::Export(Box::new(Export {
            head: context.flow.head(context.ts, context.at),
            exporter,
            datagram: bytes.to_vec(),
            packets: vec![context.packet],
        })));
        Step::More
    }

    fn weight(&self) -> usize {
        0
    }
}

/// Whether a datagram of so many bytes is an export: its lengths agree to its end, as far as they were captured.
pub fn is_export(b: &[u8], len: usize) -> bool {
    let rows =
        |n: u8, header: usize, each: usize| len == header.saturating_add(usize::from(n).saturating_mul(each));
    match b {
        [0, 5, 0, n @ 1..=30, ..] => rows(*n, 24, 48),
        [0, 7, 0, n @ 1..=28, ..] => rows(*n, 24, 52),
        [0, 9, n0, n1, ..] if n0 | n1 != 0 => sets(b, 20, len, |id| id <= 1 || id > 255),
        [0, 10, l0, l1, ..] => {
            usize::from(u16::from_be_bytes([*l0, *l1])) == len
                && sets(b, 16, len, |id| matches!(id, 2 | 3 | 256..))
        }
        _ => false,
    }
}

/// Whether sets of these kinds follow a header, each as long as it says.
fn sets(b: &[u8], header: usize, len: usize, is_kind: impl Fn(u16) -> bool) -> bool {
    let mut c = Cursor::new(b);
    if c.take(header).is_none() {
        return false;
    }
    let mut at = header;
    while at < len {
        let (Some(kind), Some(length)) = (c.u16(), c.u16()) else { return at > header && b.len() < len };
        let Some(inside) = length.checked_sub(4).filter(|_| is_kind(kind)) else { return false };
        at = at.saturating_add(usize::from(length));
        if c.take(usize::from(inside)).is_none() {
            // It goes on behind what was captured, and ends with the datagram.
            return b.len() < len && at <= len;
        }
    }
    at == len && at > header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_one_whose_lengths_agree() {
        let v5 = [&[0, 5, 0, 2][..], &[0; 20 + 96]].concat();
        assert!(is_export(&v5, v5.len()) && !is_export(&v5[..100], 100));
        assert!(is_export(&v5[..60], v5.len()), "cut by the capture");
        let set = [&[1, 0, 0, 12][..], &[0; 8]].concat();
        let v9 = [&[0, 9, 0, 1][..], &[0; 16], &set, &set].concat();
        assert!(is_export(&v9, v9.len()) && !is_export(&v9[..v9.len() - 1], v9.len() - 1));
        assert!(!is_export(&v9[..20], 20), "nothing in it");
        let ipfix = |len: u8| [&[0, 10, 0, len][..], &[0; 12], &set].concat();
        assert!(is_export(&ipfix(28), 28) && !is_export(&ipfix(30), 28));
        // A name server's answer under the number 9 or 10.
        assert!(!is_export(&[0, 9, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1], 19));
    }
}
