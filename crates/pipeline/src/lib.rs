//! In what order does it all run?
//!
//! The only room that knows the whole way: packets are read in batches, decoded, spread over a fixed number of
//! shards, followed as flows, understood as protocols, and their records reach the analyst in one order — whatever the
//! number of threads.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod activity;
mod budget;
mod decode;
mod feed;
mod others;
mod packets;
mod run;
mod said;
mod scheduler;
mod sensor;
mod shed;
mod slice;
mod state;
mod subscribers;
mod taken;
mod twins;
mod watch;

pub use activity::{Activity, Group, Volume};
pub use budget::{Budget, ByteSize, SMALLEST};
pub use import::{Followed, LONGEST_LINE, OWN_EVENT};
pub use packets::{Keeping, Kept, PacketKeeper};
pub use run::{
    Input, Listened, Outcome, Progress, RunError, RunOptions, Sensed, facts, listen, run, run_with, sense,
    told_of_network,
};
pub use said::{CONFIG_VERSION, MAX_LOSS_PERCENT, Worth, capture_line, worth};
pub use sensor::fuzz_sensor;
pub use slice::{Frame, Said, Wanted, Within, follow, walk};
pub use state::{Past, StateError, VERSION as STATE_VERSION, resume, save};
pub use subscribers::{Had, PSEUDONYMS, Renamed, Subscribers};
pub use twins::{Doubles, Teller, Twins};
pub use watch::{Heard, Moment};
