//! A flow's packets, what it said, and one packet byte by byte.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use capture::PcapngWriter;
use case::Cell;
use maud::{Markup, html};
use pipeline::{Frame, Wanted, Within, follow, walk};
use record::{Direction, Endpoint, FlowId, PacketId, Segment, Timestamp, Transport, Tuple};
use report::html::full;
use report::{clean, describe, human_count};

use crate::pages::page;
use crate::tables::filter;
use crate::{Ask, Console, Reply};

/// Packets listed of one flow.
const LISTED: usize = 500;
/// Bytes followed of one flow.
const FOLLOWED: usize = 64 << 10;
/// Bytes shown of one packet.
const SHOWN: usize = 64 << 10;

/// What evidence says of packets: of an item that grew, what it came to be.
fn proofs(console: &Console) -> BTreeMap<PacketId, Vec<String>> {
    let mut all: BTreeMap<PacketId, BTreeMap<String, String>> = BTreeMap::new();
    for e in console.case.stories.iter().flat_map(|s| &s.evidence).map(|e| &e.evidence) {
        let (id, text) = (e.id(), format!("{} {}: {}", e.host, e.stage, describe(e)));
        for p in &e.packets {
            all.entry(*p).or_default().insert(id.clone(), text.clone());
        }
    }
    all.into_iter().map(|(p, texts)| (p, texts.into_values().take(8).collect())).collect()
}

struct Listed {
    id: PacketId,
    ts: Timestamp,
    from_orig: bool,
    len: u32,
    payload: u32,
    flags: String,
}

/// The flow of a row: its ends and its last moment.
fn ends(row: &[Cell]) -> Option<(FlowId, Tuple, Timestamp)> {
    let text = |i: usize| row.get(i).and_then(Cell::text);
    let port = |i: usize| row.get(i).and_then(Cell::whole).map(|p| p as u16);
    let transport = match text(6)? {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "icmp" => Transport::Icmp,
        _ => return None,
    };
    let tuple = Tuple {
        orig: Endpoint { ip: text(2)?.parse().ok()?, port: port(3)? },
        resp: Endpoint { ip: text(4)?.parse().ok()?, port: port(5)? },
        transport,
    };
    let (packet, layer) = text(20)?.split_once('/').unwrap_or((text(20)?, "0"));
    let id = FlowId { packet: PacketId::parse(packet)?, layer: layer.parse().ok()? };
    let (ts, duration) = (row.first()?.whole()?, row.get(1));
    let secs = match duration {
        Some(Cell::Number(x)) => *x,
        _ => 0.0,
    };
    Some((id, tuple, Timestamp(ts.saturating_add((secs * 1e9) as i64).saturating_add(1_000))))
}

/// The segment of the network that the flow of a row is in, where these are apart.
fn within(console: &Console, row: &[Cell]) -> Within {
    let segment = row.get(21).and_then(Cell::text).and_then(|s| s.parse().ok());
    let apart = console.case.capture.segments_apart;
    Within::of(apart.then(|| segment.unwrap_or(Segment::Untagged)))
}

/// Which host an end of a flow is.
fn which(console: &Console, host: &str, row: &[Cell]) -> String {
    if !console.case.capture.segments_apart {
        return host.to_owned();
    }
    let segment = row.get(21).and_then(Cell::text).filter(|s| !s.is_empty());
    let segment = segment.map_or_else(|| Segment::Untagged.to_string(), str::to_owned);
    format!("{host}@{segment}")
}

/// The packets of a flow.
fn wanted(console: &Console, row: &[Cell], id: FlowId, tuple: &Tuple) -> Wanted {
    Wanted::of(tuple.orig.ip, [], [id]).only_flows().within(within(console, row))
}

/// A flow: its facts, its packets, what it said.
pub fn flow(console: &Console, name: &str, ask: &Ask) -> Reply {
    let row = console.flows.as_ref().and_then(|f| f.lock().ok()?.flow(name).ok().flatten());
    let Some(row) = row else {
        return Reply::Wrong(StatusCode::NOT_FOUND, format!("this case has no flow {name:?}"));
    };
    let columns = case::Kind::Flow.columns();
    let followed = ask.text("follow") == "1";
    let packets = list(console, &row);
    let body = html! {
        h1 { "flow " (clean(name)) }
        p { code { (filter(&row)) } " " button data-copy=(filter(&row)) { "copy" } " " a href={ "/flow/" (name) "/slice.pcapng" } download { "these packets" } }
        dl.facts.wide {
            @for (cell, column) in row.iter().zip(columns) {
                @match (cell, *column) {
                    (Cell::None, _) => {},
                    (Cell::Whole(n), "ts") => { dt { "ts" } dd { (full(Timestamp(*n))) } },
                    (Cell::Whole(n), c) => { dt { (c) } dd { (n) } },
                    (Cell::Number(x), c) => { dt { (c) } dd { (report::number(*x)) } },
                    (Cell::Text(t), c @ ("orig" | "resp")) => { dt { (c) } dd { @let which = which(console, t, &row);
                        @if which.parse().is_ok_and(|which| console.case.story(which).is_ok()) { a href={ "/host/" (which) } { (t) } } @else { (t) } } },
                    (Cell::Text(t), c) => { dt { (c) } dd { (clean(t)) } },
                }
            }
        }
        @match &packets {
            Err(e) => p.warn { (clean(e)) },
            Ok(packets) => (table(console, packets)),
        }
        h2 id="said" { "What it said" }
        @if followed { (said(console, &row)) } @else { p { a href={ "/flow/" (name) "?follow=1#said" } { "Follow the stream" } } }
    };
    Reply::Page(page(console, &format!("flow {name}"), &body))
}

