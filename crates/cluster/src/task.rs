//! What an executor is told to do: some shares of one site.

use behaviour::{Expectations, Home, Intel, Settings};
use ipnet::IpNet;
use object_store::path::Path as Key;
use record::Timestamp;
use serde::{Deserialize, Serialize};
use verdict::{Analyst, AnalystLimits, Calibration, Prior, Share};

use crate::part::Part;

/// Shares of one site that are analysed one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What decides verdicts where this was made: see [`edition`].
    pub edition: String,
    /// Where the store is: `file:///` or `s3://BUCKET/`.
    pub base: String,
    /// The store below it.
    pub prefix: String,
    /// Where what is found is put, below the store.
    pub folder: String,
    /// The site.
    pub site: u16,
    /// The first share, and the one behind the last.
    pub shares: (u32, u32),
    /// Shares in all.
    pub of: u32,
    /// The number of each run's first input.
    pub first_inputs: Vec<u32>,
    /// When the last record of its site became known, of whichever share.
    pub known: Option<Timestamp>,
    /// When the last packet of all came.
    pub last: Option<Timestamp>,
    /// What an earlier analysis left of the same shares, whose analysts go on.
    pub from: Option<Part>,
    /// How hosts are judged.
    pub judging: Judging,
}

/// How hosts are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judging {
    /// The local networks.
    pub home: Vec<IpNet>,
    /// Settings of the behaviours.
    pub settings: Settings,
    /// What is believed of a host before looking.
    pub prior: Prior,
    /// What is expected of hosts.
    pub expectations: Expectations,
    /// The user's lists of indicators: what each is called, and what stands in it.
    pub intel: Vec<(String, String)>,
    /// Bytes that a share's analyst may hold.
    pub bytes: usize,
    /// Hosts whose names and partners it may know.
    pub hosts: usize,
}

impl Task {
    /// What the files that it makes are called by, as far as they are known before.
    pub fn name(&self) -> String {
        format!("site{}-{:02}-{:02}of{}", self.site, self.shares.0, self.shares.1, self.of)
    }

    /// The folder of what its attempts leave, below the store.
    pub fn parts(&self) -> String {
        format!("{}/parts/{}", self.folder, self.name())
    }

    /// The buckets of its shares, the last one included.
    pub fn buckets(&self) -> (u8, u8) {
        let each = record::BUCKETS / self.of;
        ((self.shares.0 * each) as u8, (self.shares.1 * each - 1) as u8)
    }

    /// The analyst of a share.
    ///
    /// # Errors
    /// There are no so many shares, or a list of indicators is none.
    pub fn analyst(&self, share: u32) -> Result<Analyst, String> {
        let all = Share::all(self.of)?;
        let share =
            all.get(share as usize).ok_or_else(|| format!("there is no share {share} of {}", self.of))?;
        let Judging { home, settings, prior, expectations, intel: lists, bytes, hosts } = &self.judging;
        let mut intel = Intel::default();
        for (name, text) in lists {
            intel.add(name, text.as_bytes())?;
        }
        let limits = AnalystLimits { bytes: *bytes, hosts: *hosts };
        let analyst = Analyst::new(Some(Home::of(home.clone())), settings.clone(), limits, prior.db());
        Ok(analyst.knowing(expectations.clone(), intel).of_share(*share))
    }
}

/// A file below a store.
///
/// # Errors
/// It is no path.
pub fn below(prefix: &str, path: &str) -> Result<Key, object_store::path::Error> {
    Key::parse(format!("{prefix}/{path}").trim_start_matches('/'))
}

/// What decides verdicts, as one word: the sources of the rooms that judge, and the payoffs in use. Verdicts of another edition are other verdicts.
pub fn edition() -> String {
    let payoffs: Vec<String> = behaviour::CATALOGUE
        .iter()
        .map(|b| format!("{} {:?}", b.name, Calibration::in_use().grades(b.name)))
        .collect();
    format!("{}-{:016x}", env!("HYDROPHONE_SOURCES"), record::fnv1a(payoffs.join("\n").as_bytes()))
}
