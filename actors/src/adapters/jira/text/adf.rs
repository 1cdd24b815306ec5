//! The Atlassian Document Format: what version 3 of Jira Cloud's API takes as text.
//!
//! The format: <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>. A
//! text node must not be empty, code takes no marks, and a list has at least one item.

use serde_json::{Value, json};

use super::{Block, Piece, pieces};

pub(super) fn document(blocks: &[Block<'_>]) -> Value {
    let content: Vec<Value> = blocks.iter().map(block).collect();
    json!({"type": "doc", "version": 1, "content": content})
}

fn block(block: &Block<'_>) -> Value {
    match block {
        Block::Paragraph(lines) => paragraph(lines),
        Block::Bullets(points) => {
            let items: Vec<Value> = points
                .iter()
                .map(|point| json!({"type": "listItem", "content": [paragraph(&[point])]}))
                .collect();
            json!({"type": "bulletList", "content": items})
        }
        Block::Code("") => json!({"type": "codeBlock", "content": []}),
        Block::Code(code) => {
            json!({"type": "codeBlock", "content": [{"type": "text", "text": code}]})
        }
    }
}

fn paragraph(lines: &[&str]) -> Value {
    let mut content = Vec::new();
    for line in lines {
        if !content.is_empty() {
            content.push(json!({"type": "hardBreak"}));
        }
        content.extend(pieces(line).iter().map(|piece| match piece {
            Piece::Text(text) => json!({"type": "text", "text": text}),
            Piece::Link { shown, url } => json!({
                "type": "text",
                "text": shown,
                "marks": [{"type": "link", "attrs": {"href": url.as_str()}}],
            }),
        }));
    }
    json!({"type": "paragraph", "content": content})
}

/// The text of a document, a line for each of its blocks.
pub(super) fn plain(document: &Value) -> String {
    let mut text = String::new();
    // Documents that people write are nested a few levels; none is followed without a bound.
    collect(document, 50, &mut text);
    text
}

fn collect(node: &Value, depth: u32, found: &mut String) {
    if depth == 0 {
        return;
    }
    match node["type"].as_str() {
        Some("text") => found.push_str(node["text"].as_str().unwrap_or_default()),
        Some("hardBreak") => found.push('\n'),
        kind => {
            for child in node["content"].as_array().into_iter().flatten() {
                collect(child, depth - 1, found);
            }
            if matches!(kind, Some("paragraph" | "codeBlock" | "heading")) {
                found.push('\n');
            }
        }
    }
}
