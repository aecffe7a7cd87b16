//! SSH (RFC 4253 §4.2): the banners.

use record::{Direction, Record, Ssh, Timestamp};

use crate::lines::Lines;
use crate::outbox::{Packets, ParseContext, text};
use crate::protocol::{KEPT, Protocol, Step};

/// RFC 4253: the banner is at most 255 bytes; other lines may stand before it.
const MAX_BANNER: usize = 255;

#[derive(Default)]
pub struct SshSession {
    lines: [Lines; 2],
    banners: [Option<String>; 2],
    started: Option<Timestamp>,
    packets: Packets,
    told: bool,
}

impl Protocol for SshSession {
    /// Over when both banners are known.
    fn data(&mut self, from: Direction, mut bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        let ([lines, _], [banner, _]) = if from == Direction::Orig {
            (each(&mut self.lines), each(&mut self.banners))
        } else {
            (rev(&mut self.lines), rev(&mut self.banners))
        };
        if banner.is_none() {
            while let Some(line) = lines.next(&mut bytes, context.out) {
                if line.starts_with(b"SSH-") {
                    *banner = Some(text(&line, MAX_BANNER));
                    self.started.get_or_insert(context.ts);
                    self.packets.add(context.packet);
                    break;
                }
            }
        }
        let done = self.banners.iter().all(Option::is_some);
        if done {
            self.end(context);
        }
        Step::more(!done)
    }

    fn end(&mut self, context: &mut ParseContext<'_>) {
        if self.told {
            return;
        }
        self.told = true;
        let [client, server] = std::mem::take(&mut self.banners);
        context.out.records.push(Record::Ssh(Box::new(Ssh {
            head: context.flow.head(self.started.unwrap_or(context.ts), context.at),
            client,
            server,
            packets: self.packets.take(),
        })));
    }

    fn weight(&self) -> usize {
        KEPT
    }
}

fn each<T>([a, b]: &mut [T; 2]) -> [&mut T; 2] {
    [a, b]
}

fn rev<T>([a, b]: &mut [T; 2]) -> [&mut T; 2] {
    [b, a]
}
