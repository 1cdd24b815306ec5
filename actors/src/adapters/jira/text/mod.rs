//! Neutral text as Jira wants it: documents for Cloud, wiki markup for a Data Center.
//!
//! Neutral text is what people write in mails: paragraphs between empty lines, lines that begin
//! with `- ` are a list, code stands between lines of three backquotes, and `https://…` is a link.

use reqwest::Url;
use serde_json::Value;

use super::settings::Api;

mod adf;
mod wiki;

/// The most characters of a text, and of its document as JSON. Jira counts what Java does: UTF-16
/// units. What Cloud counts of a document, its texts or its JSON, Atlassian does not say, so that
/// the longer of them is held to it.
pub(super) const MAX_TEXT: usize = 32_767;
/// "Summary must be less than 255 characters" is told at 256.
const MAX_SUMMARY: usize = 255;
const MAX_LABEL: usize = 255;

/// What a text ends with where the end is missing.
const CUT: &str = "… (cut)";

/// A piece of neutral text.
#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    /// Its lines.
    Paragraph(Vec<&'a str>),
    /// Its points, each of one line.
    Bullets(Vec<&'a str>),
    Code(&'a str),
}

/// A piece of a line; never empty.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Link { shown: &'a str, url: Url },
}

/// `text` as the value of a description or of a comment's body, at most [`MAX_TEXT`] long. `tail`
/// is a last paragraph that is there even where the text is cut.
pub(super) fn body(api: Api, text: &str, tail: &str) -> Value {
    let text = clean(head(text, MAX_TEXT + 1));
    let tail = clean(tail);
    let convert = |text: &str, is_cut: bool| {
        let mut blocks = blocks(text);
        if is_cut {
            blocks.push(Block::Paragraph(vec![CUT]));
        }
        if !tail.is_empty() {
            blocks.push(Block::Paragraph(vec![&tail]));
        }
        match api {
            Api::Cloud => adf::document(&blocks),
            Api::Server => Value::String(wiki::markup(&blocks)),
        }
    };
    let whole = convert(&text, false);
    if length(&whole) <= MAX_TEXT {
        return whole;
    }
    // `fits` always does, `exceeds` never: they close in on the longest beginning.
    let (mut fits, mut exceeds) = (0, text.len());
    while fits + 1 < exceeds {
        let middle = text.floor_char_boundary(fits.midpoint(exceeds));
        let middle = if middle == fits { text.ceil_char_boundary(fits + 1) } else { middle };
        if middle == exceeds {
            break;
        }
        if length(&convert(&text[..middle], true)) <= MAX_TEXT {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    convert(&text[..fits], true)
}

fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => units(text),
        value => units(&value.to_string()),
    }
}

/// One line of at most 255 characters; never empty, for Jira takes no ticket without one.
pub(super) fn summary(text: &str) -> String {
    let text = clean(head(text, 4 * MAX_SUMMARY));
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return "(no summary)".to_owned();
    }
    if units(&line) <= MAX_SUMMARY {
        return line;
    }
    format!("{}…", head(&line, MAX_SUMMARY - 1).trim_end())
}

/// Labels are without spaces.
pub(super) fn label(text: &str) -> String {
    let label: String = clean(head(text, 4 * MAX_LABEL))
        .trim()
        .chars()
        .map(|letter| if letter.is_whitespace() { '-' } else { letter })
        .collect();
    head(&label, MAX_LABEL).to_owned()
}

/// What a comment's body says, in either form, without its markup's structure.
pub(super) fn plain(body: &Value) -> String {
    match body {
        Value::String(wiki) => wiki.clone(),
        document => adf::plain(document),
    }
}

/// How `text` stands in the bodies that [`plain`] gives.
pub(super) fn as_written(api: Api, text: &str) -> String {
    match api {
        Api::Cloud => clean(text),
        Api::Server => wiki::escape(&clean(text)),
    }
}

/// UTF-16 units: what Java calls a string's length.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The beginning of `text` of at most `most` units.
fn head(text: &str, most: usize) -> &str {
    let mut left = most;
    for (at, letter) in text.char_indices() {
        match left.checked_sub(letter.len_utf16()) {
            Some(rest) => left = rest,
            None => return &text[..at],
        }
    }
    text
}

