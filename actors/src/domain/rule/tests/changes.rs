//! Changes that rules make faults of.

use serde_json::json;

use super::{NOW, facts, plan, rules};
use crate::domain::{
    event::{Kind, Severity},
    rule::{ChangeFacts, Facts, Verdict},
    shape::Shape,
};

const PAID: &[u8] = br#"{"database":"shop","table":"orders","type":"update","data":{"id":7,"status":"failed","total":39.95,"note":null},"old":{"status":"paid"}}"#;

fn change(kind: &'static str, line: &'static [u8]) -> ChangeFacts<'static> {
    ChangeFacts {
        environment: "production",
        service: "shop",
        database: "shop",
        table: "orders",
        kind,
        line,
    }
}

#[test]
fn changes_are_selected_by_their_columns() {
    const DELETED: &[u8] = br#"{"type":"delete","data":{"status":"paid"}}"#;
    const INSERTED: &[u8] = br#"{"type":"insert","data":{"status":"failed"}}"#;
    for (matches, kind, line, holds) in [
        (json!({"table": "orders"}), "update", PAID, true),
        (json!({"table": "order_*"}), "update", PAID, false),
        (json!({"database": "shop", "type": "delete"}), "update", PAID, false),
        (json!({"kind": "change", "environment": "dev"}), "update", PAID, false),
        (
            json!({"columns": {"status": {"old": "paid", "new": ["failed", "x"]}}}),
            "update",
            PAID,
            true,
        ),
        (json!({"columns": {"status": {"old": "open"}}}), "update", PAID, false),
        (json!({"columns": {"status": {"new": "*"}}}), "update", PAID, true),
        (json!({"columns": {"total": {"new": "*"}}}), "update", PAID, false),
        (json!({"columns": {"total": {"is": 39.95}}}), "update", PAID, true),
        (json!({"columns": {"id": {"is": 7}, "note": {"is": "null"}}}), "update", PAID, true),
        (json!({"columns": {"missing": {"is": "*"}}}), "update", PAID, false),
        (json!({"columns": {"status": {"old": "paid"}}}), "delete", DELETED, true),
        (json!({"columns": {"status": {"new": "paid"}}}), "delete", DELETED, false),
        (json!({"columns": {"status": {"new": "failed"}}}), "insert", INSERTED, true),
        (json!({"columns": {"status": {"new": "failed"}}}), "update", b"no json", false),
    ] {
        let rules = rules(json!([{"name": "it", "match": matches}]));
        let selected = rules.select_change(&change(kind, line));
        assert_eq!(selected.is_some_and(|it| it.rule == "it"), holds, "{matches} {kind}");
    }
    assert!(!rules(json!([{"name": "all"}])).select_changes());
}

#[test]
fn a_selected_change_is_named_by_what_the_rule_says() {
    let rules = rules(json!([
        {"name": "tests", "match": {"columns": {"id": {"is": 1}}}, "ignore": true},
        {"name": "often", "match": {"table": "orders", "count": 5}, "project": "A",
            "fault_by": ["table", "columns.status", "columns.nothing"]},
        {"name": "orders", "match": {"table": "orders"}, "project": "B"},
        {"name": "never reached", "match": {"kind": "change"}},
    ]));
    let selected = rules.select_change(&change("update", PAID)).unwrap();
    assert_eq!(selected.rule, "often\norders");
    assert_eq!(selected.parts, ["often", "orders", "failed", ""]);
    assert_eq!(selected.title, "update shop.orders, status=failed, nothing=");
    assert_eq!(rules.select_change(&change("insert", br#"{"data":{"id":1}}"#)), None);

    let facts = |count, selected_by| Facts {
        kind: Kind::Change,
        severity: Severity::Info,
        count,
        selected_by,
        ..facts()
    };
    assert_eq!(plan(&rules, &facts(5, "often\norders")).draft.project, "A");
    assert_eq!(plan(&rules, &facts(4, "often\norders")).draft.project, "B");
    assert!(matches!(rules.decide(&facts(4, "often"), NOW), Verdict::Below { .. }));
    assert_eq!(rules.decide(&facts(9, ""), NOW), Verdict::NoRule);
    assert_eq!(rules.decide(&facts(9, "renamed since"), NOW), Verdict::NoRule);
}

#[test]
fn shapes_of_changes_are_told_apart_by_their_parts() {
    let shape = |parts: &[&str]| {
        let parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
        Shape::of_change(&parts, "update shop.orders")
    };
    assert_eq!(shape(&["a", "b"]), shape(&["a", "b"]));
    assert_ne!(shape(&["a", "b"]).fingerprint, shape(&["ab", ""]).fingerprint);
    assert_eq!(shape(&["a"]).template, "");
}
