//! The second story: what would this be if it were honest?
//!
//! Every behaviour says which honest kinds it may be taken for, and by which grades it cannot. A kind explains the items that it may have shown; what is
//! left of the level without these is what it does not explain.

use behaviour::{Honest, entry};
use record::{Evidence, Role, Stage};
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, Snapshot};
use crate::roles::RoleSeen;
use crate::story::{Item, ScoredEvidence, Verdict};

/// Alternatives that are told.
const MOST: usize = 3;

/// What a host would be if it were honest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Which kind of host or program.
    pub honest: Honest,
    /// The items that it explains, as behaviour/key, and those that it does not, each with why.
    pub explains: Vec<String>,
    /// See `explains`.
    pub leaves: Vec<Left>,
    /// What was seen that speaks for it.
    pub because: Vec<String>,
    /// What should have been seen and was not.
    pub lacks: Vec<String>,
    /// The level in decibans without what it explains, and the verdict.
    pub left_db: f64,
    /// See `left_db`.
    pub left_verdict: Verdict,
}

/// What an honest kind does not explain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// The item, as behaviour/key.
    pub item: String,
    /// The grade that this kind does not show; none where it does nothing of the sort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<String>,
}

/// Whether an honest kind may have shown an item; else the grade that speaks against it, if the behaviour as such does not.
fn fits(honest: Honest, item: &Item) -> Result<(), Option<String>> {
    let alike = entry(&item.behaviour).and_then(|e| e.about.alike.iter().find(|a| a.honest == honest));
    let Some(alike) = alike else { return Err(None) };
    let told = item.parts.iter().map(|(grade, _)| grade);
    match told.into_iter().find(|g| alike.unless.contains(&g.as_str())) {
        Some(grade) => Err(Some(grade.clone())),
        None => Ok(()),
    }
}

/// The honest kinds that explain most of what stands against a host, best first.
pub fn alternatives(best: &Snapshot, roles: &[RoleSeen], evidence: &[ScoredEvidence]) -> Vec<Alternative> {
    let kinds = Honest::ALL.into_iter().filter_map(|honest| weigh(honest, best, roles, evidence));
    let mut all: Vec<Alternative> = kinds.collect();
    all.sort_by(|a, b| {
        // What should have been seen and was not speaks against a kind; what cannot be seen does not.
        let doubt = |x: &Alternative| (x.because.is_empty(), !x.lacks.is_empty());
        a.left_verdict
            .cmp(&b.left_verdict)
            .then(doubt(a).cmp(&doubt(b)))
            .then(a.left_db.total_cmp(&b.left_db))
    });
    all.truncate(MOST);
    all
}

fn weigh(
    honest: Honest,
    best: &Snapshot,
    roles: &[RoleSeen],
    evidence: &[ScoredEvidence],
) -> Option<Alternative> {
    // How stages lie in time needs two of them that are not explained.
    let own = |stage: &Stage| Stage::STORY.contains(stage);
    let is_left = |i: &&Item| i.payoff_db > 0.0 && fits(honest, i).is_err();
    let left = best.stages.iter().filter(|(s, x)| own(s) && x.items.iter().any(|i| is_left(&i))).count();
    let of_time = |stage: Stage, i: &Item| !own(&stage) || i.behaviour == "quick_succession";
    let explained = |stage: Stage, i: &Item| {
        if of_time(stage, i) && entry(&i.behaviour).is_none_or(|e| e.about.alike.is_empty()) {
            left < 2
        } else {
            fits(honest, i).is_ok()
        }
    };
    let items = || best.stages.iter().flat_map(|(s, x)| x.items.iter().map(move |i| (*s, i)));
    let explains: Vec<String> =
        items().filter(|(s, i)| explained(*s, i) && !of_time(*s, i)).map(|(_, i)| i.name()).collect();
    if explains.is_empty() {
        return None;
    }
    let leaves = items()
        .filter(|(s, i)| !explained(*s, i) && i.payoff_db > 0.0)
        .map(|(_, i)| Left { item: i.name(), grade: fits(honest, i).err().flatten() });
    let leaves = leaves.collect();
    let without = Ledger::without(best, honest.words().to_owned(), explained);
    let seen: Vec<&Evidence> = evidence
        .iter()
        .map(|e| &e.evidence)
        .filter(|e| explains.contains(&format!("{}/{}", e.behaviour, e.key)))
        .collect();
    let mut because: Vec<String> = roles
        .iter()
        .filter(|r| honest.roles().contains(&r.role))
        .map(|r| format!("it is seen to be one: {} ({})", r.role, r.because))
        .collect();
    because.extend(speaks_for(honest, &seen));
    let mut lacks = Vec::new();
    if !honest.roles().is_empty() && because.is_empty() {
        let named: Vec<String> = honest.roles().iter().map(Role::to_string).collect();
        lacks.push(format!("nothing else of it was seen ({})", named.join(", ")));
    }
    Some(Alternative {
        honest,
        explains,
        leaves,
        because,
        lacks,
        left_db: without.level_db,
        left_verdict: without.verdict,
    })
}

