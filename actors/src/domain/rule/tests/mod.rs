//! Rules as people write them, and what becomes of faults.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::ticket::Draft;

mod changes;
mod objects;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const NOW: Micros = 1_795_316_400 * SECOND;

fn settings(rules: serde_json::Value) -> Vec<RuleSettings> {
    serde_json::from_value(rules).unwrap()
}

fn defaults() -> TicketDefaults {
    let public_url = "https://faultline.example.com/".to_owned();
    TicketDefaults { project: "OPS".to_owned(), issue_type: String::new(), public_url }
}

fn rules(rules: serde_json::Value) -> Rules {
    Rules::compile(&settings(rules), &Priorities::default(), defaults()).unwrap()
}

fn problems(rules: serde_json::Value) -> Vec<String> {
    Rules::compile(&settings(rules), &Priorities::default(), defaults()).unwrap_err()
}

/// An error of the shop that came up twenty times in the last ten minutes.
fn facts() -> Facts<'static> {
    Facts {
        fault: 17,
        environment: "production",
        service: "shop",
        kind: Kind::Log,
        source: Some("logdrains"),
        severity: Severity::Error,
        title: "payment <n> refused",
        example: "payment 4711 refused, password=hunter",
        latest: "payment 4712 refused",
        fingerprint: "v1:00",
        count: 20,
        first_seen: NOW - 10 * MINUTE,
        last_seen: NOW,
        state: FaultState::New,
        selected_by: "",
        count_within: &|_| Some(20),
    }
}

fn plan(rules: &Rules, facts: &Facts<'_>) -> Plan {
    match rules.decide(facts, NOW) {
        Verdict::Ticket(plan) => *plan,
        other => panic!("{other:?}"),
    }
}

/// The rule that decides for a ticket; empty where none does.
fn decider(rules: &Rules, facts: &Facts<'_>) -> String {
    match rules.decide(facts, NOW) {
        Verdict::Ticket(plan) => plan.rule,
        _ => String::new(),
    }
}

#[test]
fn without_rules_errors_get_a_ticket_in_the_default_project() {
    let rules = rules(json!([]));
    let Plan { rule, draft, recurrence, respond, class, .. } = plan(&rules, &facts());
    assert_eq!((rule.as_str(), draft.project.as_str()), ("default", "OPS"));
    assert_eq!((draft.issue_type.as_str(), draft.priority), ("Bug", None));
    assert_eq!(draft.summary, "[production] shop: payment <n> refused");
    assert_eq!((recurrence, class), (Recurrence::Reopen, Some(Class::P2)));
    assert_eq!(respond, Some(Duration::from_hours(8)));
    let lines = [
        "payment <n> refused",
        "",
        "Environment: production",
        "Service: shop",
        "Severity: error",
        "Class: P2, to be responded to within 8h",
        "Count: 20",
        "First seen: 2026-11-22T02:50:00Z",
        "Last seen: 2026-11-22T03:00:00Z",
        "",
        "```",
        "payment 4711 refused, password=***",
        "```",
        "",
        "https://faultline.example.com/faults/17",
    ];
    assert_eq!(draft.description, lines.join("\n"));
    let warning = Facts { severity: Severity::Warning, ..facts() };
    assert_eq!(rules.decide(&warning, NOW), Verdict::NoRule);
    let change = Facts { kind: Kind::Change, severity: Severity::Info, ..facts() };
    assert_eq!(rules.decide(&change, NOW), Verdict::NoRule);
}

#[test]
fn without_a_project_anywhere_tickets_are_dry() {
    let none = TicketDefaults::default;
    let empty = Rules::compile(&[], &Priorities::default(), none()).unwrap();
    assert!(empty.is_empty() && empty.decide(&facts(), NOW) == Verdict::NoRule);
    let named = settings(json!([{"name": "a"}, {"name": "b", "project": "SHOP"}]));
    let rules = Rules::compile(&named, &Priorities::default(), none()).unwrap();
    let Draft { project, description, .. } = plan(&rules, &facts()).draft;
    assert_eq!(project, DRY_PROJECT);
    assert!(!description.contains("http"), "{description}");
}

