//! How does a case rest?
//!
//! A folder that holds everything a run found: the lines of `--json`, the report for a browser, the flows and what was
//! said in them (SQLite), the hashes of the inputs, and what people noted about it.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod flows;
mod folder;
mod triage;
mod whole;

pub use flows::{
    Cell, FlowError, FlowWriter, Flows, Kind, Local, MOST_ROWS, Page, Partner, Peer, Query, Span,
};
pub use folder::{Case, CaseWriter, check, is_case, refuse_inputs};
pub use triage::{ASIDE, Stood, Triage, TriageEntry, TriageState};
pub use whole::{WholeFile, WholeFolder};
