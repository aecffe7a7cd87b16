//! How does a person see it, and how does a machine?
//!
//! Pure functions of stories: a terminal story, a page for a browser, the complete arithmetic, JSON lines. Text from the wire is hostile in
//! all of them: control characters are made visible, and names are defanged in prose.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod day;
mod explain;
pub mod html;
mod indicators;
mod lines;
mod markdown;
mod profile;
mod prose;
mod terminal;
mod turn;

pub use day::{DayLine, day};
pub use explain::{checks, explain, fact};
pub use indicators::{Indicator, IndicatorKind, indicators};
pub use lines::{
    AccountsLine, ActivityLine, CaptureLine, FlowCounts, InputLine, Line, OutsideFlows, ServiceLine,
    UnreadLine, parse_lines,
};
pub use markdown::markdown;
pub use profile::place;
pub use prose::{describe, strongest};
pub use record::{clean, defang, human_bytes, human_count, human_duration};
pub use terminal::{Dates, Detail, LANES_FROM, standing, terminal, trimmed as number};
pub use turn::turn;
