//! How does it run on more than one machine?
//!
//! A store of records is analysed by the analyst of the `verdict` room as an operator of Apache DataFusion: here, or on a cluster of Ballista. A network is divided into shares
//! (a site's hosts by their buckets), each with an analyst that sees its hosts' records in one total order and no others, so that whoever analyses it, and wherever,
//! tells the same.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod analyse;
pub mod analysis;
mod codec;
pub mod engine;
pub mod nodes;
mod part;
mod plan;
pub mod sql;
mod tables;
mod task;

pub use task::{Judging, edition};
