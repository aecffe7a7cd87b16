//! IRC (RFC 1459, 2812): the lines that tell what a client does or is told.

use record::{Direction, Irc, Record};

use crate::lines::Lines;
use crate::outbox::{ParseContext, text};
use crate::protocol::{KEPT, Protocol, Step};

/// Lines told of one connection; commands to bots come early and repeat.
const MAX_TOLD: u32 = 200;
const MAX_PARAMS: usize = 400;

#[derive(Default)]
pub struct IrcSession {
    lines: [Lines; 2],
    told: u32,
}

/// Splits a line into its command and parameters.
pub fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = line;
    // IRCv3 tags and the prefix.
    for mark in *b"@:" {
        if rest.first() == Some(&mark) {
            let end = rest.iter().position(|&b| b == b' ')?;
            rest = rest.get(end..)?.trim_ascii_start();
        }
    }
    let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
    let (command, params) = rest.split_at_checked(end)?;
    let plain = (3..=12).contains(&command.len()) && command.iter().all(u8::is_ascii_alphanumeric);
    plain.then_some((command, params.trim_ascii_start()))
}

impl Protocol for IrcSession {
    fn data(&mut self, from: Direction, mut bytes: &[u8], context: &mut ParseContext<'_>) -> Step {
        let [orig, resp] = &mut self.lines;
        let lines = if from == Direction::Orig { orig } else { resp };
        while let Some(line) = lines.next(&mut bytes, context.out) {
            let Some((command, params)) = split(&line) else { continue };
            let command = text(&command.to_ascii_uppercase(), 12);
            let told = matches!(
                command.as_str(),
                "NICK"
                    | "USER"
                    | "PASS"
                    | "JOIN"
                    | "PRIVMSG"
                    | "TOPIC"
                    | "332"
                    | "001"
                    | "MODE"
                    | "NOTICE"
                    | "PART"
            );
            if told && self.told < MAX_TOLD {
                self.told = self.told.saturating_add(1);
                context.out.records.push(Record::Irc(Box::new(Irc {
                    head: context.flow.head(context.ts, context.at),
                    from,
                    command,
                    params: text(params, MAX_PARAMS),
                    packets: vec![context.packet],
                })));
            }
        }
        Step::more(self.told < MAX_TOLD)
    }

    fn gap(&mut self, from: Direction, _: u64, _: &mut ParseContext<'_>) -> Step {
        let [orig, resp] = &mut self.lines;
        let lines = if from == Direction::Orig { orig } else { resp };
        lines.gap();
        Step::More
    }

    fn weight(&self) -> usize {
        KEPT
    }
}
