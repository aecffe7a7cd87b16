//! Evidence in a sentence. The words live here; the numbers come with the evidence.

use record::{Evidence, FactValue};

use crate::plain::{defang, human_bytes, human_count};

struct Facts<'a>(&'a Evidence);

impl Facts<'_> {
    fn text(&self, name: &str) -> String {
        match self.0.facts.get(name) {
            Some(FactValue::Text(t)) => t.clone(),
            _ => String::new(),
        }
    }

    fn list(&self, name: &str) -> &[String] {
        match self.0.facts.get(name) {
            Some(FactValue::List(l)) => l,
            _ => &[],
        }
    }

    fn count(&self, name: &str) -> u64 {
        match self.0.facts.get(name) {
            Some(FactValue::Count(n)) => *n,
            _ => 0,
        }
    }

    fn number(&self, name: &str) -> f64 {
        match self.0.facts.get(name) {
            Some(FactValue::Number(n)) => *n,
            Some(FactValue::Count(n)) => *n as f64,
            _ => 0.0,
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.0.facts.get(name) == Some(&FactValue::Flag(true))
    }

    fn names(&self, name: &str, most: usize) -> String {
        let list = self.list(name);
        let mut shown: Vec<String> = list.iter().take(most).map(|n| defang(n)).collect();
        if list.len() > most {
            shown.push("…".to_owned());
        }
        shown.join(", ")
    }

    fn has(&self, grade: &str) -> bool {
        self.0.grades.iter().any(|g| g.name == grade)
    }

    fn remote(&self) -> String {
        self.0.remotes.first().map(ToString::to_string).unwrap_or_default()
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// What the evidence says, in one sentence without a full stop.
pub fn describe(e: &Evidence) -> String {
    let f = Facts(e);
    let n = |v: f64| human_count(v as u64);
    match e.behaviour.as_ref() {
        "smtp_probe" if f.has("three_syns") => {
            format!("one attempt at {} port 25, {} SYNs, no answer", defang(&f.text("target")), n(e.value))
        }
        "smtp_probe" => {
            let mut s =
                format!("tried {} port 25 {} times and sent no mail", defang(&f.text("target")), n(e.value));
            if f.has("no_mx_question") {
                s.push_str("; never asked for MX");
            }
            s.push_str(if f.flag("smtp_open") { "; the port is open" } else { "; the port is closed" });
            s
        }
        "front_pages" => {
            let near = if f.flag("with_probe") { ", near its mail test" } else { "" };
            format!("fetched bare front pages of {}{near}", f.names("pages", 5))
        }
        "generated_names" if e.key == "exact" => {
            format!(
                "asked for {}: made by Kraken's name generator {}",
                f.names("names", 2),
                f.text("generator")
            )
        }
        "generated_names" if e.key == "walk" => {
            format!("tried one label under {} dynamic-DNS suffixes: {}", n(e.value), f.names("names", 3))
        }
        "generated_names" => {
            let list = f.names("names", 3);
            format!(
                "{} names that do not exist and look drawn at random ({list})",
                human_count(f.count("nxdomains"))
            )
        }
        "kraken_frames" if e.key == "port" => format!("{} packets to UDP port 447", n(e.value)),
        "kraken_frames" => {
            let back = f.count("inbound_frames");
            let both = if back > 0 { format!(", {back} came back") } else { String::new() };
            format!(
                "{} opaque payloads of exactly 24 bytes to port 447{both} (read to level {})",
                n(e.value),
                f.text("level")
            )
        }
        "peer_walk" => {
            let mut s = format!("opaque UDP to {} peers nobody named, each on its own port", n(e.value));
            if f.has("unanswered") {
                s.push_str(&format!(", {} silent", percent(f.number("unanswered_share"))));
            }
            let len = f.count("recurring_length");
            if len > 0 {
                s.push_str(&format!(", often {len} bytes"));
            }
            s
        }
        "port_imposter" => {
            format!("{} port {}: {} instead of what belongs there", f.remote(), f.count("port"), f.text("is"))
        }
        "same_remote_chain" => {
            let how = match e.grades.first().map(|g| g.name.as_ref()) {
                Some(g) if g.starts_with("post") => "answer to an opaque POST",
                _ => "opaque transfer",
            };
            let mut s = format!(
                "{} by {how} from {} port {}",
                human_bytes(e.value as u64),
                f.remote(),
                f.count("port")
            );
            if f.flag("udp_before") {
                s.push_str(&format!(", its UDP peer {:.0} s before", f.number("seconds_after_udp")));
            }
            if f.has("fallback_from_80") {
                s.push_str(", after port 80 failed");
            }
            let declared = f.text("declared");
            if !declared.is_empty() {
                s.push_str(&format!(", declared as {}", crate::clean(&declared)));
            }
            s
        }
        "module_download" if e.key == "disguised" => format!(
            "{} executable ({}) from {} declared as {}",
            human_bytes(e.value as u64),
            f.text("is"),
            defang(&f.text("host")),
            crate::clean(&f.text("declared"))
        ),
        "module_download" => format!("{} transfers from {}, which commands it", n(e.value), f.text("remote")),
        "mail_exchanger_lookups" => {
            format!(
                "asked for mail exchangers of {} ({})",
                if f.list("domains").len() == 1 {
                    "one domain".into()
                } else {
                    format!("{} domains", f.list("domains").len())
                },
                f.names("domains", 3)
            )
        }
        "spam_run" if e.key == "outcomes" => {
            format!(
                "{} of {} mail servers refused it at first contact",
                human_count(f.count("failures")),
                human_count(f.count("first_contacts"))
            )
        }
        "spam_run" if f.count("messages") == 0 => format!(
            "tried {} mail servers in {} networks and handed over no message in clear",
            human_count(f.count("exchangers")),
            human_count(f.count("networks"))
        ),
        "spam_run" => {
            let mut s = format!(
                "sent {} messages to {} recipients by {} mail servers in {} networks",
                human_count(f.count("messages")),
                human_count(f.count("recipients")),
                human_count(f.count("exchangers")),
                human_count(f.count("networks"))
            );
            let odd = f.list("oddities");
            if !odd.is_empty() {
                s.push_str(&format!(" ({})", odd.join(", ").replace('_', " ")));
            }
            s
        }
        "spam_update_cycle" => format!("{} batches of spam, each after an update", n(e.value)),
        "story_order" if f.flag("in_order") => {
            format!("the {} stages came in the order of the story", n(e.value))
        }
        "story_order" => format!("the {} stages did not come in the order of the story", n(e.value)),
        other => format!("{other}: {} {}", n(e.value), crate::clean(&e.unit)),
    }
}
