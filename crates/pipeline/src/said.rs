//! What is said of a run as a whole, in the form that reports take.

use report::{ActivityLine, CaptureLine, InputLine, OutsideFlows, ServiceLine};
use verdict::Calibration;

use crate::activity::{Activity, Group};
use crate::run::Outcome;

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
