//! What alerts of other sensors speak of, and the bets on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::OnceLock;

use record::{Alert, Evidence, PacketId, Timestamp, clean, defang};
use serde::{Deserialize, Serialize};

use crate::{Context, Fire, HostState, States};

/// The mapping as it is built in.
const BUILT_IN: &str = include_str!("../lists/alerts.tsv");
/// Rules remembered of one host and day, and remotes and packets told of.
const MAX_RULES: usize = 64;

/// What an alert speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaks {
    /// That somebody commands the host.
    Control,
    /// That something was delivered to it.
    Delivery,
    /// That it attacks others.
    Attack,
    /// Nothing that a bot does.
    Nothing,
}

/// When to fire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What categories, or signatures that begin so, speak of, before the built-in mapping is asked.
    pub means: BTreeMap<String, Speaks>,
}

fn built_in() -> &'static [(&'static str, &'static str, Speaks)] {
    static MAPPING: OnceLock<Vec<(&str, &str, Speaks)>> = OnceLock::new();
    MAPPING.get_or_init(|| {
        let lines = BUILT_IN.lines().filter(|l| !l.starts_with('#'));
        let row = |line: &'static str| {
            let mut parts = line.split('\t');
            let (sensor, what) = (parts.next()?, parts.next()?);
            let speaks = match parts.next()? {
                "control" => Speaks::Control,
                "delivery" => Speaks::Delivery,
                "attack" => Speaks::Attack,
                _ => Speaks::Nothing,
            };
            Some((sensor, what, speaks))
        };
        lines.filter_map(row).collect()
    })
}

impl Settings {
    /// What an alert speaks of.
    fn speaks(&self, alert: &Alert) -> Speaks {
        let own = |(what, _): &(&String, &Speaks)| {
            alert.category.eq_ignore_ascii_case(what) || alert.signature.starts_with(what.as_str())
        };
        if let Some((_, speaks)) = self.means.iter().find(own) {
            return *speaks;
        }
        let fits = |what: &str| match what.strip_prefix('^') {
            Some(begins) => alert.signature.starts_with(begins),
            None => alert.category.eq_ignore_ascii_case(what),
        };
        let found = built_in().iter().find(|(sensor, what, _)| *sensor == alert.sensor && fits(what));
        found.map_or(Speaks::Nothing, |(.., speaks)| *speaks)
    }
}

/// What is remembered of one host.
#[derive(Default, Serialize, Deserialize)]
pub struct Host {
    /// Rules that were met today, with the first packet of each.
    rules: BTreeMap<String, (Timestamp, PacketId)>,
    remotes: BTreeSet<IpAddr>,
}

crate::held!(Host: rules, remotes);

impl HostState for Host {
    fn turn_day(&mut self) {
        *self = Self::default();
    }
}

/// The local host that an alert is about: who opened the flow to somewhere else; an attacker whomever it attacks.
fn host_of(alert: &Alert, speaks: Speaks, context: &Context<'_>) -> Option<IpAddr> {
    let home = context.network.home();
    let (orig, resp) = (alert.head.tuple.orig.ip, alert.head.tuple.resp.ip);
    (home.contains(orig) && (speaks == Speaks::Attack || home.is_external(resp))).then_some(orig)
}

/// Takes an alert that speaks of this: once for each rule and day.
pub fn observe(
    alert: &Alert,
    of: Speaks,
    settings: &Settings,
    states: &mut States<'_, Host>,
    context: &mut Context<'_>,
) {
    if settings.speaks(alert) != of {
        return;
    }
    let Some(host) = host_of(alert, of, context) else { return };
    let state = states.of(host, context.now);
    let packet = alert.packets.first().copied().unwrap_or_default();
    if state.rules.contains_key(&alert.signature) || state.rules.len() >= MAX_RULES {
        return;
    }
    state.rules.insert(alert.signature.clone(), (alert.head.ts, packet));
    if state.remotes.len() < MAX_RULES {
        state.remotes.insert(alert.head.tuple.resp.ip);
    }
    let rules = state.rules.len();
    let mut grades = vec![(if alert.severity > 1 { "doubtful" } else { "alert" }, 1)];
    if rules > 1 {
        grades.push(("several_rules", 1));
    }
    context.fire(Fire {
        host,
        key: "alert".into(),
        grades,
        started: state.rules.values().map(|(ts, _)| *ts).min().unwrap_or(alert.head.ts),
        value: rules as f64,
        threshold: 1.0,
        unit: "rules of another sensor",
        source: "the sensor",
        packets: state.rules.values().map(|(_, packet)| *packet).collect(),
        flows: vec![alert.head.flow],
        remotes: state.remotes.iter().copied().collect(),
        facts: vec![
            ("sensor", alert.sensor.to_string().into()),
            ("signature", alert.signature.clone().into()),
            ("rule", alert.rule.unwrap_or(0).into()),
            ("category", alert.category.clone().into()),
            ("severity", u64::from(alert.severity).into()),
        ],
    });
}

