//! Where addresses are, by databases that the user has (MaxMind's form: GeoLite2, DB-IP, IPinfo). None is shipped, and nothing is asked of anybody.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use maxminddb::Reader;
use serde_json::Value;
use verdict::{HostStory, Place};

use crate::Failure;

/// Databases, in the order in which they were named: what the first knows, the next does not change.
pub struct Geo(Vec<Reader<Vec<u8>>>);

impl Geo {
    /// Opens databases.
    ///
    /// # Errors
    /// One of them cannot be read, or is none.
    pub fn open(paths: &[PathBuf]) -> Result<Self, Failure> {
        let open = |path: &PathBuf| {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Reader::from_source(bytes).with_context(|| {
                format!(
                    "{} is no database in MaxMind's form (.mmdb): --geo takes GeoLite2, DB-IP or IPinfo",
                    path.display()
                )
            })
        };
        paths.iter().map(open).collect::<anyhow::Result<_>>().map(Self).map_err(Failure::usage)
    }

    /// Where an address is.
    fn place(&self, ip: IpAddr) -> Option<Place> {
        let mut place = Place::default();
        for found in self.0.iter().filter_map(|db| db.lookup(ip).ok()?.decode::<Value>().ok()?) {
            // GeoLite2 and DB-IP have numbers and names within names; IPinfo has texts alone (`AS64500`).
            let text = |at: &[&str]| at.iter().find_map(|p| Some(found.pointer(p)?.as_str()?.to_owned()));
            let country =
                text(&["/country/iso_code", "/registered_country/iso_code", "/country_code", "/country"]);
            let number = found.pointer("/autonomous_system_number").and_then(Value::as_u64);
            let named = || text(&["/asn"])?.trim_start_matches("AS").parse().ok();
            let asn = number.and_then(|n| u32::try_from(n).ok()).or_else(named);
            let organisation = text(&["/autonomous_system_organization", "/as_name", "/name"]);
            place.country = place.country.or(country);
            // Number and name are of one network: both are one database's word.
            if place.asn.is_none() && place.organisation.is_none() {
                (place.asn, place.organisation) = (asn, organisation);
            }
        }
        (place != Place::default()).then_some(place)
    }

    /// Says of each story where the remotes are that it names.
    pub fn annotate(&self, stories: &mut [HostStory]) {
        if self.0.is_empty() {
            return;
        }
        for s in stories {
            let evidence = s.evidence.iter().flat_map(|e| e.evidence.remotes.iter());
            let profile = s
                .profile
                .remotes
                .iter()
                .map(|r| &r.address)
                .chain(s.profile.files.iter().filter_map(|f| f.remote.as_ref()));
            let named: BTreeSet<IpAddr> = evidence.chain(profile).copied().collect();
            s.places = named.into_iter().filter_map(|ip| Some((ip, self.place(ip)?))).collect();
        }
    }
}
