//! What is said of a run as a whole, in the form that reports take.

use record::Anomaly;
use report::{ActivityLine, CaptureLine, InputLine, OutsideFlows, ServiceLine};
use verdict::Calibration;

use crate::activity::{Activity, Group};
use crate::run::Outcome;

/// The version of the form of configurations.
pub const CONFIG_VERSION: u32 = 2;

/// Forgotten flows and hosts, in percent of all flows, beyond which it is said that too much was lost, where nobody says how many.
pub const MAX_LOSS_PERCENT: f64 = 1.0;

/// What an answer is worth, which the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Everything was read and judged.
    Whole,
    /// Not everything could be read.
    Partial,
    /// More was forgotten for want of memory than may be.
    Lossy,
}

/// What an answer is worth; `most` percent of the flows may be forgotten.
pub fn worth(capture: &CaptureLine, outcome: &Outcome, most: f64) -> Worth {
    let (tcp, udp, other) = outcome.health.flows;
    let lost = outcome.health.anomalies.of(Anomaly::FlowEvicted) + outcome.hosts_forgotten;
    if !outcome.is_complete() || capture.accounts.nothing_followed() {
        Worth::Partial
    } else if lost as f64 > (tcp + udp + other) as f64 * most / 100.0 {
        Worth::Lossy
    } else {
        Worth::Whole
    }
}

/// What is said of the capture as a whole.
pub fn capture_line(outcome: &Outcome, hashed: bool) -> CaptureLine {
    let inputs = outcome
        .inputs
        .iter()
        .map(|i| InputLine {
            path: i.path.clone(),
            absolute: i
                .size
                .filter(|_| hashed)
                .and_then(|_| std::path::absolute(&i.path).ok())
                .map(|p| p.display().to_string()),
            size: i.size,
            sha256: i.sha256.clone(),
            log: i.log.clone(),
        })
        .collect();
    CaptureLine {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: CaptureLine::SCHEMA,
        inputs,
        complete: outcome.is_complete(),
        failures: outcome.failures.clone(),
        notices: outcome.notices.clone(),
        home: outcome.home.clone(),
        home_chosen: outcome.home_chosen.clone(),
        outside_flows: OutsideFlows {
            flows: outcome.outside.flows,
            of: outcome.outside.of,
            is_much: outcome.outside.is_much(),
            advice: outcome.outside.advice().to_owned(),
        },
        hosts_forgotten: outcome.hosts_forgotten,
        activity: activity_line(&outcome.activity),
        services: outcome
            .activity
            .services()
            .into_iter()
            .map(|(s, v)| ServiceLine {
                service: s.name().to_owned(),
                flows: v.flows,
                out: v.out,
                back: v.back,
            })
            .collect(),
        calibration: Calibration::in_use().source(),
        shares: outcome.shares,
        segments_apart: outcome.segments_apart,
        prior_db: outcome.prior.db(),
        ..CaptureLine::default()
    }
    .with_health(&outcome.health)
    .with_hosts(&outcome.stories)
}

fn activity_line(a: &Activity) -> ActivityLine {
    let (start, width, columns) = a.columns();
    ActivityLine {
        start,
        column_s: width.as_secs(),
        groups: Group::ALL.iter().map(|g| g.name().to_owned()).collect(),
        bytes: columns.iter().map(|c| c.to_vec()).collect(),
    }
}
