//! Atlassian Document Format, as far as it is judged here.

use serde_json::Value;

/// Longer texts are refused.
pub(super) const LONGEST_TEXT: usize = 32_767;

/// Nodes that a document may hold.
const NODES: [&str; 27] = [
    "blockquote",
    "bulletList",
    "codeBlock",
    "date",
    "emoji",
    "expand",
    "hardBreak",
    "heading",
    "inlineCard",
    "listItem",
    "media",
    "mediaGroup",
    "mediaInline",
    "mediaSingle",
    "mention",
    "nestedExpand",
    "orderedList",
    "panel",
    "paragraph",
    "rule",
    "status",
    "table",
    "tableCell",
    "tableHeader",
    "tableRow",
    "taskItem",
    "taskList",
];

/// Nodes that stand in a line of text.
const INLINE: [&str; 8] =
    ["text", "date", "emoji", "hardBreak", "inlineCard", "mediaInline", "mention", "status"];

/// Whether `value` claims to be a document.
pub(super) fn is_document(value: &Value) -> bool {
    value.get("type").is_some_and(|kind| kind == "doc")
}

/// Whether it is a document that Jira takes: version 1, known nodes, no empty text, inline nodes
/// only where a line is, and nothing but unmarked text in a block of code.
pub(super) fn is_valid_document(value: &Value) -> bool {
    let is_root = is_document(value) && value["version"] == 1 && value["content"].is_array();
    is_root && children(value).iter().all(|node| !is_inline(node) && is_valid(node))
}

fn is_valid(node: &Value) -> bool {
    let Some(kind) = node["type"].as_str() else { return false };
    let children = children(node);
    let fits = match kind {
        "text" => node["text"].as_str().is_some_and(|text| !text.is_empty()),
        "codeBlock" => children
            .iter()
            .all(|child| child["type"] == "text" && child.get("marks").is_none_or(is_empty_array)),
        "paragraph" | "heading" => children.iter().all(is_inline),
        _ => NODES.contains(&kind),
    };
    fits && children.iter().all(is_valid)
}

fn is_inline(node: &Value) -> bool {
    node["type"].as_str().is_some_and(|kind| INLINE.contains(&kind))
}

fn is_empty_array(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn children(node: &Value) -> &[Value] {
    node["content"].as_array().map_or(&[], Vec::as_slice)
}

/// The text of a document, one line per block; a string as it is.
pub(super) fn plain(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::String(text) => out.push_str(text),
        _ => write(value, &mut out),
    }
    out.trim_end_matches('\n').to_owned()
}

fn write(node: &Value, out: &mut String) {
    match node["type"].as_str() {
        Some("text") => out.push_str(node["text"].as_str().unwrap_or_default()),
        Some("hardBreak") => out.push('\n'),
        Some("inlineCard") => out.push_str(node["attrs"]["url"].as_str().unwrap_or_default()),
        _ => children(node).iter().for_each(|child| write(child, out)),
    }
    let is_line = children(node).first().is_none_or(is_inline);
    if !is_inline(node) && is_line && !out.is_empty() {
        out.push('\n');
    }
}

/// The length that counts. Jira is written in Java, whose characters are units of UTF-16. Of a
/// document it is not published whether its text or its JSON is counted: here it is the JSON, so
/// that whoever passes here passes either way.
pub(super) fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => units(text),
        Value::Null => 0,
        document => units(&document.to_string()),
    }
}

/// The length of a string in Java.
pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(content: &Value) -> Value {
        json!({"type": "doc", "version": 1, "content": content})
    }

    #[test]
    fn a_document_has_lines() {
        let document = document(&json!([
            {"type": "paragraph", "content": [{"type": "text", "text": "a "},
                {"type": "text", "text": "b", "marks": [{"type": "strong"}]},
                {"type": "hardBreak"}, {"type": "text", "text": "c"}]},
            {"type": "codeBlock", "content": [{"type": "text", "text": "at x\nat y"}]},
            {"type": "bulletList", "content": [
                {"type": "listItem", "content": [
                    {"type": "paragraph", "content": [{"type": "text", "text": "d"}]}]}]},
        ]));
        assert!(is_valid_document(&document));
        assert_eq!(plain(&document), "a b\nc\nat x\nat y\nd");
    }

    #[test]
    fn what_jira_refuses_is_refused() {
        for content in [
            json!([{"type": "text", "text": "bare"}]),
            json!([{"type": "paragraph", "content": [{"type": "text", "text": ""}]}]),
            json!([{"type": "paragraph", "content": [{"type": "paragraph", "content": []}]}]),
            json!([{"type": "codeBlock", "content": [
                {"type": "text", "text": "x", "marks": [{"type": "strong"}]}]}]),
            json!([{"type": "marquee", "content": []}]),
        ] {
            assert!(!is_valid_document(&document(&content)), "{content}");
        }
        assert!(!is_valid_document(&json!({"type": "doc", "content": []})), "no version");
    }
}
