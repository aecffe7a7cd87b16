//! What logs of other sensors lead to, beside the packets that they were made of where these are at hand.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use capture::Source;
use pipeline::{RunOptions, run};
use testkit::evaluate::{Labelled, manifest};
use verdict::{HostStory, Verdict};

/// A network of which there are logs.
struct Network {
    name: String,
    files: Vec<PathBuf>,
    of: Labelled,
    /// The capture that they were made of.
    packets: Option<PathBuf>,
}

/// Logs of one network stand in one folder, or have one name before two underscores and the log's.
fn networks(corpus: &Path) -> anyhow::Result<Vec<Network>> {
    let mut found: BTreeMap<String, Network> = BTreeMap::new();
    for of in manifest(corpus)? {
        let (folder, file) = of.file.rsplit_once('/').unwrap_or(("", &of.file));
        let (name, packets) = match of.kind.as_str() {
            "zeek-log" => match file.rsplit_once("__") {
                // Those of the phone stand in two folders of one repository.
                Some(_) if folder.contains("data-leak") => (folder.to_owned(), None),
                Some((before, _)) => (format!("{folder}/{before}"), None),
                None => (folder.to_owned(), None),
            },
            "eve" => {
                let stem = file.trim_end_matches(".eve.json.gz");
                let beside = ["bots", "clean"].iter().flat_map(|d| {
                    ["pcap", "pcap.gz"].iter().map(move |e| corpus.join(format!("{d}/{stem}.{e}")))
                });
                (of.file.clone(), beside.into_iter().find(|p| p.is_file()))
            }
            _ => continue,
        };
        let path = corpus.join(&of.file);
        let network = found.entry(name.clone()).or_insert(Network { name, files: Vec::new(), of, packets });
        network.files.push(path);
    }
    Ok(found.into_values().collect())
}

/// The strongest of the hosts in question: those that are named, or all.
fn strongest(files: Vec<PathBuf>, of: &Labelled) -> anyhow::Result<Option<HostStory>> {
    let options = RunOptions::of(files.into_iter().map(Source::Path).collect());
    let outcome = run(&options, |_| ())?;
    let mine = |s: &HostStory| of.hosts.is_empty() || of.hosts.contains(&s.host.to_string());
    Ok(outcome.stories.into_iter().find(mine))
}

fn said(story: Option<&HostStory>) -> String {
    story.map_or_else(|| "not seen".to_owned(), |s| format!("{} {:+.1}", s.verdict, s.level_db))
}

/// The table, as a section of `docs/evaluation.md`.
pub fn section(corpus: &Path) -> anyhow::Result<String> {
    let mut out = String::from(
        "\n## Logs of other sensors\n\nZeek's logs of real networks, and what Suricata 8.0.6 with ET Open of 2023 wrote over captures of this corpus: the strongest of the hosts in question, \
         from the logs and from the packets where these are at hand. Logs hold no payloads and few headers, so that less is found; their alerts are evidence.\n\n\
         | logs | what it is | from logs | from packets | what fired in the logs |\n|---|---|---|---|---|\n",
    );
    for network in networks(corpus)? {
        let from_logs = strongest(network.files, &network.of)?;
        let from_packets = network.packets.map(|p| strongest(vec![p], &network.of)).transpose()?;
        let mut fired: Vec<&str> = from_logs
            .iter()
            .filter(|s| s.verdict >= Verdict::Suspicious)
            .flat_map(|s| s.evidence.iter().map(|e| e.evidence.behaviour.as_ref()))
            .collect();
        fired.sort_unstable();
        fired.dedup();
        let packets = from_packets.map_or_else(|| "not at hand".to_owned(), |s| said(s.as_ref()));
        let name = network.name.trim_start_matches("eve/").trim_start_matches("zeek/");
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {packets} | {} |",
            network.of.family,
            said(from_logs.as_ref()),
            fired.join(", ")
        );
    }
    Ok(out)
}
