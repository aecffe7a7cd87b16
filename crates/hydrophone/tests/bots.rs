//! Every behaviour of other bots has a scenario that shows it, and what is said then.

mod common;

use common::{analyse_script, host};
use testkit::{BOT, adversary, bots, shares};

#[test]
fn every_scenario_shows_its_behaviour_and_not_another_familys() {
    for (behaviour, make) in bots::ALL {
        let lines = analyse_script(make());
        let bot = host(&lines, BOT);
        let fired: Vec<&str> = bot["evidence"]
            .as_array()
            .expect("evidence")
            .iter()
            .map(|e| e["behaviour"].as_str().expect("a name"))
            .collect();
        assert!(fired.contains(behaviour), "{behaviour}: {fired:?}");
        for kraken in ["kraken_frames", "smtp_probe", "spam_run", "spam_update_cycle"] {
            assert!(!fired.contains(&kraken), "{behaviour}: {fired:?}");
        }
        let verdict = bot["verdict"].as_str().expect("a verdict");
        assert!(
            !matches!(verdict, "likely" | "infected"),
            "one behaviour alone is no bot: {behaviour} {verdict}"
        );
    }
}

#[test]
fn every_behaviour_beyond_the_study_has_a_scenario() {
    let study = [
        "smtp_probe",
        "front_pages",
        "generated_names",
        "kraken_frames",
        "peer_walk",
        "port_imposter",
        "same_remote_chain",
        "module_download",
        "mail_exchanger_lookups",
        "spam_run",
        "spam_update_cycle",
        "story_order",
        "quick_succession",
        // It needs a list of the user's: `tests/knowledge.rs`.
        "known_indicator",
        // It needs the user's declarations: `tests/knowledge.rs`.
        "role_deviation",
        // They need another sensor: `tests/logs.rs`.
        "sensor_alert",
        "delivery_alert",
        "attack_alert",
    ];
    for b in behaviour::CATALOGUE {
        let has = bots::ALL.iter().any(|(name, _)| *name == b.name);
        assert_eq!(has, !study.contains(&b.name), "{}", b.name);
    }
}

#[test]
fn the_weakest_strength_of_each_mutation_is_still_found() {
    for m in adversary::ALL {
        let lines = analyse_script((m.make)(m.strengths[0]));
        let verdict = host(&lines, BOT)["verdict"].as_str().expect("a verdict").to_owned();
        assert!(!matches!(verdict.as_str(), "quiet" | "inconclusive"), "{}: {verdict}", m.name);
    }
}

#[test]
fn who_administers_and_who_copies_is_no_bot() {
    let fired = |script: testkit::Script| {
        let lines = analyse_script(script);
        let console = host(&lines, shares::CONSOLE);
        let verdict = console["verdict"].as_str().expect("a verdict").to_owned();
        assert!(matches!(verdict.as_str(), "quiet" | "inconclusive"), "{console}");
        let evidence = console["evidence"].as_array().expect("evidence").iter();
        let lateral = evidence.filter(|e| e["behaviour"] == "lateral_movement");
        lateral.map(|e| e["grades"].to_string()).collect::<Vec<_>>().join(" ")
    };
    let console = fired(shares::console());
    assert!(console.contains("pushed_to_many") && !console.contains("passed_on"), "{console}");
    let [copies, checks] = shares::copies_and_checks();
    assert!(fired(copies).is_empty(), "a program on a share is nothing by itself");
    let checks = fired(checks);
    assert!(checks.contains("several_broken_in") && !checks.contains("call_back"), "{checks}");
}