/// What evidence of an alert says.
pub fn sentence(e: &Evidence) -> String {
    let sensor = match e.text("sensor") {
        "suricata" => "Suricata",
        "zeek" => "Zeek",
        other => other,
    };
    let more =
        if e.value > 1.0 { format!(", and {} more of its rules", e.value - 1.0) } else { String::new() };
    format!(
        "{} says of its flow with {}: {}{more}",
        clean(sensor),
        e.remote(),
        defang(&clean(e.text("signature")))
    )
}

/// The detector of alerts that speak of one thing: its file is its manual page and this.
macro_rules! alerts {
    ($stage:ident, $speaks:ident, $technique:literal, [$($honest:ident),*]) => {
        use record::{Evidence, Record, Role, Stage};

        pub use $crate::alerts::Settings;
        use $crate::alerts::{self, Host, Speaks};
        use $crate::{About, Alike, Behaviour, Context, Excuse, GradeWorth, Honest, MAIL, States, Traffic, Wants};

        /// The detector.
        pub struct Watcher {
            settings: Settings,
        }

        impl Watcher {
            /// Watches every host.
            pub fn new(settings: Settings) -> Self {
                Self { settings }
            }
        }

        impl Behaviour for Watcher {
            type State = Host;
            const ABOUT: About = About {
                alike: &[$(Alike::to(Honest::$honest)),*],
                needs: &[Traffic::Alerts],
                excuses: &[Excuse::Role(&[Role::Resolver, Role::Nat], 0.3), Excuse::Role(MAIL, 0.3)],
                ..About::new(
                    Stage::$stage,
                    &[$technique],
                    &[
                        GradeWorth::base("alert", 8.0).key("alert"),
                        GradeWorth::base("doubtful", 3.0).key("alert").weak(),
                        GradeWorth::add("several_rules", 3.0),
                    ],
                )
            };

            fn wants(&self) -> Wants {
                Wants::OTHER
            }

            fn observe(&self, record: &Record, states: &mut States<'_, Host>, context: &mut Context<'_>) {
                if let Record::Alert(alert) = record {
                    alerts::observe(alert, Speaks::$speaks, &self.settings, states, context);
                }
            }

            fn sentence(e: &Evidence) -> String {
                alerts::sentence(e)
            }
        }
    };
}
pub(crate) use alerts;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn alert(sensor: &'static str, category: &str, signature: &str, severity: u8) -> Alert {
        Alert {
            head: http(1.0, REMOTE, "GET", None, "/").head,
            sensor: sensor.into(),
            rule: Some(1),
            signature: signature.to_owned(),
            category: category.to_owned(),
            severity,
            packets: vec![PacketId::new(0, 7)],
        }
    }

    #[test]
    fn categories_and_signatures_speak_of_a_stage_or_of_nothing() {
        let settings = Settings::default();
        let says = |s: &'static str, c: &str, signature: &str| settings.speaks(&alert(s, c, signature, 1));
        assert_eq!(
            says("suricata", "A Network Trojan was detected", "ET MALWARE X Checkin"),
            Speaks::Control
        );
        assert_eq!(says("suricata", "Exploit Kit Activity Detected", "ET EXPLOIT_KIT RIG"), Speaks::Delivery);
        assert_eq!(says("suricata", "A Network Trojan was detected", "ET POLICY curl"), Speaks::Nothing);
        assert_eq!(says("suricata", "Misc activity", "Somebody's own rule"), Speaks::Nothing);
        assert_eq!(says("zeek", "Scan::Port_Scan", "10.0.0.5 scanned"), Speaks::Attack);
        assert_eq!(says("zeek", "SSL::Invalid_Server_Cert", "self signed"), Speaks::Nothing);
        let own = Settings { means: BTreeMap::from([("Somebody's own".to_owned(), Speaks::Control)]) };
        assert_eq!(
            own.speaks(&alert("suricata", "Misc activity", "Somebody's own rule", 1)),
            Speaks::Control
        );
        assert!(built_in().len() > 20);
    }
}
