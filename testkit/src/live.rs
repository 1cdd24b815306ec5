//! A client of `GET /api/live`, as a browser's `EventSource` is one.

use std::collections::VecDeque;

use serde_json::Value;

use crate::{PATIENCE, program::Program};

/// A connection to the live stream.
pub struct Live {
    response: reqwest::Response,
    text: Vec<u8>,
    messages: VecDeque<Message>,
    /// Comments so far.
    pub comments: usize,
}

/// A message of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: Option<String>,
    pub event: String,
    pub data: Value,
}

impl Message {
    /// A text of its data; empty where there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.data[key].as_str().unwrap_or_default()
    }
}

/// Asks for the stream; gives whatever is answered. `last`: the last id that came.
///
/// # Panics
/// When nothing is answered.
pub async fn ask(program: &Program, query: &str, last: Option<&str>) -> reqwest::Response {
    let url = format!("http://{}/api/live?{query}", program.admin());
    // Without a limit of time, which every stream would come to.
    let mut request = reqwest::Client::new().get(url);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    tokio::time::timeout(PATIENCE, request.send()).await.expect("an answer in time").unwrap()
}

impl Live {
    /// Opens it.
    ///
    /// # Panics
    /// When it is not let in.
    pub async fn open(program: &Program, query: &str) -> Self {
        Self::of(ask(program, query, None).await)
    }

    /// Goes on behind a message.
    ///
    /// # Panics
    /// When it is not let in.
    pub async fn resume(program: &Program, query: &str, last: &str) -> Self {
        Self::of(ask(program, query, Some(last)).await)
    }

    fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: Vec::new(), messages: VecDeque::new(), comments: 0 }
    }

    /// The next message; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Some(message);
            }
            self.read().await?;
        }
    }

    /// Takes in what comes next; `None` at the end.
    ///
    /// # Panics
    /// When it is no event stream.
    pub async fn read(&mut self) -> Option<()> {
        let bytes = self.response.chunk().await.ok()??;
        self.text.extend_from_slice(&bytes);
        while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = String::from_utf8(block).expect("UTF-8");
            self.messages.extend(parse(&block));
            self.comments += block.lines().filter(|line| line.starts_with(':')).count();
        }
        Some(())
    }

    /// The next message that is meant.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn until(&mut self, what: &str, is_meant: impl Fn(&Message) -> bool) -> Message {
        self.all_until(what, is_meant).await.pop().expect("at least that one")
    }

    /// All messages up to the one that is meant.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn all_until(
        &mut self,
        what: &str,
        is_meant: impl Fn(&Message) -> bool,
    ) -> Vec<Message> {
        let mut came = Vec::new();
        let found = async {
            while let Some(message) = self.next().await {
                came.push(message);
                if is_meant(&came[came.len() - 1]) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(matches!(found, Ok(true)), "{what}: {found:?}; there came {came:#?}");
        came
    }
}

/// A block as the standard reads it; `None` where it has no data.
fn parse(block: &str) -> Option<Message> {
    let field = |name: &str| {
        let value = |line: &str| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(value.strip_prefix(' ').unwrap_or(value).to_owned())
        };
        block.lines().find_map(value)
    };
    let data = field("data")?;
    let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
    Some(Message { id: field("id"), event: field("event").unwrap_or_default(), data })
}
