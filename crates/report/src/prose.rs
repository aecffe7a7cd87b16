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
        self.0.remotes.first().map_or_else(|| self.text("through_a_proxy"), ToString::to_string)
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// What the evidence says, in one sentence without a full stop.
pub fn describe(e: &Evidence) -> String {
    let said = sentence(e);
    let f = Facts(e);
    // A publisher's name that only the host says excuses nothing, and that is told.
    match (f.text("claims"), f.text("dns_says")) {
        (claims, _) if claims.is_empty() => said,
        (claims, dns) if dns.is_empty() => {
            format!("{said}; nobody but the host itself says that this is {}", defang(&claims))
        }
        (claims, dns) => format!("{said}; it says {}, and DNS says {}", defang(&claims), defang(&dns)),
    }
}

fn sentence(e: &Evidence) -> String {
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
                "{} of the first {} mail servers refused it at first contact",
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
                "sent at least {} messages to {} recipients by {} mail servers in {} networks",
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
        _ => describe_other(e, &f)
            .unwrap_or_else(|| format!("{}: {} {}", e.behaviour, n(e.value), crate::clean(&e.unit))),
    }
}

/// The behaviours of bots beyond the field study's.
fn describe_other(e: &Evidence, f: &Facts<'_>) -> Option<String> {
    let n = |v: f64| human_count(v as u64);
    let text = |name: &str| crate::clean(&f.text(name));
    Some(match e.behaviour.as_ref() {
        "role_deviation" => {
            let did = if f.text("direction") == "in" { "was reached from" } else { "opened a flow to" };
            format!("{did} {}, which '{}' does not allow ({} such)", text("remote"), text("role"), n(e.value))
        }
        "generated_contact" => {
            format!(
                "found the made-up name {} and talked with it on port {}",
                defang(&f.text("name")),
                f.count("port")
            )
        }
        "address_echo" => {
            let then = if f.has("then_reported") { ", and called its controller" } else { "" };
            format!("asked {} for its own address{then}", defang(&f.text("service")))
        }
        "beacon" => format!(
            "called {} {} times, every {:.0} s or so (beacon score {:.2})",
            defang(&f.text("remote")),
            human_count(f.count("contacts")),
            f.number("median_interval"),
            e.value
        ),
        "irc_control" => {
            let orders = f.list("orders").len();
            let told = if orders > 0 {
                format!(", told {orders} {}", if orders == 1 { "order" } else { "orders" })
            } else {
                String::new()
            };
            format!("sat on IRC at {} port {} as {}{told}", f.remote(), f.count("port"), text("nick"))
        }
        "http_control" => {
            let mut s = format!(
                "a program, no browser, sent {} {} {} to {}",
                human_count(f.count("requests")),
                text("method"),
                if f.count("requests") == 1 { "request" } else { "requests" },
                defang(&f.text("host"))
            );
            for (grade, words) in [
                ("opaque_reply", ", answered by what is no page"),
                ("opaque_page", ", answered by what is no page"),
                ("unfetched_referer", ", from a page that it never opened"),
                ("many_names", ", by the same path as elsewhere"),
            ] {
                if f.has(grade) {
                    s.push_str(words);
                }
            }
            s
        }
        "tls_control" => {
            let subject = text("subject");
            let certificate = if subject.is_empty() {
                "no certificate to be seen".to_owned()
            } else {
                format!(
                    "certificate \"{subject}\" by \"{}\" for {} days",
                    text("issuer"),
                    f.count("days_valid")
                )
            };
            let name = defang(&f.text("asked_for"));
            let name = if f.has("dynamic_name") { format!(" ({name})") } else { String::new() };
            format!("TLS with {}{name} port {}, {certificate}", f.remote(), f.count("port"))
        }
        "raw_control" if e.key == "shell" => {
            format!("a Windows command shell in a connection with {}", f.remote())
        }
        "raw_control" if f.flag("dead") => format!(
            "called {} port {} {} times, and nobody answered",
            f.remote(),
            f.count("port"),
            n(e.value)
        ),
        "raw_control" if f.has("one_call") => format!(
            "called {} ({}) port {} in an unknown protocol",
            f.remote(),
            defang(&f.text("name")),
            f.count("port")
        ),
        "raw_control" => format!(
            "{} connections to {} port {} in an unknown protocol, each with the same first words ({} bytes)",
            n(e.value),
            f.remote(),
            f.count("port"),
            f.list("first_lengths").join(" + ")
        ),
        "dns_tunnel" => format!(
            "{} names of {:.0} characters on average below {}",
            n(e.value),
            f.number("mean_length"),
            defang(&f.text("domain"))
        ),
        "proxying" if e.key == "socks" => {
            format!("served SOCKS to {} on port {}", f.remote(), f.count("port"))
        }
        "proxying" => {
            format!("passed on {} connections from elsewhere to elsewhere, byte for byte", n(e.value))
        }
        "payload_download" if e.key == "hidden" => format!(
            "fetched {} over TLS from {}, after {} other names had given nothing",
            human_bytes(f.count("bytes")),
            defang(&f.text("host")),
            n(e.value)
        ),
        "payload_download" => {
            let declared = text("declared");
            let kind = if declared.is_empty() { String::new() } else { format!(", declared as {declared}") };
            format!(
                "fetched {} of {} from {}{kind}",
                human_bytes(e.value as u64),
                if e.key == "opaque" {
                    "something opaque".to_owned()
                } else {
                    format!("{} ({})", e.key, text("is"))
                },
                defang(&f.text("host"))
            )
        }
        "known_indicator" => {
            let date = text("list_date");
            let of = if date.is_empty() { "without a date".to_owned() } else { format!("of {date}") };
            let what = match e.key.as_ref() {
                "address" => "spoke with",
                "url" => "asked for",
                "name" => "named or asked for",
                "ja4" => "showed the fingerprint",
                _ => "was shown the certificate",
            };
            format!("{what} {}, listed in {} {of}", defang(&f.text("indicator")), text("list"))
        }
        "horizontal_scan" => format!(
            "knocked at port {} of {} hosts in vain, {} answered",
            f.count("port"),
            human_count(f.count("failed")),
            human_count(f.count("answered"))
        ),
        "vertical_scan" => format!("tried {} closed ports of {}", n(e.value), text("target")),
        "login_guessing" => {
            format!("{} {} ({} port {})", n(e.value), e.unit, text("service"), f.count("port"))
        }
        "flood" => format!("{} {} to {}", n(e.value), e.unit, text("target")),
        "mining" => format!("mined at {} ({} bytes sent)", text("pool"), n(e.value)),
        "click_run" => format!(
            "visited {} sites {} times from pages that it never opened",
            human_count(f.count("sites")),
            n(e.value)
        ),
        "exfiltration" if e.key == "drop" => format!("handed something out: {}", defang(&f.text("how"))),
        "exfiltration" => format!("sent {} out: {}", human_bytes(e.value as u64), defang(&f.text("how"))),
        "quick_succession" => {
            format!("{} began within {:.0} s", f.list("stages").join(" and "), f.number("seconds"))
        }
        "spam_update_cycle" => format!("{} batches of spam, each after an update", n(e.value)),
        "story_order" if f.flag("in_order") => {
            format!("the {} stages came in the order of the story", n(e.value))
        }
        "story_order" => format!("the {} stages did not come in the order of the story", n(e.value)),
        _ => return None,
    })
}
