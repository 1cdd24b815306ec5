//! Health: how each component does, what changed, and what people are to be told of.
//!
//! ```text
//! what was measured ─▶ component: a status each
//!                   └▶ watch: since when, what changed, which conditions hold
//! ```
//!
//! Everything here is computed from what was measured and from the settings; nothing is asked.

pub mod component;
pub mod measured;
mod settings;
mod silence;
mod suspect;
#[cfg(test)]
mod tests;
pub mod watch;

pub use component::{Component, Status};
pub use measured::Measured;
pub use settings::Settings;
pub use watch::{Change, Known, Look, Watch};
