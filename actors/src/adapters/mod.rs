//! The code that speaks foreign protocols: disks, databases, Jira.

pub mod archive;
pub mod buckets;
pub mod clock;
mod http;
pub mod jira;
pub mod journal;
pub mod store;
