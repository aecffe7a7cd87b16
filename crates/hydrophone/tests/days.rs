//! What a host does every day is bet on once; a verdict stands while what it rests on is seen, and ends a week after.

mod common;

use common::{analyse_script, host};
use serde_json::Value;
use testkit::{BOT, End, Evasion, Script, bots, scenarios};

/// The bot's address where its IPv4 is told over IPv6.
const V6: &str = "fd00::a14:d";

fn scenario(name: &str) -> Script {
    let all = scenarios::ALL.iter().chain(bots::ALL);
    (all.into_iter().find(|(n, _)| *n == name).expect("a scenario").1)()
}

/// The verdict, the level and the evidence of the host in question.
fn judged(script: Script) -> (String, f64, Value) {
    let lines = analyse_script(script);
    let bot = host(&lines, BOT);
    (
        bot["verdict"].as_str().expect("a verdict").to_owned(),
        bot["level_db"].as_f64().expect("a level"),
        bot.clone(),
    )
}

fn days_of(host: &Value, behaviour: &str) -> Vec<String> {
    let mut days: Vec<String> = host["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .filter(|e| e["behaviour"] == behaviour)
        .map(|e| e["ts"].as_str().expect("a time")[..10].to_owned())
        .collect();
    days.dedup();
    days
}

#[test]
fn a_bot_of_six_days_is_told_on_each_and_does_not_climb() {
    let (verdict, level, _) = judged(scenario("kraken-new"));
    assert_eq!(verdict, "infected");
    let (later, after, host) = judged(scenario("kraken-new").on_days(&[0, 1, 2, 3, 4, 5]));
    assert_eq!(later, "infected");
    // What only a longer history shows, as that it calls every day, is bet on when it shows.
    assert!(after <= level + 4.0, "{level} {after} {:#}", host["stages"]);
    for behaviour in ["spam_run", "same_remote_chain", "generated_names"] {
        assert_eq!(days_of(&host, behaviour).len(), 6, "{behaviour}: {:?}", days_of(&host, behaviour));
    }
    // The calendar holds each day with the verdict that stood on it.
    let calendar = host["calendar"].as_array().expect("a calendar");
    let told: Vec<(&str, bool)> = calendar
        .iter()
        .map(|d| (&d["day"].as_str().expect("a day")[8..10], d["verdict"] == "infected"))
        .collect();
    assert_eq!(told, ["08", "09", "10", "11", "12", "13"].map(|d| (d, true)));
    assert!(
        (calendar[0]["level_db"].as_f64().expect("a level") - level).abs() < 0.05,
        "the first is as if it were alone"
    );
    assert_eq!(host["heard"].as_array().map(Vec::len), Some(1), "one span of days: {}", host["heard"]);
    let until = host["reached"]["infected"].as_str().expect("a time")[..10].to_owned();
    assert_eq!(until, host["first"].as_str().expect("a time")[..10], "on the first day");
}

#[test]
fn a_camera_that_calls_every_day_stays_where_it_was() {
    let (verdict, level, _) = judged(bots::camera(1));
    let (later, after, host) = judged(bots::camera(6));
    assert_eq!(later, verdict);
    assert!(after <= level + 0.05, "{level} {after}");
    assert!(days_of(&host, "beacon").len() >= 6, "{:?}", days_of(&host, "beacon"));
}

#[test]
fn a_burst_on_five_days_is_one_habit() {
    let (verdict, level, _) = judged(bots::mx_burst());
    let (later, after, host) = judged(bots::mx_burst().on_days(&[0, 1, 2, 3, 4]));
    assert_eq!((later, after), (verdict, level));
    assert_eq!(days_of(&host, "mail_exchanger_lookups").len(), 5);
}

#[test]
fn a_host_may_sleep_for_two_days() {
    let (verdict, level, host) = judged(scenario("kraken-new").on_days(&[0, 3]));
    assert_eq!(verdict, "infected");
    assert_eq!(level, judged(scenario("kraken-new")).1);
    assert_eq!(host["days"], 2);
    assert_eq!(days_of(&host, "spam_run").len(), 2);
}

#[test]
fn what_a_bot_does_only_later_bets_as_on_the_first_day() {
    let (_, level, _) = judged(scenario("kraken-new"));
    let (verdict, after, _) = judged(bots::honest(0..3).and(scenario("kraken-new").on_days(&[3])));
    assert_eq!(verdict, "infected");
    assert!((level - after).abs() < 0.05, "{level} {after}");
}

#[test]
fn a_bot_that_is_gone_fades_after_a_week() {
    let (stands, ..) = judged(scenario("kraken-new").and(bots::honest(1..7)));
    assert_eq!(stands, "infected");
    let (ended, level, host) = judged(scenario("kraken-new").and(bots::honest(1..11)));
    assert_eq!(ended, "quiet");
    assert!(level < 10.0 + f64::EPSILON || host["carried_db"].as_f64() > Some(0.0), "{level}");
    let note = host["notes"].as_array().expect("notes").iter().find(|n| n["note"] == "ended");
    assert_eq!(note.expect("it is told")["verdict"], "infected");
    assert!(host["reached"]["infected"].is_string(), "and when it was reached");
}

/// The same script by another machine at the same address.
fn by_another_machine(script: Script) -> Script {
    let (mine, other) = ([2, 0, 10, 20, 0, 13], [2, 0, 0xaa, 0xbb, 0xcc, 1]);
    script.retold(|frame| {
        let mut frame = frame.to_vec();
        for at in [0, 6] {
            if frame[at..at + 6] == mine {
                frame[at..at + 6].copy_from_slice(&other);
            }
        }
        vec![frame]
    })
}

/// A connection that the first machine leaves open, and that is given up only when the other one has the address.
fn left_open() -> Script {
    let mut script = Script::new(1_207_645_200, 9);
    let host = script.client(BOT);
    let _ = script.tcp(86_340.0, host, End::new("198.18.60.26", 443)).open().client(b"hello").server(b"you");
    script
}

#[test]
fn two_machines_that_had_one_address_are_not_added_up() {
    let (gate, shell) = (scenario("http_control").and(left_open()), || scenario("payload_download"));
    let (_, alone, _) = judged(shell());
    let (_, both, one) = judged(gate.and(shell().on_days(&[1])));
    assert!(one["changed_hands"].is_null());
    let first = scenario("http_control").and(left_open());
    let lines = analyse_script(first.and(by_another_machine(shell()).on_days(&[1])));
    let told: Vec<&Value> = lines.iter().filter(|l| l["host"] == BOT).collect();
    assert_eq!(told.len(), 2, "each machine has its own story");
    let level = |l: &Value| l["level_db"].as_f64().expect("a level");
    assert!(
        told.iter().all(|l| level(l) < both),
        "{both} {:?}",
        told.iter().map(|l| level(l)).collect::<Vec<_>>()
    );
    let later = told.iter().find(|l| l["since"].is_string()).expect("the later one");
    let before = told.iter().find(|l| l["until"].is_string()).expect("the one before");
    assert!((level(later) - alone).abs() < 0.05, "as if the other had never been: {alone}");
    assert_eq!(later["since"], before["until"]);
    let flows = |l: &Value| l["flows"].as_u64().expect("a count");
    assert_eq!(flows(later) + flows(before), flows(&one), "each flow is one machine's");
    assert_eq!(later["changed_hands"][0]["to"], "02:00:aa:bb:cc:01");
    let behaviours = |l: &Value, name: &str| {
        l["evidence"].as_array().expect("evidence").iter().any(|e| e["behaviour"] == name)
    };
    assert!(behaviours(before, "http_control") && !behaviours(later, "http_control"));
}

/// The bot of a scenario, who also has an IPv6 address, and on the next day another lease with which it tries port 25.
fn machine_of_three_addresses() -> Script {
    let mut asks = Script::new(1_207_645_200, 7);
    for i in 0..4 {
        let resolver = End::new("10.20.0.1", 53);
        asks.udp(f64::from(i), End::new(BOT, 50_000 + i), resolver, b"no question");
    }
    let mut later = Script::new(1_207_645_200, 8);
    testkit::office::dhcp(&mut later, 86_390.0, "10.20.0.77", "pc-13");
    for i in 0..3 {
        let host = later.client("10.20.0.77");
        later.tcp(86_400.0 + 30.0 * f64::from(i), host, End::new("198.18.60.25", 25)).unanswered(3);
    }
    let mine = [2, 0, 10, 20, 0, 13];
    let later = later.retold(|frame| {
        let mut frame = frame.to_vec();
        if frame[6..12] == [2, 0, 10, 20, 0, 77] {
            frame[6..12].copy_from_slice(&mine);
        }
        if frame[23] == 17 {
            // In DHCP too, without a checksum.
            frame[70..76].copy_from_slice(&mine);
            frame[40..42].fill(0);
        }
        vec![frame]
    });
    scenario("http_control").and(Evasion::Ipv6Extensions.apply(asks)).and(later)
}

#[test]
fn a_machine_with_several_addresses_is_told_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("one.pcapng"), machine_of_three_addresses().pcapng()).expect("written");
    let lines = common::read_json(&[&path("one.pcapng")]);
    let [bot, v6, later] = [BOT, V6, "10.20.0.77"].map(|a| host(&lines, a));
    assert!(bot["part_of"].is_null());
    assert_eq!([&v6["part_of"], &later["part_of"]], [BOT, BOT], "{:#} {:#}", v6["same_as"], later["same_as"]);
    let level = |h: &Value| h["level_db"].as_f64().expect("a level");
    assert_eq!(
        level(bot),
        level(host(&analyse_script(scenario("http_control")), BOT)),
        "nothing is added up"
    );
    assert!(level(bot) > level(later));

    let (_, told, _) = common::run(&["read", "--quiet", &path("one.pcapng")]);
    let blocks = told.lines().filter(|l| l.contains(BOT) && l.contains(" dB")).count();
    assert_eq!(blocks, 1, "{told}");
    assert!(told.contains(&format!("the same machine: {V6}, ")), "{told}");
    assert!(told.contains("  as 10.20.0.77, ") && told.contains("port 25"), "{told}");
    let hosts = lines.iter().filter(|l| l["type"] == "host" && l["part_of"].is_null()).count();
    assert!(told.contains(&format!("{hosts} hosts with {} addresses", hosts + 2)), "{told}");

    let html = path("one.html");
    common::run(&["read", "--quiet", "--html", &html, &path("one.pcapng")]);
    let page = std::fs::read_to_string(html).expect("a page");
    assert!(page.contains("What it did as 10.20.0.77"), "{page}");
    assert_eq!(page.matches("<section class=\"host\"").count(), 1);
    let (_, told, _) = common::run(&["read", "--quiet", "--markdown", &path("one.pcapng")]);
    assert!(told.contains("As 10.20.0.77, "), "{told}");
}

