//! Events as archives keep them: every column of a stored event, as one line of JSON, and back.
//!
//! Nothing is lost: texts are JSON strings, bytes that were no text are base64, times have their
//! microseconds. `attributes` stands in the line as it came, byte for byte; where that would break
//! the line, it is a string that holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    batch::{Attributes, Batch, Event, FaultDelta, RecordHead, Scope, Span},
    event::{Kind, Severity, Source},
    shape::Fingerprint,
    time::Micros,
};

/// See the [module](self). The fields are the columns of the table `events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedEvent {
    /// Stands for the journal; the manifest says which.
    pub origin: i32,
    pub sequence: i64,
    pub ordinal: i32,
    #[serde(with = "moment")]
    pub received_at: Micros,
    #[serde(with = "moment")]
    pub occurred_at: Micros,
    pub source: String,
    pub kind: String,
    pub severity: String,
    pub environment: String,
    pub service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_bytes")]
    pub message_bytes: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "verbatim")]
    pub attributes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    pub messages: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// Why an archived event cannot be stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {origin}.{sequence}.{ordinal}: {column} = {value:?} is unknown here")]
pub struct Unknown {
    origin: i32,
    sequence: i64,
    ordinal: i32,
    column: &'static str,
    value: String,
}

impl ArchivedEvent {
    fn unknown(&self, column: &'static str, value: &str) -> Unknown {
        let Self { origin, sequence, ordinal, .. } = *self;
        Unknown { origin, sequence, ordinal, column, value: value.to_owned() }
    }

    fn head(&self) -> Result<RecordHead, Unknown> {
        let sequence = u64::try_from(self.sequence)
            .map_err(|_| self.unknown("sequence", &self.sequence.to_string()))?;
        let source =
            Source::from_name(&self.source).ok_or_else(|| self.unknown("source", &self.source))?;
        Ok(RecordHead { sequence, received_at: self.received_at, source, body: Span::EMPTY })
    }

    fn push_to(&self, batch: &mut Batch) -> Result<(), Unknown> {
        let head = self.head()?;
        let kind = Kind::from_name(&self.kind).ok_or_else(|| self.unknown("kind", &self.kind))?;
        let severity = Severity::from_name(&self.severity)
            .ok_or_else(|| self.unknown("severity", &self.severity))?;
        let ordinal = u32::try_from(self.ordinal)
            .map_err(|_| self.unknown("ordinal", &self.ordinal.to_string()))?;
        let fingerprint = self.fingerprint.as_ref().map(|text| {
            let parsed: Result<Fingerprint, _> = text.parse();
            parsed.map_err(|_| self.unknown("fingerprint", text))
        });
        let fingerprint = fingerprint.transpose()?;
        let is_same = batch.records.last().is_some_and(|last| {
            last.sequence == head.sequence
                && last.received_at == head.received_at
                && last.source == head.source
        });
        if !is_same {
            batch.records.push(head);
        }
        let mut push = |text: &[u8]| batch.text.push(text);
        let mut optional = |text: Option<&[u8]>| text.map_or(Span::EMPTY, &mut push);
        let process = optional(self.process.as_deref().map(str::as_bytes));
        let message_bytes = optional(self.message_bytes.as_deref());
        let stack_trace = optional(self.stack_trace.as_deref().map(str::as_bytes));
        let scope = Scope {
            environment: push(self.environment.as_bytes()),
            service: push(self.service.as_bytes()),
        };
        let attributes = match &self.attributes {
            Some(json) => Attributes::Json(push(json.as_bytes())),
            None => Attributes::None,
        };
        let mut event = Event {
            ordinal,
            messages: self.messages,
            priority: self.priority,
            process,
            message: push(self.message.as_bytes()),
            message_bytes,
            stack_trace,
            attributes,
            ..Event::new(kind, severity, self.occurred_at, scope)
        };
        // There is one: it was just pushed, or is the same.
        event.record = index(batch.records.len() - 1);
        if let Some(fingerprint) = fingerprint {
            event.fault = index(batch.faults.len());
            batch.faults.push(FaultDelta::counted(fingerprint, &event));
        }
        batch.events.push(event);
        Ok(())
    }
}

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("far below 2³² events a batch")
}

/// The events as batches, by the number that stands for their origin, each in the order of its
/// journal: as a store takes them in, but for counting.
///
/// # Errors
/// When an event holds what this version does not know.
pub fn batches(mut events: Vec<ArchivedEvent>) -> Result<BTreeMap<i32, Batch>, Unknown> {
    events.sort_by_key(|event| (event.origin, event.sequence, event.ordinal));
    let mut batches: BTreeMap<i32, Batch> = BTreeMap::new();
    for event in &events {
        event.push_to(batches.entry(event.origin).or_default())?;
    }
    Ok(batches)
}

