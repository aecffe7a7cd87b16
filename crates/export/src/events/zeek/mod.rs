//! Zeek's logs: tab-separated columns under a header (Zeek's documentation, "Zeek Log Formats and Inspection"; columns and types as in Zeek 6).
//!
//! Rows are written while packets are read, so that nothing waits in memory; notices, which are made of evidence, come at the end.

mod log;
mod rows;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use record::{ConnPhase, Endpoint, FlowId, Record, Timestamp};

use super::Told;
use log::Log;

/// Flows of which it is remembered through which proxy they go.
const MAX_PROXIES: usize = 65_536;

/// The logs that are written.
const LOGS: [&str; 8] = ["conn", "dns", "http", "ssl", "smtp", "files", "notice", OWN];
/// What only we say: a row for each host. A folder that holds it was written here.
const OWN: &str = "hydrophone";

/// A folder of Zeek's logs that is being written.
pub struct ZeekLogs {
    dir: PathBuf,
    logs: HashMap<&'static str, Log>,
    /// Whom packets of a relayed flow go to.
    proxies: HashMap<FlowId, Endpoint>,
    /// The time of the record that was taken last: what a file is opened and closed at, since packets have the only clock.
    clock: Option<Timestamp>,
    failed: Option<io::Error>,
}

impl ZeekLogs {
    /// Begins logs in an empty folder.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), logs: HashMap::new(), proxies: HashMap::new(), clock: None, failed: None }
    }

    /// Whether a folder with these files in it was written here, and holds nothing else.
    pub fn wrote(names: &[String]) -> bool {
        let ours = |n: &String| n.strip_suffix(".log").is_some_and(|n| LOGS.contains(&n));
        names.iter().all(ours) && names.iter().any(|n| n.strip_suffix(".log") == Some(OWN))
    }

    /// Takes a record of the run. What goes wrong is told by [`ZeekLogs::finish`].
    pub fn record(&mut self, record: &Record) {
        if self.failed.is_none()
            && let Err(e) = self.take(record)
        {
            self.failed = Some(e);
        }
    }

    fn take(&mut self, record: &Record) -> io::Result<()> {
        let head = record.head();
        self.clock = self.clock.max(Some(head.known));
        let mut ends = head.tuple;
        // Packets go to the proxy, and so it stands in Zeek's logs.
        if let Some(proxy) = self.proxies.get(&head.flow) {
            ends.resp = *proxy;
        }
        match record {
            Record::Conn(c) if c.phase == ConnPhase::Closed => {
                self.proxies.remove(&head.flow);
                let Some(row) = rows::conn(c) else { return Ok(()) };
                self.log("conn", &rows::CONN)?.row(&row)
            }
            Record::Dns(d) => self.log("dns", &rows::DNS)?.row(&rows::dns(d, &ends)),
            Record::Http(h) => self.log("http", &rows::HTTP)?.row(&rows::http(h, &ends)),
            Record::Tls(t) => self.log("ssl", &rows::SSL)?.row(&rows::ssl(t, &ends)),
            Record::Smtp(s) => self.log("smtp", &rows::SMTP)?.row(&rows::smtp(s, &ends)),
            Record::File(f) => self.log("files", &rows::FILES)?.row(&rows::file(f, &ends)),
            Record::Relay(r) => {
                if self.proxies.len() < MAX_PROXIES {
                    self.proxies.insert(r.head.flow, r.head.tuple.resp);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn log(&mut self, name: &'static str, columns: &rows::Columns) -> io::Result<&mut Log> {
        use std::collections::hash_map::Entry;
        match self.logs.entry(name) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(free) => {
                let opened = self.clock.unwrap_or_default();
                Ok(free.insert(Log::begin(&self.dir.join(format!("{name}.log")), name, columns, opened)?))
            }
        }
    }

    /// Writes notices and hosts, and ends every log.
    ///
    /// # Errors
    /// Something could not be written, now or earlier.
    pub fn finish(mut self, told: Told<'_>) -> io::Result<()> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        for event in told.events() {
            self.log("notice", &rows::NOTICE)?.row(&rows::notice(&event))?;
        }
        self.log(OWN, &rows::HOSTS)?;
        for story in told.stories {
            self.log(OWN, &rows::HOSTS)?.row(&rows::host(story))?;
        }
        let closed = self.clock.unwrap_or_default();
        LOGS.into_iter().filter_map(|name| self.logs.remove(name)).try_for_each(|log| log.finish(closed))
    }
}
