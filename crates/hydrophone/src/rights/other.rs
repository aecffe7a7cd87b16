//! Rights are given up on Linux alone.

use super::Needs;

/// Whether it is root.
pub fn is_root() -> bool {
    false
}

/// Nobody is looked up.
pub fn is_user(_: &str) -> bool {
    false
}

/// Nobody becomes somebody else.
///
/// # Errors
/// Never.
pub fn step_down(_: Option<&str>) -> anyhow::Result<Vec<String>> {
    Ok(Vec::new())
}

/// Nothing is given up.
///
/// # Errors
/// Never.
pub fn give_up(_: &Needs) -> anyhow::Result<Vec<String>> {
    Ok(vec!["rights are not given up on this system".to_owned()])
}