#[test]
fn each_condition_must_hold() {
    for (matches, holds) in [
        (json!({}), true),
        (json!({"kind": "log"}), true),
        (json!({"kind": ["router", "error"]}), false),
        (json!({"source": "logdrains"}), true),
        (json!({"source": "errors"}), false),
        (json!({"environment": "prod*"}), true),
        (json!({"environment": "dev*"}), false),
        (json!({"service": ["cart", "shop"]}), true),
        (json!({"service": "shopping"}), false),
        (json!({"severity": "warning"}), true),
        (json!({"severity": "critical"}), false),
        (json!({"title": "refused"}), true),
        (json!({"title": "*accepted"}), false),
        (json!({"state": "new"}), true),
        (json!({"state": ["known", "regression"]}), false),
        (json!({"service": "shop", "title": "accepted"}), false),
        (json!({"table": "*"}), false),
    ] {
        let rules = rules(json!([{"name": "it", "match": matches}]));
        assert_eq!(decider(&rules, &facts()) == "it", holds, "{matches}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = rules(json!([
        {"name": "labels", "then": "continue", "labels": ["from faultline", "x"], "class": "P1",
            "fields": {"customfield_1": {"value": "a"}, "customfield_2": 1}},
        {"name": "silence", "match": {"title": "noise"}, "ignore": true},
        {"name": "payments", "match": {"title": "payment"}, "project": "PAY", "labels": ["x", "y"],
            "issue_type": "Incident", "components": ["Billing"], "assignee": "ann",
            "fields": {"customfield_2": 2}, "recurrence": "create", "cool_off": "1d"},
        {"name": "rest", "priority": "Lowest", "comment_at": [5, 50]},
    ]));
    let Plan { rule, draft, recurrence, cool_off, .. } = plan(&rules, &facts());
    assert_eq!((rule.as_str(), draft.project.as_str()), ("payments", "PAY"));
    assert_eq!(draft.labels, ["from-faultline", "x", "y"]);
    assert_eq!(draft.priority.as_deref(), Some("High"), "of the class that an earlier rule gave");
    assert_eq!((draft.issue_type.as_str(), draft.assignee.as_deref()), ("Incident", Some("ann")));
    let fields = json!({"customfield_1": {"value": "a"}, "customfield_2": 2});
    assert_eq!(json!(draft.fields), fields);
    assert_eq!((recurrence, cool_off), (Recurrence::Create, Duration::from_hours(24)));

    let other = plan(&rules, &Facts { title: "timeout", ..facts() });
    assert_eq!((other.rule.as_str(), other.draft.project.as_str()), ("rest", "OPS"));
    assert_eq!(other.draft.priority.as_deref(), Some("Lowest"));
    assert_eq!(other.milestones.passed(4, 49), Some(5));

    let noise = rules.decide(&Facts { title: "noise", ..facts() }, NOW);
    assert_eq!(noise, Verdict::Ignored { rule: "silence".to_owned() });
}

#[test]
fn a_rule_that_continues_decides_where_no_other_does() {
    let rules = rules(json!([
        {"name": "a", "then": "continue", "project": "A"},
        {"name": "b", "match": {"title": "other"}, "project": "B"},
    ]));
    assert_eq!(plan(&rules, &facts()).draft.project, "A");
    assert_eq!(plan(&rules, &Facts { title: "other", ..facts() }).draft.project, "B");
}

#[test]
fn what_is_muted_gets_a_ticket_later() {
    let rules = rules(json!([{"name": "hush", "mute": "1h"}, {"name": "then"}]));
    let until = NOW + 50 * MINUTE;
    assert_eq!(rules.decide(&facts(), NOW), Verdict::Muted { rule: "hush".to_owned(), until });
    assert!(matches!(rules.decide(&facts(), until), Verdict::Ticket(plan) if plan.rule == "then"));
}

#[test]
fn a_threshold_that_is_not_reached_is_the_reason_when_no_later_rule_matches() {
    let often = json!({"name": "often", "match": {"count": 30, "within": "5m"}});
    let old = json!({"name": "old", "match": {"min_age": "15m"}});
    let total = json!({"name": "total", "match": {"count": 20}});
    let below =
        |have, within| Verdict::Below { rule: "often".to_owned(), needed: 30, within, have };
    let five = Some(Duration::from_mins(5));

    let only = rules(json!([often, old]));
    assert_eq!(only.decide(&facts(), NOW), below(20, five), "fewer at all than are needed within");
    let facts_of = |count, count_within| Facts { count, count_within, ..facts() };
    let unknown = facts_of(40, &|_| None);
    let within = Duration::from_mins(5);
    assert_eq!(only.decide(&unknown, NOW), Verdict::NeedsCount { within });
    assert_eq!(only.decide(&facts_of(40, &|_| Some(29)), NOW), below(29, five));
    assert_eq!(decider(&only, &facts_of(40, &|_| Some(30))), "often");
    assert_eq!(only.window(), five);

    let young = rules(json!([old]));
    let until = NOW + 5 * MINUTE;
    assert_eq!(young.decide(&facts(), NOW), Verdict::TooYoung { rule: "old".to_owned(), until });
    assert!(matches!(young.decide(&facts(), until), Verdict::Ticket(_)));
    assert_eq!(decider(&rules(json!([often, old, total])), &facts()), "total");
    assert_eq!(decider(&rules(json!([total])), &Facts { count: 19, ..facts() }), "");
}

