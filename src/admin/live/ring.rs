//! The last messages, ready to be sent: made once, shared by all clients, each of which has its own
//! place among them.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use super::filter::{About, Topic};

/// What a client that went away may have missed and still be told.
const KEPT: usize = 2_048;
/// Clients hear of what was published so often, where they are few.
const TOLD_EVERY: Duration = Duration::from_millis(100);
/// ... and so much more seldom for each of them: at most five hundred are woken in a second.
const TOLD_EACH: Duration = Duration::from_millis(2);

/// A message on its way to clients.
#[derive(Debug)]
pub(super) struct Message {
    /// Everybody gets what is of no topic.
    pub topic: Option<Topic>,
    /// What filters look at.
    pub about: Option<About>,
    pub frame: Bytes,
}

/// A message to be published.
pub(super) struct Draft {
    pub event: &'static str,
    pub topic: Option<Topic>,
    pub about: Option<About>,
    pub data: String,
}

impl Draft {
    pub(super) fn new(event: &'static str, topic: Option<Topic>, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).expect("it has a JSON form");
        Self { event, topic, about: None, data }
    }
}

/// See the [module](self).
pub(super) struct Ring {
    /// Tells this process' numbers from those of another one, or of this one's last start.
    boot: String,
    kept: Mutex<Kept>,
    /// The next number, as far as clients were told.
    next: watch::Sender<u64>,
}

struct Kept {
    /// The number of the first one.
    first: u64,
    messages: VecDeque<std::sync::Arc<Message>>,
}

impl Kept {
    fn next(&self) -> u64 {
        self.first + self.messages.len() as u64
    }
}

/// A client's place is no longer, or was never, in the ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind;

impl Ring {
    pub(super) fn new() -> Self {
        let kept = Kept { first: 1, messages: VecDeque::with_capacity(KEPT) };
        let boot = format!("{:016x}", fastrand::u64(..));
        Self { boot, next: watch::Sender::new(kept.first), kept: Mutex::new(kept) }
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// The number of the next message that clients are told of, and a way to hear of it.
    pub(super) fn follow(&self) -> (u64, watch::Receiver<u64>) {
        let receiver = self.next.subscribe();
        let next = *receiver.borrow();
        (next, receiver)
    }

    pub(super) fn next(&self) -> u64 {
        *self.next.borrow()
    }

    /// Gives the messages their numbers. Clients are told soon.
    pub(super) fn publish(&self, drafts: Vec<Draft>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for draft in drafts {
            let id = self.id(kept.next());
            let frame = frame(Some(&id), draft.event, &draft.data);
            if kept.messages.len() == KEPT {
                kept.messages.pop_front();
                kept.first += 1;
            }
            let message = Message { topic: draft.topic, about: draft.about, frame };
            kept.messages.push_back(message.into());
        }
    }

    /// Tells clients of what was published, again and again until it is dropped. Not each message by
    /// itself: to wake hundreds of clients costs more than what they are sent.
    pub(super) async fn announce(&self) {
        loop {
            tokio::time::sleep(told_every(self.next.receiver_count())).await;
            self.tell();
        }
    }

    pub(super) fn tell(&self) {
        let published = self.kept.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.next.send_if_modified(|next| std::mem::replace(next, published) != published);
    }

    /// Up to `most` messages from a number on.
    ///
    /// # Errors
    /// When some of them are not kept any more.
    pub(super) fn from(
        &self,
        number: u64,
        most: usize,
    ) -> Result<Vec<std::sync::Arc<Message>>, Behind> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = number.checked_sub(kept.first).ok_or(Behind)?;
        let passed = usize::try_from(passed).map_err(|_| Behind)?;
        Ok(kept.messages.iter().skip(passed).take(most).cloned().collect())
    }

    /// Nothing was watched for a while, so that what is kept does not lead up to what comes.
    pub(super) fn break_off(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.first = kept.next() + 1;
        kept.messages.clear();
        let next = kept.next();
        drop(kept);
        self.next.send_replace(next);
    }

    /// As clients see a message's number.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.boot)
    }

    /// The number behind the message with this id.
    ///
    /// # Errors
    /// When the ring cannot go on from there.
    pub(super) fn behind(&self, id: &str) -> Result<u64, Behind> {
        let (boot, number) = id.rsplit_once('-').ok_or(Behind)?;
        let number = number.parse::<u64>().ok().and_then(|number| number.checked_add(1));
        let number = number.filter(|_| boot == self.boot).ok_or(Behind)?;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if (kept.first..=kept.next()).contains(&number) { Ok(number) } else { Err(Behind) }
    }
}

