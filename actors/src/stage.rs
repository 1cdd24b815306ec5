//! What the stages have in common: how a stage waits for data and control at once, how it
//! finishes, and how it hands on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flume::{Receiver, Sender};
use kameo::{
    Actor,
    mailbox::{MailboxReceiver, Signal},
};
use tokio::time::Instant;

pub use self::live_settings::Live;

mod live_settings;
pub mod tap;

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

/// Tells a stage of something that it could also find out by looking: sending never waits. What
/// does not fit is not said, but that something was not said is remembered.
#[derive(Clone, Debug)]
pub struct Notices<T> {
    sender: Sender<T>,
    has_missed: Arc<AtomicBool>,
}

impl<T> Notices<T> {
    /// A channel for `capacity` notices.
    #[must_use]
    pub fn bounded(capacity: usize) -> (Self, Noticed<T>) {
        let (sender, receiver) = flume::bounded(capacity);
        // Who knows what was said before the start.
        let has_missed = Arc::new(AtomicBool::new(true));
        (Self { sender, has_missed: has_missed.clone() }, Noticed { receiver, has_missed })
    }

    pub fn tell(&self, notice: T) {
        if self.sender.try_send(notice).is_err() {
            self.has_missed.store(true, Ordering::Release);
        }
    }
}

/// The other end of [`Notices`].
#[derive(Clone, Debug)]
pub struct Noticed<T> {
    pub receiver: Receiver<T>,
    has_missed: Arc<AtomicBool>,
}

impl<T> Noticed<T> {
    /// Whether something was not said since this was asked last; at first it is so.
    #[must_use]
    pub fn take_missed(&self) -> bool {
        self.has_missed.swap(false, Ordering::AcqRel)
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