#[test]
fn an_expression_decides_too_and_its_failure_is_told() {
    let with = |when: &str| rules(json!([{"name": "it", "when": when}]));
    for (when, holds) in [
        ("fault.count > 5 and fault.service == 'shop'", true),
        ("fault.count > 20", false),
        ("'refused' in fault.title and fault.severity in ['error', 'critical']", true),
        ("rule.name == 'it' or fault.state == 'known'", true),
        ("fault.title == '%}{% if true %}'", false),
    ] {
        assert_eq!(decider(&with(when), &facts()) == "it", holds, "{when}");
    }
    let mut notes = Vec::new();
    let verdict = with("5 // (fault.count - 20) > 1").decide_noting(&facts(), NOW, &mut notes);
    assert_eq!(verdict, Verdict::NoRule);
    assert!(notes[0].starts_with("rule \"it\": when: "), "{notes:?}");
}

#[test]
fn templates_say_what_the_ticket_says() {
    let rules = rules(json!([{
        "name": "it", "class": "P0",
        "summary": "{{ class }}: {{ fault.title | upper }}\n({{ fault.count }})",
        "description": "{{ rule.name }} {{ respond }} {{ fault.url }}\n{{ fault.example }} api_key=abc",
    }]));
    let Plan { draft, template_problem, .. } = plan(&rules, &facts());
    assert_eq!(draft.summary, "P0: PAYMENT <N> REFUSED (20)");
    assert_eq!(
        draft.description,
        "it 15m https://faultline.example.com/faults/17\n\
         payment 4711 refused, password=*** api_key=***"
    );
    assert_eq!((draft.priority.as_deref(), template_problem), (Some("Highest"), None));
}

#[test]
fn a_template_that_fails_is_told_and_the_default_is_used() {
    for summary in [
        "{{ 1 // (fault.count - 20) }}",
        "{% for a in range(fault.count) %}{% for b in range(4000) %}x{% endfor %}{% endfor %}",
        "{% if fault.count == 1 %}once{% endif %}",
    ] {
        // As it is at the start, with its sample, the template may do well.
        let Ok(rules) = Rules::compile(
            &settings(json!([{"name": "it", "summary": summary}])),
            &Priorities::default(),
            defaults(),
        ) else {
            panic!("{summary}");
        };
        let plan = plan(&rules, &facts());
        assert_eq!(plan.draft.summary, "[production] shop: payment <n> refused");
        let problem = plan.template_problem.unwrap();
        assert!(problem.starts_with("rule \"it\": summary: "), "{problem}");
    }
}