/// A message as it is sent. `data` is JSON: line ends in it stand between its tokens only.
pub(super) fn frame(id: Option<&str>, event: &str, data: &str) -> Bytes {
    let mut frame = String::with_capacity(data.len() + 80);
    // Writing to a String cannot fail.
    if let Some(id) = id {
        let _ = writeln!(frame, "id: {id}");
    }
    let _ = write!(frame, "event: {event}\ndata: ");
    if data.contains(['\n', '\r']) {
        frame.push_str(&data.replace(['\n', '\r'], " "));
    } else {
        frame.push_str(data);
    }
    frame.push_str("\n\n");
    frame.into()
}

/// How long this many clients wait to hear of what was published.
fn told_every(clients: usize) -> Duration {
    TOLD_EVERY.max(TOLD_EACH.saturating_mul(u32::try_from(clients).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(ring: &Ring, count: usize) {
        ring.publish((0..count).map(|number| Draft::new("job", None, &number)).collect());
    }

    fn data(ring: &Ring, number: u64) -> Vec<String> {
        let messages = ring.from(number, 10_000).unwrap();
        let text = messages.iter().map(|message| std::str::from_utf8(&message.frame).unwrap());
        text.map(|text| text.lines().last().map_or("", str::trim).to_owned())
            .map(|line| line.replace("data: ", ""))
            .collect()
    }

    #[test]
    fn what_is_published_together_is_told_once() {
        let ring = Ring::new();
        let (next, mut told) = ring.follow();
        publish(&ring, 2);
        publish(&ring, 1);
        assert!(!told.has_changed().unwrap());
        ring.tell();
        assert_eq!(*told.borrow_and_update(), next + 3);
        ring.tell();
        assert!(!told.has_changed().unwrap(), "there is nothing new");
    }

    #[test]
    fn whoever_was_away_goes_on_where_it_was() {
        let ring = Ring::new();
        publish(&ring, 5);
        assert_eq!(ring.behind(&ring.id(3)), Ok(4));
        assert_eq!(data(&ring, 4).len(), 2);
        assert_eq!(ring.behind(&ring.id(5)), Ok(6), "nothing was missed");
        assert_eq!(ring.behind(&ring.id(0)), Ok(1), "the hello of an empty ring");
    }

    #[test]
    fn other_boots_too_old_ones_and_nonsense_are_behind() {
        let ring = Ring::new();
        publish(&ring, KEPT + 10);
        assert_eq!(ring.behind(&ring.id(10)), Ok(11));
        assert_eq!(ring.behind(&ring.id(9)), Err(Behind));
        assert_eq!(ring.from(10, 1).unwrap_err(), Behind);
        for id in [
            ring.id(KEPT as u64 + 11),
            "0-5".to_owned(),
            "5".to_owned(),
            ring.id(u64::MAX),
            "-".into(),
        ] {
            assert_eq!(ring.behind(&id), Err(Behind), "{id}");
        }
    }

    #[test]
    fn a_pause_is_a_gap() {
        let ring = Ring::new();
        publish(&ring, 3);
        ring.break_off();
        for number in 0..=3 {
            assert_eq!(ring.behind(&ring.id(number)), Err(Behind));
        }
        let (next, _) = ring.follow();
        publish(&ring, 1);
        assert_eq!(ring.from(next, 10).unwrap().len(), 1);
        assert_eq!(ring.behind(&ring.id(next - 1)), Ok(next), "its hello");
    }

    #[test]
    fn a_frame_has_one_line_of_data() {
        let framed = frame(Some("a-1"), "fault", "{\n\"a\":\r\n 1}");
        assert_eq!(framed, "id: a-1\nevent: fault\ndata: { \"a\":   1}\n\n");
        assert_eq!(frame(None, "event", "{}"), "event: event\ndata: {}\n\n");
    }

    #[test]
    fn many_are_told_more_seldom() {
        let told = [0, 1, 100, 500].map(|clients| told_every(clients).as_millis());
        assert_eq!(told, [100, 100, 200, 1_000]);
    }
}