/// `text` without control characters but line ends, and without what XML 1.0 cannot hold: a Data
/// Center's backup is XML.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if letters.peek() == Some(&'\n') => {}
            '\r' | '\n' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\t' => clean.push_str("    "),
            '\u{fffe}' | '\u{ffff}' => {}
            letter if letter.is_control() => {}
            letter => clean.push(letter),
        }
    }
    clean
}

/// A line that begins or ends code.
const FENCE: &str = "```";

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((line, after)) = next_line(rest) {
        if line.trim_start().starts_with(FENCE) {
            let (code, after) = take_code(after);
            blocks.push(Block::Code(code));
            rest = after;
            continue;
        }
        if let Some(point) = line.strip_prefix("- ").filter(|point| !point.trim().is_empty()) {
            match blocks.last_mut() {
                Some(Block::Bullets(points)) if !starts_anew(text, line) => points.push(point),
                _ => blocks.push(Block::Bullets(vec![point])),
            }
        } else if !line.trim().is_empty() {
            match blocks.last_mut() {
                Some(Block::Paragraph(lines)) if !starts_anew(text, line) => lines.push(line),
                _ => blocks.push(Block::Paragraph(vec![line])),
            }
        }
        rest = after;
    }
    blocks
}

/// Whether the line before `line`, a slice of `text`, is empty, or there is none.
fn starts_anew(text: &str, line: &str) -> bool {
    let start = line.as_ptr().addr() - text.as_ptr().addr();
    let before = text[..start].strip_suffix('\n').unwrap_or_default();
    before.rsplit('\n').next().unwrap_or_default().trim().is_empty()
}

/// The first line and what follows it.
fn next_line(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    Some(text.split_once('\n').unwrap_or((text, "")))
}

/// Takes the lines up to the one that ends the code; without one all of it is code.
fn take_code(text: &str) -> (&str, &str) {
    let mut start = 0;
    while let Some((line, after)) = next_line(&text[start..]) {
        if line.trim() == FENCE {
            return (text[..start].trim_end_matches('\n'), after);
        }
        start = text.len() - after.len();
    }
    (text.trim_end_matches('\n'), "")
}

/// The links of a line, and what stands between them.
fn pieces(line: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut text_from = 0;
    let mut at = 0;
    while let Some(found) = line[at..].find("http") {
        let start = at + found;
        let Some((shown, url)) = link(&line[start..]) else {
            at = start + "http".len();
            continue;
        };
        if text_from < start {
            pieces.push(Piece::Text(&line[text_from..start]));
        }
        at = start + shown.len();
        text_from = at;
        pieces.push(Piece::Link { shown, url });
    }
    if text_from < line.len() {
        pieces.push(Piece::Text(&line[text_from..]));
    }
    pieces
}

/// The URL that `text` begins with.
fn link(text: &str) -> Option<(&str, Url)> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let is_end = |letter: char| letter.is_whitespace() || "<>\"`|\\^{}".contains(letter);
    let end = rest.find(is_end).unwrap_or(rest.len());
    // What ends a sentence is not the address's.
    let rest = rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', ')', ']']);
    let shown = &text[..text.len() - text_after(text, rest)];
    // A link that cannot be read is refused with the whole document.
    let url = Url::parse(shown).ok().filter(|_| !rest.is_empty())?;
    Some((shown, url))
}