/// What the evidence itself says for an honest kind.
fn speaks_for(honest: Honest, seen: &[&Evidence]) -> Vec<String> {
    let mut because = Vec::new();
    let graded = |name: &str| seen.iter().find(|e| e.grades.iter().any(|g| g.name == name));
    match honest {
        Honest::Agent | Honest::Browsing | Honest::Calls | Honest::Tunnel => {
            let shared = seen.iter().filter(|e| e.flag("prevalent")).count();
            if shared > 0 {
                let n = seen.len();
                because.push(format!("other hosts use the remotes of {shared} of these {n} as well"));
            }
        }
        Honest::Administration => {
            if let Some(e) = graded("by_a_tool") {
                because.push(format!("a tool that names itself did it: {}", e.text("user_agent")));
            }
        }
        Honest::Inventory => {
            let inside = |e: &&&Evidence| !e.remotes.is_empty() && e.remotes.iter().all(|r| is_private(*r));
            if seen.iter().any(|e| inside(&e)) {
                because.push("what it looked at has private addresses".to_owned());
            }
        }
        _ => {}
    }
    because
}

fn is_private(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use behaviour::CATALOGUE;
    use record::Timestamp;

    use super::*;
    use crate::ledger::tests::evidence;

    fn seen(behaviour: &'static str, stage: Stage, grades: &[&'static str]) -> Evidence {
        evidence(stage, behaviour, grades[0], grades, 100)
    }

    fn told(seen: &[Evidence], roles: &[RoleSeen]) -> Vec<Alternative> {
        let mut ledger = Ledger::default();
        for e in seen {
            ledger.add(e.clone(), Timestamp::from_secs(0), &[]);
        }
        let best = ledger.best(Timestamp::from_secs(0), Timestamp::from_secs(100), &[]);
        alternatives(&best, roles, &ledger.evidence(&[]))
    }

    #[test]
    fn what_a_kind_explains_is_taken_out_and_the_rest_stays() {
        let scan = seen("horizontal_scan", Stage::Act, &["scan"]);
        let gate = seen("http_control", Stage::Command, &["gate", "generated_name"]);
        let alone = told(std::slice::from_ref(&scan), &[]);
        assert_eq!(alone[0].honest, Honest::Inventory, "{alone:#?}");
        assert!(alone[0].left_db < 0.0 && alone[0].leaves.is_empty());
        let both = told(&[scan, gate], &[]);
        let agent = both.iter().find(|a| a.honest == Honest::Inventory).expect("it is among the best");
        assert!(agent.left_db > alone[0].left_db + 5.0, "the gate stays: {agent:#?}");
        assert_eq!(agent.leaves.len(), 1);
        assert_eq!(agent.leaves[0].grade, None, "an inventory has no gate");
    }

    #[test]
    fn a_grade_that_a_kind_does_not_show_is_named() {
        let gate = seen("http_control", Stage::Command, &["gate_nameless", "generated_name"]);
        assert!(told(&[gate], &[]).is_empty(), "no kind does that");
        let beacon = seen("beacon", Stage::Command, &["clockwork"]);
        let plain = seen("http_control", Stage::Command, &["gate", "wrong_system"]);
        let all = told(&[beacon, plain], &[]);
        let agent = all.iter().find(|a| a.honest == Honest::Agent).expect("it explains the beacon");
        assert_eq!(agent.leaves[0].grade.as_deref(), Some("wrong_system"));
    }

    #[test]
    fn a_kind_that_was_seen_stands_before_one_that_was_not() {
        let beacon = seen("beacon", Stage::Command, &["clockwork"]);
        let first = |roles: &[RoleSeen]| told(std::slice::from_ref(&beacon), roles)[0].clone();
        assert_ne!(first(&[]).honest, Honest::Monitor, "a monitor would have been seen");
        let role =
            RoleSeen { role: Role::Monitor, since: Timestamp::from_secs(0), because: "it checks".into() };
        let seen = first(&[role]);
        assert_eq!((seen.honest, seen.because.len()), (Honest::Monitor, 1));
    }

    #[test]
    fn every_behaviour_names_grades_that_it_has() {
        for b in CATALOGUE {
            for alike in b.about.alike {
                for grade in alike.unless {
                    assert!(b.about.grade(grade).is_some(), "{}: {grade}", b.name);
                }
            }
            let of_time = matches!(b.about.stage, Stage::Order) || b.name == "quick_succession";
            assert!(of_time || !b.about.alike.is_empty(), "{} may be taken for nothing", b.name);
        }
    }
}
