//! JQL's words.

/// A word of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// What stood in quotes.
    Text(String),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `!~`, `(`, `)`, `,`.
    Sign(&'static str),
}

const SIGNS: [&str; 11] = ["!=", "!~", "<=", ">=", "=", "~", "<", ">", "(", ")", ","];

/// Each token with the place where it begins, from 1.
pub(super) fn tokens(jql: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut tokens = Vec::new();
    let mut rest = jql;
    loop {
        rest = rest.trim_start();
        let place = jql.len() - rest.len() + 1;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let length = if first == '"' || first == '\'' {
            let (text, length) = quoted(rest, first).ok_or_else(|| {
                format!("Error in the JQL Query: The quoted string '{}' has not been completed. (line 1, character {place})", &rest[1..])
            })?;
            tokens.push((place, Token::Text(text)));
            length
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push((place, Token::Sign(sign)));
            sign.len()
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "\"'=!<>~(),".contains(c));
            let end = end.unwrap_or(rest.len());
            if end == 0 || rest[..end].contains(['{', '}', '|', '&', ';', '?', '*', '%', '$', '@'])
            {
                return Err(format!(
                    "Error in the JQL Query: The character '{first}' is a reserved JQL character. You must enclose it in a string or use the escape '\\u{:04x}' instead. (line 1, character {place})",
                    u32::from(first)
                ));
            }
            tokens.push((place, Token::Word(rest[..end].to_owned())));
            end
        };
        rest = &rest[length..];
    }
}

/// The text in quotes and the length with them.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((place, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                escaped => out.push(escaped),
            },
            c if c == quote => return Some((out, place + c.len_utf8())),
            c => out.push(c),
        }
    }
    None
}
