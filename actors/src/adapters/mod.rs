//! The code that speaks foreign protocols: disks, databases, Jira, mail.

pub mod archive;
pub mod buckets;
pub mod channel;
pub mod clock;
mod http;
pub mod jira;
pub mod journal;
pub mod mail;
pub mod store;
pub mod webhook;
