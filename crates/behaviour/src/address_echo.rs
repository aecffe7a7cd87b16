//! ## What it sees
//! A program asks a what-is-my-address service under which address the world sees its host.
//!
//! ## Why it matters
//! Bots that steal, send spam or lie behind a translated address ask it before they report home (ATT&CK T1016).
//!
//! ## How it decides
//! An HTTP request or a TLS handshake to a host whose only business is to echo the caller's address, by a shipped list. It counts
//! more when the program claims to be a browser without sending what browsers send, or says nothing about itself.
//! A browser that names the page that sent it does not count.
//!
//! ## What else looks like this
//! Dynamic-DNS clients, routers, torrent clients, games, administrators' scripts, people.
//!
//! ## Blind spots
//! Services that are not on the list; STUN; asking the controller itself.
//!
//! ## Options
//! None.
//!
//! ## References
//! ATT&CK T1016; E. Cooke et al., "The Zombie Roundup", SRUTI 2005.

use std::net::IpAddr;

use record::{FlowId, PacketId, Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::requests::{self, Maker};
use crate::{Detector, Fire, Scene, Wants, domains};

/// There is nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

/// The detector.
pub struct Watcher;

impl Watcher {
    /// Keeps nothing, of however many hosts.
    pub const fn new(_settings: Settings, _hosts: usize) -> Self {
        Self
    }
}

struct Asked<'a> {
    host: IpAddr,
    remote: IpAddr,
    name: &'a str,
    grades: Vec<(&'static str, u32)>,
    ts: Timestamp,
    flow: FlowId,
    packets: &'a [PacketId],
}

fn fire(asked: Asked<'_>, scene: &mut Scene<'_>) {
    scene.fire(Fire {
        host: asked.host,
        key: "asked".into(),
        grades: asked.grades,
        started: asked.ts,
        value: 1.0,
        threshold: 1.0,
        unit: "requests to an address echo",
        source: "assumed",
        packets: asked.packets.to_vec(),
        flows: vec![asked.flow],
        remotes: vec![asked.remote],
        facts: vec![("service", asked.name.into())],
    });
}

impl Detector for Watcher {
    fn wants(&self) -> Wants {
        Wants::HTTP.and(Wants::TLS).and(Wants::OUTBOUND)
    }

    fn observe(&mut self, record: &Record, scene: &mut Scene<'_>) {
        let Some(host) = scene.outbound() else { return };
        match record {
            Record::Http(h) => {
                let Some(name) = h.host.as_deref().filter(|n| domains::is_address_echo(n)) else { return };
                let grades = match requests::maker(h) {
                    Maker::Browser if h.referer.is_some() => return,
                    Maker::Browser | Maker::Program => vec![("asked", 1)],
                    Maker::Nameless | Maker::FalseBrowser => vec![("asked", 1), ("unnamed_program", 1)],
                };
                let (remote, ts, flow) = (h.tuple.resp.ip, h.ts, h.flow);
                fire(Asked { host, remote, name, grades, ts, flow, packets: &h.packets }, scene);
            }
            Record::Tls(t) => {
                let Some(name) = t.sni.as_deref().filter(|n| domains::is_address_echo(n)) else { return };
                let (remote, ts, flow) = (t.tuple.resp.ip, t.ts, t.flow);
                let grades = vec![("asked", 1)];
                fire(Asked { host, remote, name, grades, ts, flow, packets: &t.packets }, scene);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use record::RequestHeaders;

    fn run(record: Record) -> Vec<String> {
        let mut b = Bench::new("address_echo", Watcher::new(Settings {}, 10));
        b.feed(record, 11.0);
        b.grades()
    }

    #[test]
    fn who_asks_for_its_own_address() {
        let mut h = http(10.0, REMOTE, "GET", Some("api.ipify.org"), "/");
        assert_eq!(run(Record::Http(Box::new(h.clone()))), ["asked", "unnamed_program"]);
        h.user_agent = Some("curl/8.0".into());
        assert_eq!(run(Record::Http(Box::new(h))), ["asked"]);
        assert_eq!(run(tls(10.0, REMOTE, "api.ipify.org")), ["asked"]);
    }

    #[test]
    fn a_person_on_a_page_is_not_meant() {
        let mut h = http(10.0, REMOTE, "GET", Some("api.ipify.org"), "/");
        h.user_agent = Some("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".into());
        h.headers.add(RequestHeaders::LANGUAGE);
        h.referer = Some("http://example.com/".into());
        assert!(run(Record::Http(Box::new(h))).is_empty());
    }

    #[test]
    fn other_names_are_nothing() {
        assert!(run(tls(10.0, REMOTE, "ipify.example.com")).is_empty());
        assert!(
            run(Record::Http(Box::new(http(10.0, REMOTE, "GET", Some("example.com"), "/ip")))).is_empty()
        );
    }
}
