//! What stands behind a spool, as those see it who start and end the program.

use std::{future::Future, time::Duration};

/// How far it has come, for whoever watches whether it comes any further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Another number after each step.
    pub steps: u64,
    /// There is something to do, and nothing outside keeps it from being done: not even a restart
    /// would help against a store that is away.
    pub is_expected: bool,
}

/// What takes events from the spool: the pipeline of a hub, the hand-over of a relay.
pub trait Consumer {
    /// What it is called in the log.
    const NAME: &str;
    /// What it does with what was accepted.
    const DOING: &str;
    /// What it has then done.
    const DONE: &str;

    /// Waits until a stage has died for good; says which and why.
    fn broken(&self) -> impl Future<Output = String> + Send;

    /// How far it has come.
    fn progress(&self) -> Progress;

    /// Waits until everything that is durable in the spool is passed on.
    fn settled(&self) -> impl Future<Output = ()> + Send;

    /// Stops the stages, each after it has emptied its input, and closes the spool. Gives up after
    /// `patience`; what is not passed on by then stays in the spool.
    fn finish(&self, patience: Duration) -> impl Future<Output = ()> + Send;
}
