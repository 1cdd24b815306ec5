//! The code that speaks foreign protocols: disks, databases.

pub mod clock;
pub mod journal;
pub mod store;