#[test]
fn what_is_wrong_with_a_rule_is_named() {
    for (rule, expected) in [
        (json!({}), "rules[0]: name = \"\": a name of 1 to 100 bytes"),
        (json!({"match": {"kind": "logs"}}), "match.kind = \"logs\": there are log, router,"),
        (json!({"match": {"source": "kafka"}}), "match.source = \"kafka\": there are logdrains,"),
        (json!({"match": {"severity": "bad"}}), "match.severity = \"bad\": there are emergency,"),
        (json!({"match": {"state": "old"}}), "match.state = \"old\": there are new, known, regr"),
        (json!({"match": {"count": 0}}), "match.count = 0: at least 1"),
        (json!({"match": {"within": "5m"}}), "match.within = \"5m\": `match.count` says"),
        (json!({"match": {"count": 2, "within": "0s"}}), "match.within = \"0s\": more than zero"),
        (
            json!({"match": {"kind": "log", "table": "t"}}),
            "match.kind = \"log\": only changes have",
        ),
        (json!({"match": {"kind": ["log", "change"]}}), "match.kind = [\"change\", …]: changes"),
        (json!({"match": {"columns": {"a": {}}}}), "match.columns.a = {}: old, new or is"),
        (json!({"when": "fault.count >"}), "when = \"fault.count >\": syntax error"),
        (json!({"when": "fault.cuont > 1"}), "there is no `fault.cuont`; there are fault.id,"),
        (json!({"when": "class == 'P0'"}), "there is no `class`"),
        (json!({"summary": "{{ fault.titel }}"}), "summary = \"{{ fault.titel }}\": there is no"),
        (json!({"summary": "{% if fault"}), "summary = \"{% if fault\": syntax error"),
        (json!({"description": "{{ fault.title | shout }}"}), "unknown filter"),
        (json!({"project": "my shop"}), "project = \"my shop\": a project's key"),
        (json!({"project": ""}), "project = \"\": a project's key"),
        (json!({"priority": " "}), "priority = \" \": a name is needed"),
        (json!({"labels": [" "]}), "labels = \" \": a label has"),
        (json!({"comment_at": [10, 10]}), "comment_at = [10, 10]: ascending"),
        (json!({"auto_resolve_after": "0s"}), "auto_resolve_after = \"0s\": more than zero"),
        (json!({"fields": {"summary": "x"}}), "fields.summary = …: the rule has a setting"),
        (json!({"fault_by": ["table"]}), "fault_by = [\"table\"]: only faults of changes"),
        (
            json!({"match": {"kind": "change"}, "fault_by": ["columns."]}),
            "fault_by = \"columns.\": there are database, table, type, columns.NAME",
        ),
        (json!({"match": {"kind": "change"}, "fault_by": []}), "fault_by = []: at least one"),
        (json!({"ignore": true, "project": "A"}), "project = …: a rule with `ignore` makes no"),
        (json!({"ignore": true, "mute": "1d"}), "mute = \"1d\": the rule ignores for ever"),
        (json!({"mute": "0s"}), "mute = \"0s\": more than zero"),
        (json!({"ignore": true, "then": "continue"}), "then = \"continue\": a rule with `ignore`"),
    ] {
        let mut rule = rule;
        let place = if rule.as_object().unwrap().is_empty() {
            "rules[0]: "
        } else {
            rule["name"] = json!("it");
            "rules[0] \"it\": "
        };
        let found = problems(json!([rule]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(place) && found[0].contains(expected), "{found:?}");
    }
    let twice = problems(json!([{"name": "a"}, {"name": "a"}, {"name": "b", "when": "("}]));
    assert!(twice[0].starts_with("rules[1] \"a\": name = \"a\": another rule has this name"));
    assert_eq!(twice.len(), 2);
}

proptest! {
    #[test]
    fn tickets_fit_and_tell_no_secrets(
        title in "[a-zé𝄞 \n\t\u{1}]{0,400}",
        example in "([a-zé𝄞 \n`]{0,90}|\npassword=hunter |\nBearer hunter2\n){0,3}",
        times in 1..900_usize,
        service in "[a-zé]{0,300}",
        custom in any::<bool>(),
    ) {
        let template = json!([{"name": "it", "summary": "{{ fault.title }} token=hunter",
            "description": "{{ fault.example }}"}]);
        let rules = rules(if custom { template } else { json!([]) });
        let (example, title) = (example.repeat(times), format!("x{title}"));
        let facts = Facts { title: &title, example: &example, service: &service, ..facts() };
        let Draft { summary, description, .. } = plan(&rules, &facts).draft;
        prop_assert!(summary.encode_utf16().count() <= 255);
        prop_assert!(!summary.contains(char::is_control) && !summary.is_empty());
        prop_assert!(description.encode_utf16().count() <= 30_767);
        prop_assert!(!summary.contains("hunter") && !description.contains("hunter"));
        prop_assert!(!description.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        if !custom {
            prop_assert!(description.matches("```").count() == 2 * usize::from(!example.trim().is_empty()));
        }
    }

    #[test]
    fn any_label_can_be_sent(text in any::<String>()) {
        let label = super::plan::label(&text);
        prop_assert!(label.len() <= 255);
        prop_assert!(!label.contains(|c: char| c.is_whitespace() || c.is_control()));
    }

    #[test]
    fn a_milestone_is_passed_once(counts in proptest::collection::vec(1..5_000_u64, 1..30)) {
        let (mut count, mut passed) = (0, Vec::new());
        for more in counts {
            passed.extend(Milestones::PowersOfTen.passed(count, count + more));
            count += more;
        }
        prop_assert!(passed.is_sorted_by(|one, two| one < two));
        prop_assert_eq!(passed.last().copied(), count.checked_ilog10().filter(|power| *power > 0).map(|power| 10_u64.pow(power)));
    }
}