/// The packets of a flow as a capture.
pub fn slice(console: &Console, name: &str) -> Reply {
    let row = console.flows.as_ref().and_then(|f| f.lock().ok()?.flow(name).ok().flatten());
    let Some(row) = row else {
        return Reply::Wrong(StatusCode::NOT_FOUND, format!("this case has no flow {name:?}"));
    };
    let made = console.captures.as_ref().map_err(Clone::clone).and_then(|captures| {
        let (id, tuple, until) = ends(&row).ok_or("this flow is of a kind whose packets are not listed")?;
        let mut wanted = wanted(console, &row, id, &tuple);
        let mut out: Option<PcapngWriter<Vec<u8>>> = None;
        let mut failed = None;
        walk(captures, |frame: &Frame<'_>| {
            if wanted.has(frame) {
                let link = frame.link as u16;
                let written = match &mut out {
                    Some(out) => Ok(out),
                    none => PcapngWriter::new(Vec::new(), link, "hydrophone").map(|w| none.insert(w)),
                }
                .and_then(|w| w.packet_on(link, frame.ts, frame.bytes, frame.original, None));
                failed = written.err();
            }
            failed.is_none() && frame.ts <= until
        })
        .map_err(|e| e.to_string())?;
        match (out, failed) {
            (Some(out), None) => Ok(out.into_inner()),
            (None, None) => Err("its packets are not in the capture any more".into()),
            (_, Some(e)) => Err(e.to_string()),
        }
    });
    match made {
        Ok(bytes) => Reply::File {
            name: format!("flow-{}.pcapng", name.replace([':', '/'], "-")),
            kind: "application/octet-stream",
            bytes,
        },
        Err(e) => Reply::Wrong(StatusCode::CONFLICT, e),
    }
}

fn list(console: &Console, row: &[Cell]) -> Result<Vec<Listed>, String> {
    let captures = console.captures.as_ref().map_err(Clone::clone)?;
    let (id, tuple, until) = ends(row).ok_or("this flow is of a kind whose packets are not listed")?;
    let mut wanted = wanted(console, row, id, &tuple);
    let mut found = Vec::new();
    walk(captures, |frame: &Frame<'_>| {
        if wanted.has(frame)
            && let Some(p) = frame.packets.iter().rev().find(|p| p.layer == id.layer)
        {
            found.push(Listed {
                id: frame.id,
                ts: frame.ts,
                from_orig: (p.src, p.sport) == (tuple.orig.ip, tuple.orig.port),
                len: p.frame_len,
                payload: p.payload_len,
                flags: p.tcp.flags.letters(),
            });
        }
        found.len() < LISTED && frame.ts <= until
    })
    .map_err(|e| e.to_string())?;
    Ok(found)
}

fn table(console: &Console, packets: &[Listed]) -> Markup {
    let proofs = proofs(console);
    html! {
        h2 { "Packets" }
        p.soft { (packets.len()) (if packets.len() == LISTED { " and more" } else { "" }) "; those that prove something are marked." }
        div.scroll tabindex="0" role="group" aria-label="Packets" {
            table.rows.dense {
                thead { tr { th { "packet" } th { "time" } th { "from" } th.n { "bytes" } th.n { "payload" } th { "flags" } th { "what it proves" } } }
                tbody {
                    @for p in packets {
                        @let proves = proofs.get(&p.id);
                        tr data-row class=[proves.map(|_| "marked")] {
                            td.mono { a href={ "/packet/" (p.id) } { (p.id) } }
                            td.t { (full(p.ts)) }
                            td { (if p.from_orig { "originator" } else { "responder" }) }
                            td.n { (p.len) } td.n { (p.payload) }
                            td.mono { (p.flags) }
                            td { @if let Some(all) = proves { @for t in all { (t) br; } } }
                        }
                    }
                }
            }
        }
    }
}