#[test]
fn each_machine_that_had_an_address_can_be_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let script = scenario("http_control").and(by_another_machine(scenario("payload_download")).on_days(&[1]));
    std::fs::write(path("both.pcapng"), script.pcapng()).expect("written");
    let run = |args: &[&str]| {
        let (code, out, err) = common::run(args);
        (code, out + &err)
    };
    let case = path("case");
    assert_eq!(run(&["read", "--quiet", &path("both.pcapng"), "-o", &case]).0, Some(0));
    let (_, any) = run(&["explain", &case, BOT]);
    let handles: Vec<&str> =
        any.split([' ', '(', ')', '\n']).filter(|w| w.starts_with(&format!("{BOT}@"))).collect();
    assert_eq!(handles.len(), 2, "both are named: {any}");
    let mut seen = Vec::new();
    for which in handles {
        let (code, told) = run(&["explain", &case, which]);
        assert_eq!(code, Some(0), "{which}: {told}");
        seen.push((told.contains("http_control/"), told.contains("payload_download/")));
        assert_eq!(run(&["carve", &case, which, "-w", &path("slice.pcapng")]).0, Some(0), "{which}");
    }
    seen.sort_unstable();
    assert_eq!(seen, [(false, true), (true, false)]);
    let (code, told) = run(&["explain", &case, &format!("{BOT}@1999-01-01")]);
    assert!(code == Some(2) && told.contains("is neither a time nor a segment"), "{told}");
}
