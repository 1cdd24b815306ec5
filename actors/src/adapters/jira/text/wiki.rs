//! Wiki markup: what version 2 of a Data Center's API takes as text.
//!
//! The notation: <https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa?section=all>. Which
//! characters a backslash takes the meaning from says Atlassian's own
//! `BackslashEscapeRendererComponent`; others become references (`&#92;`), which the renderer lets
//! through.

use super::{Block, Piece, pieces};

pub(super) fn markup(blocks: &[Block<'_>]) -> String {
    let blocks = blocks.iter().map(|block| match block {
        Block::Paragraph(lines) => {
            lines.iter().map(|line| inline(line)).collect::<Vec<_>>().join("\n")
        }
        Block::Bullets(points) => {
            points.iter().map(|point| format!("* {}", inline(point))).collect::<Vec<_>>().join("\n")
        }
        Block::Code(code) => format!("{{code}}\n{}\n{{code}}", defuse(code)),
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

fn inline(line: &str) -> String {
    pieces(line)
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => escape(text),
            Piece::Link { url, .. } => format!("[{}]", address(url.as_str())),
        })
        .collect()
}

/// In a link's brackets these would end it or be more markup.
fn address(url: &str) -> String {
    let mut address = String::with_capacity(url.len());
    for letter in url.chars() {
        match letter {
            '[' | ']' | '{' | '}' | '|' | '\\' | '^' => {
                address.push_str(&format!("%{:02X}", u32::from(letter)));
            }
            letter => address.push(letter),
        }
    }
    address
}

/// `text` such that it shows as it is.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    // `h1. ` and `bq. ` at a line's start are a heading and a quotation.
    let start = text.trim_start();
    let is_block =
        matches!(start.as_bytes(), [b'h', b'1'..=b'6', b'.', ..] | [b'b', b'q', b'.', ..]);
    let block_at = is_block.then_some(text.len() - start.len());
    let mut before = ' ';
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let after = letters.peek().map_or(' ', |(_, letter)| *letter);
        let in_word = before.is_alphanumeric() && after.is_alphanumeric();
        match letter {
            // Two backslashes are a line break, one is an escape.
            '\\' => escaped.push_str("&#92;"),
            '&' if after == '#' || after.is_ascii_alphabetic() => escaped.push_str("&amp;"),
            ':' | ';' if matches!(after, 'D' | 'P') => {
                escaped.push_str(&format!("&#{};", u32::from(letter)));
            }
            // Within a word they mean nothing: most names and dates stay readable as they are.
            '-' | '_' if in_word => escaped.push(letter),
            '-' | '#' | '*' | '_' | '+' | '?' | '^' | '~' | '|' | '%' | '{' | '}' | '[' | ']'
            | '(' | ')' | '!' | '@' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter if block_at == Some(at) => {
                escaped.push_str(&format!("&#{};", u32::from(letter)));
            }
            letter => escaped.push(letter),
        }
        before = letter;
    }
    escaped
}

/// `code` such that nothing in it ends the block: `{code` gets a space of no width.
fn defuse(code: &str) -> String {
    let mut defused = String::with_capacity(code.len());
    for (at, letter) in code.char_indices() {
        defused.push(letter);
        let rest = code.as_bytes().get(at + 1..at + 5);
        if letter == '{' && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(b"code")) {
            defused.push('\u{200b}');
        }
    }
    defused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shows_as_it_is() {
        for (text, escaped) in [
            ("order_id 2026-11-22", "order_id 2026-11-22"),
            ("*bold* _x_ -y- {code}", "\\*bold\\* \\_x\\_ \\-y\\- \\{code\\}"),
            ("[~admin] !x.png! ??", "\\[\\~admin\\] \\!x.png\\! \\?\\?"),
            ("# - ---- | a", "\\# \\- \\-\\-\\-\\- \\| a"),
            ("C:\\temp \\\\srv", "C:&#92;temp &#92;&#92;srv"),
            ("h1. x", "&#104;1. x"),
            ("bq. x", "&#98;q. x"),
            ("h7. x", "h7. x"),
            (":) :D a:b", ":\\) &#58;D a:b"),
            ("&lt; a & b", "&amp;lt; a & b"),
        ] {
            assert_eq!(escape(text), escaped, "{text}");
        }
    }

    #[test]
    fn code_cannot_end_itself() {
        let markup = markup(&[Block::Code("a {code} {CODE:java} {noformat} {")]);
        assert_eq!(markup, "{code}\na {\u{200b}code} {\u{200b}CODE:java} {noformat} {\n{code}");
    }

    #[test]
    fn a_link_keeps_to_its_brackets() {
        let line = inline("https://a.b/?q=[1]x&y=_z_ end");
        assert_eq!(line, "[https://a.b/?q=%5B1%5Dx&y=_z_] end");
    }
}
