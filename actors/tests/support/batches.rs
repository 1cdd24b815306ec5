//! Batches of one record, parsed from what a client would send.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use faultline_actors::{
    adapters::store::{Store, StoredEvent, search::EventFilter},
    domain::{
        batch::Batch,
        event::Source,
        parse::{Parser, count_messages},
        record::{Block, Content, Meta, RecordRef, RejectedId},
        rule::Rules,
    },
};

/// When every record was received.
pub(crate) const NOW: i64 = 1_795_316_400_000_000;

/// A batch of one record.
pub(crate) fn batch(sequence: u64, source: Source, body: &[u8]) -> Arc<Batch> {
    batch_with(sequence, source, body, Arc::default())
}

/// The same, received at another time.
pub(crate) fn batch_at(sequence: u64, source: Source, body: &[u8], at: i64) -> Arc<Batch> {
    made(sequence, source, body, LIVE, Arc::default(), at)
}

/// The same, taken in again.
pub(crate) fn replay(sequence: u64, source: Source, body: &[u8], id: RejectedId) -> Arc<Batch> {
    let meta = Meta { replay: Some(id), ..LIVE };
    made(sequence, source, body, meta, Arc::default(), NOW)
}

pub(crate) fn batch_with(
    sequence: u64,
    source: Source,
    body: &[u8],
    rules: Arc<Rules>,
) -> Arc<Batch> {
    made(sequence, source, body, LIVE, rules, NOW)
}

const LIVE: Meta<'static> = Meta {
    sender_is_logplex: false,
    environment: "prod",
    service: "shop",
    overlong: 0,
    replay: None,
};

fn made(
    sequence: u64,
    source: Source,
    body: &[u8],
    meta: Meta<'_>,
    rules: Arc<Rules>,
    received_at: i64,
) -> Arc<Batch> {
    let meta = meta.encode();
    let records = vec![RecordRef {
        sequence,
        received_at,
        source,
        messages: count_messages(source, body),
        content: Content::Body { meta: 0..meta.len(), body: meta.len()..meta.len() + body.len() },
    }];
    let mut parser = Parser::new("default", rules);
    let mut batch = Batch::default();
    parser.parse(&mut batch, &Block { bytes: [&meta, body].concat().into(), records });
    parser.finish(&mut batch);
    Arc::new(batch)
}

pub(crate) fn report(sequence: u64, message: &str) -> Arc<Batch> {
    let body = serde_json::json!({ "message": message, "attributes": {"n": 1} }).to_string();
    batch(sequence, Source::Errors, body.as_bytes())
}

/// The newest events.
pub(crate) async fn newest(
    store: &dyn Store,
    filter: &EventFilter,
    limit: u32,
) -> Vec<StoredEvent> {
    let found = store.search(filter, None, limit, Duration::from_mins(1)).await.unwrap();
    assert_eq!(found.searched_until, None, "a minute is enough");
    found.events
}

/// A batch of reports with these sequences, each of which says its own.
pub(crate) fn reports(sequences: RangeInclusive<u64>) -> Arc<Batch> {
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    let meta = LIVE.encode();
    for sequence in sequences {
        let start = bytes.len();
        bytes.extend_from_slice(&meta);
        let body = bytes.len();
        let report = serde_json::json!({ "message": format!("report {sequence}") });
        bytes.extend_from_slice(report.to_string().as_bytes());
        records.push(RecordRef {
            sequence,
            received_at: NOW,
            source: Source::Errors,
            messages: 1,
            content: Content::Body { meta: start..body, body: body..bytes.len() },
        });
    }
    let mut parser = Parser::new("default", Arc::default());
    let mut batch = Batch::default();
    parser.parse(&mut batch, &Block { bytes: bytes.into(), records });
    parser.finish(&mut batch);
    Arc::new(batch)
}