fn said(console: &Console, row: &[Cell]) -> Markup {
    let told = console.captures.as_ref().map_err(Clone::clone).and_then(|captures| {
        let (id, tuple, until) = ends(row).ok_or("nothing can be followed here")?;
        follow(captures, id, &tuple, within(console, row), until, FOLLOWED).map_err(|e| e.to_string())
    });
    html! {
        @match told {
            Err(e) => p.warn { (clean(&e)) },
            Ok(all) => {
                @if all.is_empty() { p.soft { "Nothing." } }
                @for s in &all {
                    div.said class=(if s.from == Direction::Orig { "orig" } else { "resp" }) {
                        p.soft { (if s.from == Direction::Orig { "originator" } else { "responder" }) ", packet " a href={ "/packet/" (s.packet) } { (s.packet) } ", " (full(s.ts)) @if s.missing > 0 { ": " (human_count(s.missing)) " bytes are missing" } }
                        @if !s.bytes.is_empty() { pre { (text(&s.bytes)) } }
                    }
                }
            }
        }
    }
}

/// Bytes as text: what is no printable ASCII becomes a point, lines stay lines.
fn text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .enumerate()
        .filter(|(i, b)| **b != b'\r' || bytes.get(i + 1) != Some(&b'\n'))
        .map(|(_, b)| match b {
            b'\n' => '\n',
            b'\t' => ' ',
            0x20..=0x7e => char::from(*b),
            _ => '·',
        })
        .collect()
}

/// One packet: hexadecimal and text, its payload marked if it proves something.
pub fn packet(console: &Console, id: &str) -> Reply {
    let Some(wanted) = PacketId::parse(id) else {
        return Reply::Wrong(StatusCode::NOT_FOUND, format!("{id:?} is no packet"));
    };
    let captures = match &console.captures {
        Ok(captures) => captures,
        Err(e) => return Reply::Wrong(StatusCode::CONFLICT, e.clone()),
    };
    let mut found = None;
    let walked = walk(captures, |frame: &Frame<'_>| {
        if frame.id == wanted {
            let payload =
                frame.packets.last().map(|p| (p.payload_at, p.payload_at + p.payload_captured as usize));
            let ends: Vec<String> = frame
                .packets
                .iter()
                .map(|p| format!("{} {} port {} → {} port {}", p.transport, p.src, p.sport, p.dst, p.dport))
                .collect();
            let bytes = frame.bytes[..frame.bytes.len().min(SHOWN)].to_vec();
            found = Some((frame.ts, frame.original, bytes, payload, ends));
        }
        found.is_none()
    });
    if let Err(e) = walked {
        return Reply::Wrong(StatusCode::CONFLICT, e.to_string());
    }
    let Some((ts, original, bytes, payload, ends)) = found else {
        return Reply::Wrong(StatusCode::NOT_FOUND, format!("the capture has no packet {id}"));
    };
    let proves = proofs(console).remove(&wanted).unwrap_or_default();
    let marked = payload.filter(|_| !proves.is_empty());
    let body = html! {
        h1 { "packet " (id) }
        p { (full(ts)) ", " (original) " bytes on the wire, " (bytes.len()) " captured" }
        @for e in &ends { p.mono { (e) } }
        @for p in &proves { p.warn { "proves " (p) } }
        @if marked.is_some() { p.soft { "The payload, which is what was looked at, is marked." } }
        div.scroll tabindex="0" role="group" aria-label="Bytes" { pre.hex { (hex(&bytes, marked)) } }
    };
    Reply::Page(page(console, &format!("packet {id}"), &body))
}

/// Sixteen bytes a line: offset, hexadecimal, text; bytes of `marked` stand out.
fn hex(bytes: &[u8], marked: Option<(usize, usize)>) -> Markup {
    let is = |at: usize| marked.is_some_and(|(a, b)| (a..b).contains(&at));
    html! {
        @for (row, line) in bytes.chunks(16).enumerate() {
            span.off { (format!("{:06x}  ", row * 16)) }
            @for (i, b) in line.iter().enumerate() {
                @if is(row * 16 + i) { mark { (format!("{b:02x}")) } } @else { (format!("{b:02x}")) }
                (if i == 7 { "  " } else { " " })
            }
            (" ".repeat((16 - line.len()) * 3 + usize::from(line.len() < 8) + 1))
            @for (i, b) in line.iter().enumerate() {
                @let c = if (0x20..=0x7e).contains(b) { char::from(*b) } else { '·' };
                @if is(row * 16 + i) { mark { (c) } } @else { (c) }
            }
            "\n"
        }
    }
}
