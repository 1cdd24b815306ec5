//! What the stages have in common: how a stage waits for data and control at once, how it
//! finishes, and how it hands on.

use std::time::Duration;

use flume::Receiver;
use kameo::{
    Actor,
    mailbox::{MailboxReceiver, Signal},
};
use tokio::time::Instant;

/// The next stage is gone, so this one has nothing left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the next stage is gone")]
pub struct Closed;

impl<T> From<flume::SendError<T>> for Closed {
    fn from(_: flume::SendError<T>) -> Self {
        Self
    }
}

/// Asks a stage to work through everything that its input holds, and to answer when that is
/// handed on. Asked in the order of the flow, so that each stage finds its input complete.
#[derive(Debug, Clone, Copy)]
pub struct Finish;

/// Why a stage woke up.
pub enum Wake<T, A: Actor> {
    /// Data.
    Item(T),
    /// Control.
    Signal(Option<Signal<A>>),
    /// The deadline has passed.
    Deadline,
}

/// Waits for control, for the deadline, and for data, in this order of precedence: a stage under
/// full load still hears what it is told, and still keeps its deadlines.
///
/// `recv_async` may be dropped at any time without losing an item; a stage never does so with
/// `send_async`, where it would.
pub async fn wake<T, A: Actor>(
    input: &Receiver<T>,
    mailbox: &mut MailboxReceiver<A>,
    deadline: Option<Instant>,
) -> Wake<T, A> {
    // Without a deadline this never fires; an hour is as good as never and needs no Option.
    let until = deadline.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
    tokio::select! {
        biased;
        signal = mailbox.recv() => Wake::Signal(signal),
        () = tokio::time::sleep_until(until), if deadline.is_some() => Wake::Deadline,
        item = receive(input) => Wake::Item(item),
    }
}

/// Waits for control or for a moment, leaving the data where it is.
pub async fn wait<T, A: Actor>(mailbox: &mut MailboxReceiver<A>, until: Instant) -> Wake<T, A> {
    tokio::select! {
        biased;
        signal = mailbox.recv() => Wake::Signal(signal),
        () = tokio::time::sleep_until(until) => Wake::Deadline,
    }
}

/// The senders live as long as the pipeline does (a supervisor keeps them for restarts), so an
/// input never ends by itself.
async fn receive<T>(input: &Receiver<T>) -> T {
    match input.recv_async().await {
        Ok(item) => item,
        Err(_) => std::future::pending().await,
    }
}
