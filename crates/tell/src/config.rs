//! What stands in the file of sinks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use verdict::Verdict;

use crate::message::Message;
use crate::syslog::Tls;

/// Messages that a person gets before there is a digest (*assumed*).
const BURST: u32 = 10;
/// In how many seconds (*assumed*).
const PER_S: u64 = 600;
/// How long a message is tried before it is put aside.
const PATIENCE_S: u64 = 86_400;

/// Everybody who is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where each sink's debts lie, and what could not be delivered: a folder.
    pub spool: PathBuf,
    /// The sinks.
    #[serde(default, rename = "sink")]
    pub sinks: Vec<SinkConfig>,
}

/// Somebody who is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct SinkConfig {
    /// Its name, which its files in the spool have.
    pub name: String,
    /// What it is, with its own settings.
    pub kind: Kind,
    /// Whoever turned below it is not told of.
    pub level: Verdict,
    /// Whether it is told of every day that ends, also where all was quiet.
    pub daily: bool,
    /// So many messages in so long; what is beyond comes as one. For people; machines get everything.
    burst: Option<u32>,
    /// In how many seconds.
    per_s: Option<u64>,
    /// How many seconds a message is tried before it is put aside.
    patience_s: Option<u64>,
}

/// What every sink may say; the rest is its kind's.
impl TryFrom<toml::Table> for SinkConfig {
    type Error = String;

    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        fn of<T: serde::de::DeserializeOwned>(
            table: &mut toml::Table,
            key: &str,
        ) -> Result<Option<T>, String> {
            let value = table.remove(key).map(toml::Value::try_into);
            value.transpose().map_err(|e| format!("{key}: {e}"))
        }
        let name: Option<String> = of(&mut table, "name")?;
        let name = name.ok_or("a sink has no name")?;
        let in_sink = |why: String| format!("sink {name:?}: {why}");
        let level = of(&mut table, "level").map_err(in_sink)?.unwrap_or(Verdict::Suspicious);
        let daily = of(&mut table, "daily").map_err(in_sink)?.unwrap_or(false);
        let burst = of(&mut table, "burst").map_err(in_sink)?;
        let per_s = of(&mut table, "per_s").map_err(in_sink)?;
        let patience_s = of(&mut table, "patience_s").map_err(in_sink)?;
        let kind = toml::Value::Table(table).try_into().map_err(|e| in_sink(e.to_string()))?;
        Ok(Self { name, kind, level, daily, burst, per_s, patience_s })
    }
}

/// How somebody is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Kind {
    /// Lines of JSON in a file.
    File {
        /// The file.
        path: PathBuf,
        /// A new file is begun when this one has so many bytes.
        #[serde(default = "hundred_megabytes")]
        rotate_bytes: u64,
        /// Old files that are kept.
        #[serde(default = "fourteen")]
        keep: usize,
    },
    /// A syslog server (RFC 5424).
    Syslog {
        /// `udp://HOST:PORT`, `tcp://HOST:PORT` or `tls://HOST:PORT`.
        to: String,
        /// Its facility's number (local4 where none is given).
        #[serde(default = "local4")]
        facility: u8,
        /// Whom it has to be vouched for by, and what it is shown.
        #[serde(default)]
        tls: Tls,
    },
    /// Mail, by this machine's own `sendmail`.
    Mail {
        /// Whom to.
        to: Vec<String>,
        /// Whom from.
        from: String,
        /// The program.
        #[serde(default = "sendmail")]
        program: PathBuf,
    },
    /// A request to a web server.
    Webhook {
        /// Its URL.
        url: String,
        /// What it takes.
        #[serde(default)]
        form: Form,
        /// Headers beside, for example `Authorization`.
        #[serde(default)]
        headers: std::collections::BTreeMap<String, String>,
    },
    /// A program that gets the lines of JSON.
    Command {
        /// The program and its arguments.
        run: Vec<String>,
    },
}

const fn hundred_megabytes() -> u64 {
    100_000_000
}

const fn fourteen() -> usize {
    14
}

const fn local4() -> u8 {
    20
}

fn sendmail() -> PathBuf {
    "/usr/sbin/sendmail".into()
}

/// What a web server takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `{"subject": …, "text": …, "turns": [the lines]}`.
    #[default]
    Json,
    /// `{"text": …}`, as Slack, Mattermost and Rocket.Chat take it.
    Slack,
    /// A message card for Microsoft Teams.
    Teams,
}

