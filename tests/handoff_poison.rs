//! What nobody can understand, in a stream: it ends as rejected, or is passed over and counted, and
//! holds up nobody else.

use faultline_actors::{
    adapters::journal::{
        Origin,
        stream::format::{Compression, Entry, Gathering, sign},
    },
    domain::{
        event::Source,
        record::{Block, Content, RecordRef},
    },
};
use faultline_testkit::{
    database::Database,
    eventually,
    handoff::{self, committed},
    load::Load,
    postgres::Postgres,
    redis::Redis,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const STREAM: &str = "faultline:{dev:0}:stream";

/// An entry of one record.
fn entry(origin: Origin, sequence: u64, kept: u64) -> Entry {
    let record = RecordRef {
        sequence,
        received_at: 0,
        source: Source::Maxwell,
        messages: 1,
        content: Content::Duplicate,
    };
    let mut gathering = Gathering::default();
    gathering.push(&Block::default(), &record);
    gathering.seal(origin, kept, Compression::None)
}

/// Adds it as a relay does.
fn add(redis: &Redis, entry: &Entry) {
    let Entry { head, records, .. } = entry;
    let mut words: Vec<Vec<u8>> = ["XADD", STREAM, "*"].map(Into::into).into();
    for (name, value) in [
        ("origin", head.origin.to_string()),
        ("first", head.first.to_string()),
        ("last", head.last.to_string()),
        ("kept", head.kept.to_string()),
    ] {
        words.extend([name.into(), value.into()]);
    }
    words.extend([b"records".to_vec(), records.clone()]);
    assert!(redis.command(&words).starts_with('$'));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_up_nobody() {
    let (redis, database) = (Redis::start(), Database::Postgres(Box::new(Postgres::start())));
    let mut relay = handoff::relay(BINARY, &redis.url(), "dev");
    let mut hub = handoff::hub(BINARY, &redis.url(), &database.url(), "dev");
    relay.start();
    hub.start();
    hub.ledger().await;
    let load = Load::start(relay.receiver(), 4);

    // Of relays that are gone for good: more than a hub has room for wait for what comes before.
    for number in 1..=80 {
        add(&redis, &entry(Origin::from_u128(number), 5, 1));
    }
    // Not of a relay at all.
    assert!(redis.command(&["XADD", STREAM, "*", "some", "thing"]).starts_with('$'));
    assert!(redis.command(&["XADD", STREAM, "*", "origin", "x", "first", "-1"]).starts_with('$'));
    // Of a relay with a fault, whole as far as one can see.
    let faulty = Origin::from_u128(1_000);
    let mut nonsense = entry(faulty, 1, 1);
    nonsense.records[17] = 200;
    sign(&nonsense.head, &mut nonsense.records);
    add(&redis, &nonsense);
    add(&redis, &entry(faulty, 2, 1));
    // As if of the relay itself, and damaged on the way: it is asked to send it again.
    let origin = relay.json("/api/ledger").await["origin"].as_str().unwrap().parse().unwrap();
    let far = 1 << 40;
    let mut damaged = entry(origin, far, far);
    damaged.records[20] ^= 1;
    add(&redis, &damaged);

    let rejected = "SELECT count(*) FROM rejected WHERE reason LIKE 'damaged in the journal%'";
    eventually("what is nonsense is rejected", async || {
        let count = database.number(rejected).await;
        if count == 1 { Ok(()) } else { Err(count) }
    })
    .await;
    eventually("what is behind it is known", async || {
        let ledger = hub.json("/api/ledger").await;
        let origins = ledger["origins"].as_array().unwrap();
        let own = origins.iter().find(|one| one["origin"] == faulty.to_string()).unwrap();
        if own["position"] == 2 { Ok(()) } else { Err(ledger) }
    })
    .await;
    // By a program that cannot be parsed, in one of the bodies of a relay.
    for body in [&b"no json\n"[..], b"\xff\xfe\0\n", b"{}\n"] {
        let request = relay.post("/maxwell", "application/x-ndjson").body(body);
        assert!(request.send().await.unwrap().status().is_success());
    }
    let accepted = load.end().await;
    let at_relay = committed(&relay).await;
    let own = handoff::at_hub(&hub, &at_relay).await;
    assert_eq!(own["sources"]["maxwell"]["rejected"], 3, "each by itself: {own}");
    assert_eq!(own["sources"]["errors"]["stored"], accepted.reports, "{own}");
    accepted.assert_stored_once(&database).await;
    assert!(hub.metric("faultline_stream_damaged_entries_total", "").await >= 3.0);
    eventually("the stream is trimmed", async || {
        let length = redis.command(&["XLEN", STREAM]);
        if length == ":0" { Ok(()) } else { Err(length) }
    })
    .await;
}