/// The bytes of `text` behind its slice `part`.
fn text_after(text: &str, part: &str) -> usize {
    text.len() - (part.as_ptr().addr() - text.as_ptr().addr()) - part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SAMPLE: &str = "First line\nsecond line\n\n- one\n- two https://example.com/a_b.\n\n\
                          ```\nat f (a.js:1)\n\n\tat g\n```\nend";

    #[test]
    fn takes_text_apart() {
        let text = clean(SAMPLE);
        let expected = [
            Block::Paragraph(vec!["First line", "second line"]),
            Block::Bullets(vec!["one", "two https://example.com/a_b."]),
            Block::Code("at f (a.js:1)\n\n    at g"),
            Block::Paragraph(vec!["end"]),
        ];
        assert_eq!(blocks(&text), expected);
        assert_eq!(blocks("a\n\nb").len(), 2);
        assert_eq!(blocks("- a\n\n- b").len(), 2);
        assert_eq!(blocks("```\nnever closed\n"), [Block::Code("never closed")]);
        assert_eq!(blocks("```js\n```"), [Block::Code("")]);
        assert_eq!(blocks("\n \n"), []);
        assert_eq!(blocks("- "), [Block::Paragraph(vec!["- "])]);
    }

    #[test]
    fn finds_links() {
        let shown = |line| {
            let pieces = pieces(line).into_iter().map(|piece| match piece {
                Piece::Text(text) => format!("'{text}'"),
                Piece::Link { shown, .. } => shown.to_owned(),
            });
            pieces.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("see https://a.b/c?d=e."), "'see ' https://a.b/c?d=e '.'");
        assert_eq!(shown("(http://a.b)"), "'(' http://a.b ')'");
        assert_eq!(shown("http:// https://"), "'http:// https://'");
        assert_eq!(shown("http://[::"), "'http://[::'");
        assert_eq!(shown("httphttps://a.b"), "'http' https://a.b");
    }

    #[test]
    fn becomes_a_document_or_markup() {
        let document = body(Api::Cloud, "a\nb", "(fl-job-1)");
        let paragraph = json!([
            {"type": "text", "text": "a"}, {"type": "hardBreak"}, {"type": "text", "text": "b"}
        ]);
        assert_eq!(document["content"][0], json!({"type": "paragraph", "content": paragraph}));
        assert_eq!(plain(&document), "a\nb\n(fl-job-1)\n");
        let expected = "First line\nsecond line\n\n* one\n* two [https://example.com/a_b].\n\n\
                        {code}\nat f (a.js:1)\n\n    at g\n{code}\n\nend\n\n\\(fl-job-17\\)";
        assert_eq!(body(Api::Server, SAMPLE, "(fl-job-17)"), expected);
        assert_eq!(as_written(Api::Server, "(fl-job-17)"), "\\(fl-job-17\\)");
    }

    #[test]
    fn long_text_is_cut_and_keeps_its_tail() {
        for text in
            ["x\n".repeat(40_000), "😀".repeat(40_000), format!("```\n{}", "{code".repeat(20_000))]
        {
            for api in [Api::Cloud, Api::Server] {
                let value = body(api, &text, "(fl-job-1)");
                assert!(
                    (MAX_TEXT - 200..=MAX_TEXT).contains(&length(&value)),
                    "{}",
                    length(&value)
                );
                let plain = plain(&value);
                assert!(plain.contains(&as_written(api, CUT)), "{api:?}");
                assert!(plain.trim_end().ends_with(&as_written(api, "(fl-job-1)")));
            }
        }
    }

    #[test]
    fn summaries_and_labels_are_bounded() {
        assert_eq!(summary("a\r\n  b\tc\u{7}"), "a b c");
        assert_eq!(summary(" \n"), "(no summary)");
        let long = summary(&"😀".repeat(300));
        assert_eq!((units(&long), long.chars().last()), (255, Some('…')));
        assert_eq!(label(" a b\nc\u{0} "), "a-b-c");
        assert_eq!(units(&label(&"é".repeat(300))), 255);
    }

    /// All text nodes of a document.
    fn texts<'a>(node: &'a Value, found: &mut Vec<&'a str>) {
        if node["type"] == "text" {
            found.push(node["text"].as_str().unwrap());
        }
        for child in node["content"].as_array().into_iter().flatten() {
            texts(child, found);
        }
    }

    proptest! {
        #[test]
        fn any_text_converts(text in "(- |\n|```\n|\\PC|\\pC|https://|[{}*_\\\\|]|[ a-z]{1,9}){0,60}", long in 0..3_u32) {
            let text = text.repeat(10_usize.pow(long));
            let document = body(Api::Cloud, &text, "tail");
            prop_assert!(length(&document) <= MAX_TEXT);
            let mut found = Vec::new();
            texts(&document, &mut found);
            for text in found {
                prop_assert!(!text.is_empty());
                prop_assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()));
            }
            for list in document["content"].as_array().unwrap() {
                let is_list = list["type"] == "bulletList";
                prop_assert!(!is_list || !list["content"].as_array().unwrap().is_empty());
            }
            let markup = body(Api::Server, &text, "tail");
            let markup = markup.as_str().unwrap();
            prop_assert!(units(markup) <= MAX_TEXT);
            prop_assert!(markup.chars().all(|letter| letter == '\n' || !letter.is_control()));
            prop_assert_eq!(markup.matches("{code}").count() % 2, 0);
            let line = summary(&text);
            prop_assert!(!line.is_empty() && units(&line) <= MAX_SUMMARY && !line.contains('\n'));
            prop_assert!(!label(&text).contains(char::is_whitespace));
        }
    }
}
