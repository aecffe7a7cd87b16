//! A table for spreadsheets: RFC 4180, with a head, a row for each piece of evidence.

use std::io::{self, Write};

use csv::{Terminator, WriterBuilder};
use record::{clean, no_formula};

use super::Event;

const COLUMNS: [&str; 22] = [
    "time",
    "started",
    "host",
    "segment",
    "host_name",
    "verdict",
    "level_db",
    "stage",
    "behaviour",
    "key",
    "db",
    "sentence",
    "techniques",
    "orig_ip",
    "orig_port",
    "resp_ip",
    "resp_port",
    "proto",
    "community_id",
    "remotes",
    "packets",
    "evidence",
];

/// Text from the wire that a spreadsheet takes for text.
fn text(words: &str) -> String {
    no_formula(clean(words))
}

pub(super) fn write(events: &[Event<'_>], out: &mut dyn Write) -> io::Result<()> {
    let mut table = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(out);
    table.write_record(COLUMNS)?;
    for event in events {
        table.write_record(row(event))?;
    }
    table.flush()
}

fn row(event: &Event<'_>) -> [String; COLUMNS.len()] {
    let (e, own) = (event.evidence, event.own());
    let (orig, orig_port, resp, resp_port) = event.ends();
    let port = |p: Option<u16>| p.map(|p| p.to_string()).unwrap_or_default();
    let techniques: Vec<&str> = event.techniques().iter().map(|t| t.id).collect();
    let remotes: Vec<String> = own.remotes.iter().map(ToString::to_string).collect();
    [
        e.ts.to_string(),
        e.started.to_string(),
        own.host.to_string(),
        own.segment.unwrap_or_default(),
        event.story.names.host_names.first().map(|n| text(n)).unwrap_or_default(),
        own.verdict.to_owned(),
        format!("{:.1}", own.level_db),
        own.stage.to_owned(),
        text(&own.behaviour),
        text(&own.key),
        format!("{:.1}", own.db),
        no_formula(own.sentence),
        techniques.join(" "),
        orig.to_string(),
        port(orig_port),
        resp.map(|ip| ip.to_string()).unwrap_or_default(),
        port(resp_port),
        event.transport().map(|t| t.to_string()).unwrap_or_default(),
        event.community_id().unwrap_or_default(),
        remotes.join(" "),
        own.packets.join(" "),
        own.evidence,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for hostile in ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"] {
            assert_eq!(text(hostile), format!("'{hostile}"));
        }
        assert_eq!(text("\t=1"), "\\u{9}=1");
        assert_eq!(text("kettle.example"), "kettle.example");
    }
}
