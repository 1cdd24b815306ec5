//! What happened to objects, where rules make faults of it.

use serde_json::json;

use super::{NOW, facts, plan, problems, rules};
use crate::domain::{
    event::{Kind, Severity},
    rule::{ChangeFacts, Facts, ObjectFacts, Verdict},
    shape::Shape,
};

fn deleted() -> ObjectFacts<'static> {
    ObjectFacts {
        environment: "production",
        bucket: "backups-eu",
        key: "db/2026/full.dump",
        kind: "deleted",
    }
}

#[test]
fn objects_are_selected_by_bucket_key_and_what_happened() {
    for (matches, holds) in [
        (json!({"bucket": "backups-*"}), true),
        (json!({"bucket": "backups"}), false),
        (json!({"key": "db/*.dump", "type": ["changed", "deleted"]}), true),
        (json!({"key": "db/*", "type": "created"}), false),
        (json!({"kind": "object", "environment": "production"}), true),
        (json!({"kind": "object", "service": "backups-eu", "source": "bucket"}), true),
        (json!({"kind": "object", "source": "maxwell"}), false),
        (json!({"type": "deleted"}), false),
    ] {
        let rules = rules(json!([{"name": "it", "match": matches}]));
        let selected = rules.select_object(&deleted());
        assert_eq!(selected.is_some_and(|it| it.rule == "it"), holds, "{matches}");
        let delete = ChangeFacts {
            environment: "production",
            service: "",
            database: "",
            table: "",
            kind: "deleted",
            line: b"{}",
        };
        let is_of_changes = matches == json!({"type": "deleted"});
        assert_eq!(rules.select_change(&delete).is_some(), is_of_changes, "{matches}");
    }
    assert_eq!(rules(json!([{"name": "all"}])).select_object(&deleted()), None);
}

#[test]
fn a_selected_object_is_named_by_what_the_rule_says() {
    let rules = rules(json!([
        {"name": "tests", "match": {"bucket": "test-*"}, "ignore": true},
        {"name": "often", "match": {"bucket": "*", "count": 5}, "project": "A",
            "fault_by": ["folder", "type"]},
        {"name": "backups", "match": {"bucket": "backups-*"}, "project": "B"},
    ]));
    let selected = rules.select_object(&deleted()).unwrap();
    assert_eq!(selected.rule, "often\nbackups");
    assert_eq!(selected.parts, ["often", "db/2026", "deleted"]);
    assert_eq!(selected.title, "deleted in backups-eu/db/2026");
    let facts = |count, selected_by| Facts {
        kind: Kind::Object,
        severity: Severity::Info,
        source: Some("bucket"),
        count,
        selected_by,
        ..facts()
    };
    assert_eq!(plan(&rules, &facts(5, "often\nbackups")).draft.project, "A");
    assert_eq!(plan(&rules, &facts(4, "often\nbackups")).draft.project, "B");
    assert_eq!(rules.decide(&facts(9, ""), NOW), Verdict::NoRule);
}

#[test]
fn by_default_bucket_and_what_happened_name_it() {
    let rules = rules(json!([{"name": "it", "match": {"kind": "object"}}]));
    let selected = rules.select_object(&deleted()).unwrap();
    assert_eq!(selected.parts, ["it", "backups-eu", "deleted"]);
    assert_eq!(selected.title, "deleted in backups-eu");
    let of = |parts: &[String]| Shape::of_object(parts, "t").fingerprint;
    assert_ne!(of(&selected.parts), Shape::of_change(&selected.parts, "t").fingerprint);
}

#[test]
fn what_only_some_kinds_have_is_refused_elsewhere() {
    for (rule, expected) in [
        (
            json!({"match": {"kind": "change", "bucket": "b"}}),
            "match.kind = \"change\": only objects have `match.bucket`; kind = \"object\"",
        ),
        (
            json!({"match": {"bucket": "b", "table": "t"}}),
            "match = table, bucket: no kind of event has all of these",
        ),
        (json!({"match": {"kind": ["log", "object"]}}), "objects need a rule of their own"),
        (json!({"match": {"kind": ["change", "object"]}}), "need a rule of their own"),
        (
            json!({"match": {"kind": "object"}, "fault_by": ["table"]}),
            "fault_by = \"table\": there are bucket, folder, key, type",
        ),
        (
            json!({"match": {"kind": "change"}, "fault_by": ["key"]}),
            "fault_by = \"key\": there are database, table, type, columns.NAME",
        ),
        (json!({"fault_by": ["key"]}), "only faults of changes and objects are named by a rule"),
    ] {
        let mut named = rule.clone();
        named["name"] = "it".into();
        let found = problems(json!([named])).join("\n");
        assert!(found.contains(expected), "{rule}: {found}");
    }
}