/// RFC 3339 with all digits that there are.
mod moment {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use super::Micros;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "called by serde")]
    pub(super) fn serialize<S: Serializer>(
        micros: &Micros,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let at = jiff::Timestamp::from_microsecond(*micros).map_err(S::Error::custom)?;
        serializer.collect_str(&at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Micros, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let at = text.parse().map(jiff::Timestamp::as_microsecond);
        at.map_err(D::Error::custom)
    }
}

mod base64_bytes {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "called by serde")]
    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&BASE64_STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let decode = |text: String| BASE64_STANDARD.decode(text).map_err(D::Error::custom);
        text.map(decode).transpose()
    }
}

/// JSON text within a line of JSON, byte for byte.
mod verbatim {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use serde_json::value::RawValue;

    #[expect(clippy::ref_option, reason = "called by serde")]
    pub(super) fn serialize<S: Serializer>(
        json: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let Some(json) = json else { return serializer.serialize_none() };
        // A string would be taken for what holds another.
        let may_stand = json.starts_with('{') && !json.contains(['\n', '\r']);
        let raw: Option<&RawValue> = may_stand.then(|| serde_json::from_str(json).ok()).flatten();
        match raw.filter(|raw| raw.get() == json) {
            Some(raw) => raw.serialize(serializer),
            None => serializer.serialize_str(json),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('"') {
            return serde_json::from_str(raw.get()).map(Some).map_err(D::Error::custom);
        }
        Ok((raw.get() != "null").then(|| raw.get().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(attributes: Option<&str>) -> ArchivedEvent {
        ArchivedEvent {
            origin: 3,
            sequence: 4_711,
            ordinal: 2,
            received_at: 1_795_316_400_000_001,
            occurred_at: -5,
            source: "errors".to_owned(),
            kind: "error".to_owned(),
            severity: "error".to_owned(),
            environment: "prod".to_owned(),
            service: "shop".to_owned(),
            process: None,
            message: "a \"message\"\nof two lines".to_owned(),
            message_bytes: None,
            stack_trace: None,
            attributes: attributes.map(str::to_owned),
            priority: Some(187),
            messages: 2,
            fingerprint: Some(Fingerprint::of_parts(["x"]).to_string()),
        }
    }

    fn line(event: &ArchivedEvent) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn attributes_stay_as_they_came() {
        let deep = format!("{}1{}", "{\"a\":".repeat(300), "}".repeat(300));
        for json in [
            "{\"n\":1.0,  \"big\":123456789012345678901234567890, \"n\":2, \"e\":1e400}",
            "{\n  \"pretty\": true\r\n}",
            " {\"a\":1} ",
            "\"a string\"",
            "{\"lone\":\"\\ud800\"}",
            "null",
            &deep,
        ] {
            let event = plain(Some(json));
            let line = line(&event);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<ArchivedEvent>(&line).unwrap(), event, "{line}");
        }
        let usual = line(&plain(Some("{\"a\": 1.50}")));
        assert!(usual.contains("\"attributes\":{\"a\": 1.50}"), "for other programs: {usual}");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let event = ArchivedEvent { kind: "dream".to_owned(), ..plain(None) };
        let problem = batches(vec![event]).unwrap_err().to_string();
        assert_eq!(problem, "event 3.4711.2: kind = \"dream\" is unknown here");
        let odd = line(&plain(None)).replacen('{', "{\"more\":1,", 1);
        assert!(serde_json::from_str::<ArchivedEvent>(&odd).is_err());
    }

    #[test]
    fn a_batch_has_them_by_journal_and_in_order() {
        let mut late = plain(None);
        late.sequence = 1;
        let other = ArchivedEvent { origin: 1, ..plain(None) };
        let batches = batches(vec![plain(None), other, late]).unwrap();
        assert_eq!(batches.keys().copied().collect::<Vec<_>>(), [1, 3]);
        let batch = &batches[&3];
        let sequences: Vec<u64> = batch.records.iter().map(|record| record.sequence).collect();
        assert_eq!((sequences, batch.events.len()), (vec![1, 4_711], 2));
        assert_eq!(batch.events[1].ordinal, 2);
        assert_eq!(batch.text.get(batch.events[0].message), b"a \"message\"\nof two lines");
    }

    proptest! {
        #[test]
        fn a_line_gives_back_its_event(
            message: String,
            process: Option<String>,
            bytes: Option<Vec<u8>>,
            trace: Option<String>,
            attributes: Option<String>,
            priority: Option<u8>,
            at in -62_135_596_800_000_000..253_402_207_200_999_999_i64,
        ) {
            let event = ArchivedEvent {
                message, process, message_bytes: bytes, stack_trace: trace, attributes, priority,
                received_at: at, ..plain(None)
            };
            let line = line(&event);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<ArchivedEvent>(&line).unwrap(), event);
        }
    }
}