/// What is wrong with a file of sinks.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the sinks {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not say what it should.
    #[error("{path}: {why}")]
    Wrong {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl Config {
    /// Reads a file of sinks.
    ///
    /// # Errors
    /// It cannot be read, or something in it is wrong.
    pub fn file(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        Self::parse(&text).map_err(|why| ConfigError::Wrong { path: name, why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        if config.sinks.is_empty() {
            return Err("nobody is told: it has no [[sink]]".to_owned());
        }
        for (n, sink) in config.sinks.iter().enumerate() {
            let wrong = |why: String| Err(format!("sink {:?}: {why}", sink.name));
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if sink.name.is_empty() || sink.name.starts_with('.') || !sink.name.chars().all(good) {
                return wrong("its name is made of letters, digits, - and _".to_owned());
            }
            if config.sinks[..n].iter().any(|s| s.name == sink.name) {
                return wrong("there are two of this name".to_owned());
            }
            if sink.level < Verdict::Suspicious {
                return wrong("level is suspicious, likely or infected".to_owned());
            }
            if sink.burst == Some(0) {
                return wrong("burst has to be at least 1".to_owned());
            }
            match &sink.kind {
                Kind::Syslog { to, facility, tls } => {
                    match to.split_once("://").map(|(way, _)| way) {
                        Some("udp" | "tcp") if tls.is_said() => {
                            return wrong(format!("tls is for to = \"tls://HOST:6514\", and to is {to:?}"));
                        }
                        Some("udp" | "tcp" | "tls") => {}
                        _ => {
                            return wrong(format!(
                                "to = {to:?} has to be udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT"
                            ));
                        }
                    }
                    let port = to.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                    if port.is_none() {
                        return wrong(format!("to = {to:?} has no port: udp://HOST:514"));
                    }
                    if *facility > 23 {
                        return wrong(format!("facility {facility} is none: they have the numbers 0 to 23"));
                    }
                }
                Kind::Mail { to, from, .. } => {
                    let is_address = |a: &String| {
                        a.contains('@')
                            && !a.starts_with('-')
                            && !a.chars().any(|c| c.is_control() || c == ' ')
                    };
                    if to.is_empty() || !to.iter().chain([from]).all(is_address) {
                        return wrong("to and from are mail addresses".to_owned());
                    }
                }
                Kind::Webhook { url, .. } => {
                    let place = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
                    let is_good =
                        |p: &str| !p.is_empty() && !p.starts_with('/') && !p.contains(char::is_whitespace);
                    if !place.is_some_and(is_good) {
                        return wrong(format!("url = {url:?} is none"));
                    }
                }
                Kind::Command { run } if run.is_empty() => {
                    return wrong("run names no program".to_owned());
                }
                Kind::Command { .. } | Kind::File { .. } => {}
            }
        }
        for sink in &mut config.sinks {
            if let Kind::Syslog { to, tls, .. } = &mut sink.kind
                && to.starts_with("tls://")
            {
                tls.read().map_err(|why| format!("sink {:?}: {why}", sink.name))?;
            }
        }
        Ok(config)
    }
}

impl SinkConfig {
    /// Whether it is told of this.
    pub fn wants(&self, message: &Message) -> bool {
        let turned = message.turns().next().is_some() && message.level() >= self.level;
        turned || (self.daily && message.days().next().is_some())
    }

    /// So many messages in so long; none where everything is told one by one.
    pub fn limit(&self) -> Option<(u32, Duration)> {
        let for_people = matches!(self.kind, Kind::Mail { .. } | Kind::Webhook { .. });
        let burst = self.burst.or(for_people.then_some(BURST))?;
        Some((burst, Duration::from_secs(self.per_s.unwrap_or(PER_S))))
    }

    /// How long a message is tried.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_s.unwrap_or(PATIENCE_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_sink() {
        let good = r#"
spool = "/var/lib/hydrophone/spool"
[[sink]]
name = "log"
kind = "syslog"
to = "udp://192.0.2.1:514"
[[sink]]
name = "soc"
kind = "mail"
to = ["soc@example.com"]
from = "hydrophone@example.com"
level = "likely"
"#;
        let config = Config::parse(good).unwrap();
        assert_eq!((config.sinks[0].limit(), config.sinks[1].limit().map(|(n, _)| n)), (None, Some(BURST)));
        for (from, to, said) in [
            ("udp://", "smoke://", "sink \"log\": to = \"smoke://192.0.2.1:514\""),
            (
                "udp://192.0.2.1:514\"",
                "tls://192.0.2.1:6514\"\ntls = { ca = \"/no/such.pem\" }",
                "sink \"log\": ca = \"/no/such.pem\"",
            ),
            (
                "514\"",
                "514\"\ntls = { key = \"/etc/key.pem\" }",
                "sink \"log\": tls is for to = \"tls://HOST:6514\"",
            ),
            (
                "udp://192.0.2.1:514\"",
                "tls://192.0.2.1:6514\"\ntls = { key = \"k.pem\" }",
                "certificate and key belong together",
            ),
            ("\"soc\"", "\"log\"", "sink \"log\": there are two"),
            ("\"soc\"", "\"../x\"", "sink \"../x\": its name"),
            ("[\"soc@example.com\"]", "[\"-oQ/tmp@x\"]", "sink \"soc\": to and from"),
            ("\"likely\"", "\"quiet\"", "sink \"soc\": level"),
            ("kind = \"mail\"", "kind = \"male\"", "sink \"soc\": unknown variant `male`"),
            ("kind = \"mail\"", "kind = \"mail\"\nfacility = 3", "sink \"soc\": unknown field `facility`"),
            ("level = \"likely\"", "level = 3", "sink \"soc\": level: invalid type"),
        ] {
            let told = Config::parse(&good.replacen(from, to, 1)).unwrap_err();
            assert!(told.contains(said), "{told}");
        }
        assert!(Config::parse("spool = \"x\"").unwrap_err().contains("nobody is told"));
    }
}
