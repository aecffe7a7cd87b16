//! ## What it sees
//! A well-known port whose traffic, by content, is another protocol or none that is known.
//!
//! ## Why it matters
//! Firewalls let well-known ports pass; a bot uses them for its own protocol (ATT&CK T1571, T1001.003).
//!
//! ## How it decides
//! The flow's beginning was seen, both sides spoke, nothing is missing at its front, and the content is another protocol than
//! the port's or opaque: no known protocol, and the first payload is exempt by none of: set bits per byte outside the
//! band of random data, six printable bytes at the start, more than half printable, more than 20 printable in a row, a
//! start like TLS or HTTP. Suppressed if a TLS flow to the same address and port lies within 5 min, and where a server greeted a
//! host that was scanning within ten: who knocks at many doors hears what lives there (IRC excepted, by which scanners are led).
//!
//! ## What else looks like this
//! Obfuscated proxies, tunnels, remote-help tools and file sharing on port 443. Weak alone, by design.
//!
//! ## Blind spots
//! A bot that speaks the port's protocol.
//!
//! ## Options
//! `tls_near` (5m), `scan_near` (10m).
//!
//! ## References
//! Wu et al., "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX Security 2023.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use record::{Conn, ConnPhase, Direction, Evidence, Record, Role, Service, Stage, Timestamp, Transport};
use serde::{Deserialize, Serialize};

use crate::context::Fired;
use crate::{
    About, Alike, Behaviour, Context, Excuse, Fire, GradeWorth, Honest, HostState, States, Traffic, Wants,
};

/// TLS flows remembered of one host.
const MAX_TLS: usize = 256;
/// Remotes told of one host.
const MAX_TOLD: usize = 64;

/// When to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A TLS flow to the same address and port within this time explains it (*assumed*).
    #[serde(with = "humantime_serde")]
    pub tls_near: Duration,
    /// A scan of the host's within this time explains who greets it (*assumed*).
    #[serde(with = "humantime_serde")]
    pub scan_near: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tls_near: Duration::from_mins(5), scan_near: Duration::from_mins(10) }
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    tls: VecDeque<(Timestamp, IpAddr, u16)>,
    reported: Vec<(IpAddr, u16)>,
}

/// The detector.
pub struct Watcher {
    settings: Settings,
}

impl Watcher {
    /// Watches every host.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Whether the host was knocking at many doors.
    fn is_scanning(&self, fired: &Fired, at: Timestamp) -> bool {
        ["horizontal_scan", "vertical_scan"].iter().any(|scan| fired.near(scan, at, self.settings.scan_near))
    }
}

/// What may be spoken on a port; `None` if the port is nobody's.
fn expected(transport: Transport, port: u16) -> Option<&'static [Service]> {
    use Service as S;
    Some(match (transport, port) {
        (Transport::Tcp, 21) => &[S::Ftp, S::Tls],
        (Transport::Tcp, 22) => &[S::Ssh],
        (Transport::Tcp, 25) => &[S::Smtp, S::Tls],
        (Transport::Tcp, 53) => &[S::Dns, S::Tls],
        (Transport::Tcp, 80) => &[S::Http, S::Http2, S::Rtmp, S::Rtsp],
        (Transport::Tcp, 110) => &[S::Pop3, S::Tls],
        (Transport::Tcp, 143) => &[S::Imap, S::Tls],
        (Transport::Tcp, 443) => &[S::Tls, S::Ssl2, S::Http, S::Http2],
        (Transport::Tcp, 993 | 995 | 465) => &[S::Tls, S::Imap, S::Pop3, S::Smtp],
        (Transport::Udp, 53) => &[S::Dns],
        (Transport::Udp, 123) => &[S::Ntp],
        (Transport::Udp, 443) => &[S::Quic, S::Dtls, S::Stun],
        _ => return None,
    })
}

/// The content of a finished flow contradicts its port: gives what it is instead.
pub(crate) fn imposter(c: &Conn) -> Option<Service> {
    let expected = expected(c.head.tuple.transport, c.head.tuple.resp.port)?;
    let whole = c.start_seen && c.packets[0] > 0 && c.packets[1] > 0 && c.missed_bytes == [0, 0];
    let spoke = c.first_payload[0].is_some() && c.first_payload[1].is_some();
    if !whole || !spoke || expected.contains(&c.service) {
        return None;
    }
    let first = c.first_speaker.unwrap_or(Direction::Orig);
    match c.service {
        Service::Opaque => c.opaque_first(first).then_some(Service::Opaque),
        s => s.is_recognised().then_some(s),
    }
}

impl Behaviour for Watcher {
    type State = Host;
    const ABOUT: About = About {
        alike: &[
            Alike::to(Honest::Tunnel),
            Alike::to(Honest::Calls),
            Alike::to(Honest::Device),
            Alike::to(Honest::Inventory),
            Alike::to(Honest::Administration),
        ],
        needs: &[Traffic::Tcp],
        excuses: &[Excuse::Role(&[Role::P2pUser], 0.3), Excuse::Role(&[Role::VpnUser], 0.3)],
        ..About::new(Stage::Command, &["T1571", "T1001.003"], &[GradeWorth::base("imposter", 3.0)])
    };

    fn wants(&self) -> Wants {
        Wants::CLOSED.and(Wants::OPEN).and(Wants::OUTBOUND)
    }

    fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
        let Record::Conn(c) = record else { return };
        let Some(host) = context.outbound() else { return };
        let (remote, port) = (c.head.tuple.resp.ip, c.head.tuple.resp.port);
        if c.service == Service::Tls && c.phase != ConnPhase::Interim {
            let state = states.of(host, context.now);
            state.tls.push_back((c.head.ts, remote, port));
            if state.tls.len() > MAX_TLS {
                state.tls.pop_front();
            }
        }
        if c.phase != ConnPhase::Closed {
            return;
        }
        let Some(instead) = imposter(c) else { return };
        let greeted =
            c.first_speaker == Some(Direction::Resp) && !matches!(instead, Service::Opaque | Service::Irc);
        if greeted && states.card(host).is_some_and(|card| self.is_scanning(&card.fired, c.head.ts)) {
            return;
        }
        let state = states.of(host, context.now);
        let explained = state.tls.iter().any(|(t, ip, p)| {
            (*ip, *p) == (remote, port)
                && t.0.abs_diff(c.head.ts.0) <= self.settings.tls_near.as_nanos() as u64
        });
        if explained || state.reported.len() >= MAX_TOLD || state.reported.contains(&(remote, port)) {
            return;
        }
        state.reported.push((remote, port));
        context.fire(Fire {
            host,
            key: "imposter".into(),
            grades: vec![("imposter", 1)],
            started: c.head.ts,
            value: state.reported.len() as f64,
            threshold: 1.0,
            unit: "remotes with another protocol than the port's",
            source: "Wu et al. 2023, exemptions Ex1–Ex5",
            packets: c.key_packets.to_vec(),
            flows: vec![c.head.flow],
            remotes: vec![remote],
            facts: vec![
                ("port", u64::from(port).into()),
                ("is", instead.name().into()),
                ("first_lengths", c.first_lengths.iter().map(ToString::to_string).collect::<Vec<_>>().into()),
            ],
        });
    }

    fn sentence(e: &Evidence) -> String {
        let is = match e.text("is") {
            "opaque" => "something of no known protocol",
            known => known,
        };
        format!("spoke {is} with {} on port {}, where another protocol belongs", e.remote(), e.count("port"))
    }
}

crate::held!(Host: tls, reported);

impl HostState for Host {
    fn turn_day(&mut self) {
        self.reported.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn flow(port: u16, service: Service) -> Conn {
        let mut c = conn(10.0, Transport::Tcp, REMOTE, port);
        c.service = service;
        c.first_payload = [payload(&random(60, 1)), payload(&random(60, 2))];
        c.first_speaker = Some(Direction::Orig);
        c
    }

    fn fires(c: Conn) -> bool {
        let mut b = Bench::new("port_imposter", Watcher::new(Settings::default()));
        b.feed(record(c), 12.0);
        !b.evidence.is_empty()
    }

    #[test]
    fn who_greets_a_scanner_is_what_the_scan_found() {
        let near = |service, first, scanned: f64| {
            let mut b = Bench::new("port_imposter", Watcher::new(Settings::default()));
            b.fired(Stage::Act, "horizontal_scan", scanned, scanned + 5.0);
            let mut c = flow(443, service);
            c.head.ts = at(1000.0);
            c.first_speaker = Some(first);
            b.feed(record(c), 1002.0);
            !b.evidence.is_empty()
        };
        assert!(!near(Service::Ssh, Direction::Resp, 900.0));
        assert!(near(Service::Ssh, Direction::Resp, 100.0), "long ago");
        assert!(near(Service::Ssh, Direction::Orig, 900.0), "who speaks first was not greeted");
        assert!(near(Service::Irc, Direction::Resp, 900.0) && near(Service::Opaque, Direction::Resp, 900.0));
    }

    #[test]
    fn another_protocol_or_none_fires_and_the_right_one_does_not() {
        for (port, service, fired) in [
            (443, Service::Opaque, true),
            (443, Service::Ssh, true),
            (443, Service::Tls, false),
            (80, Service::Irc, true),
            (80, Service::Http, false),
            (25, Service::Unrecognised, false),
            (4711, Service::Opaque, false),
        ] {
            assert_eq!(fires(flow(port, service)), fired, "{port} {service}");
        }
    }

    #[test]
    fn what_was_not_seen_whole_is_not_judged() {
        let mut late = flow(443, Service::Opaque);
        late.start_seen = false;
        let mut holed = flow(443, Service::Opaque);
        holed.missed_bytes = [0, 1];
        let mut silent = flow(443, Service::Opaque);
        silent.first_payload[1] = None;
        assert!(!fires(late) && !fires(holed) && !fires(silent));
    }

    #[test]
    fn tls_to_the_same_place_explains_it() {
        let mut b = Bench::new("port_imposter", Watcher::new(Settings::default()));
        let mut tls = flow(443, Service::Tls);
        tls.head.ts = at(310.0);
        b.feed(record(tls), 5.0);
        b.feed(record(flow(443, Service::Opaque)), 12.0);
        assert!(b.evidence.is_empty(), "300 s away");
        let mut b = Bench::new("port_imposter", Watcher::new(Settings::default()));
        let mut tls = flow(443, Service::Tls);
        tls.head.ts = at(311.0);
        b.feed(record(tls), 5.0);
        b.feed(record(flow(443, Service::Opaque)), 12.0);
        assert_eq!(b.evidence.len(), 1, "301 s away");
    }
}
