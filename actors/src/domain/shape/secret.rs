//! Secrets in texts that leave the house: everything stays readable but the pieces that look like
//! passwords, tokens, keys or numbers of cards.
//!
//! Titles are [masked](super::mask) altogether. An example of a fault is sent as it was written, so
//! only what must not be read is taken out. One pass from left to right; each look ahead ends where
//! the next piece begins or is bounded, so the cost is linear in the length.

use std::borrow::Cow;

/// What stands for a secret.
pub const MASK: &str = "***";

/// The lengths of the numbers of cards (ISO/IEC 7812-1).
const FEWEST_DIGITS: usize = 13;
const MOST_DIGITS: usize = 19;
/// So much of an URL is searched for a password; some clouds make them very long.
const LONGEST_URL: usize = 2_048;

/// `text` with [`MASK`] for each of its secrets.
#[must_use]
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0, kept: 0, out: String::new() };
    while scan.at < scan.bytes.len() {
        scan.step();
    }
    if scan.out.is_empty() {
        return Cow::Borrowed(text);
    }
    scan.out.push_str(&text[scan.kept..]);
    Cow::Owned(scan.out)
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Everything before is in `out`.
    kept: usize,
    out: String,
}

/// Belongs to names of keys and settings.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Ends a value that is not quoted.
fn ends_value(byte: u8) -> bool {
    ends_url(byte)
        || matches!(byte, b',' | b';' | b'&')
        || matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'|')
}

/// Ends an URL in a text.
fn ends_url(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>')
}

/// A number that begins behind a `_` or `-`.
fn begins_number(pair: &[u8]) -> bool {
    matches!(pair, [b'_' | b'-', b'0'..=b'9'])
}

/// How many bytes at the front belong.
fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}

impl Scan<'_> {
    /// Takes one piece: a word with what belongs to it, or one byte.
    fn step(&mut self) {
        let start = self.at;
        let byte = self.bytes[start];
        if byte == b'-' && self.private_key(start) || byte.is_ascii_digit() && self.card(start) {
            return;
        }
        if !is_name(byte) {
            self.at += 1;
            return;
        }
        let end = start + run(&self.bytes[start..], is_name);
        let word = &self.bytes[start..end];
        self.at = end;
        if self.bytes[end..].starts_with(b"://") {
            self.url(end + 3);
        } else if is_token(word) {
            let end = end + run(&self.bytes[end..], |byte| is_name(byte) || byte == b'.');
            self.hide(start, end);
        } else if is_scheme(word) && self.is_at(end, b" \t") {
            self.credentials(end, word);
        } else if names_secret(word) {
            self.value(start, end);
        } else if let Some(number) = word.windows(2).position(begins_number) {
            // card_4111…: the number is looked at for itself.
            self.at = start + number + 1;
        }
    }

    fn hide(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        self.at = end;
        self.out.push_str(&self.text[self.kept..start]);
        self.out.push_str(MASK);
        self.kept = end;
    }

    fn behind_spaces(&self, at: usize) -> usize {
        at + run(&self.bytes[at..], |byte| matches!(byte, b' ' | b'\t'))
    }

    fn is_at(&self, at: usize, any: &[u8]) -> bool {
        self.bytes.get(at).is_some_and(|byte| any.contains(byte))
    }

    /// `-----BEGIN … PRIVATE KEY-----`, to its end.
    fn private_key(&mut self, start: usize) -> bool {
        const BEGIN: &[u8] = b"-----BEGIN ";
        const LAST: &[u8] = b"PRIVATE KEY-----";
        const LONGEST_HEAD: usize = 80;
        let rest = &self.bytes[start..];
        if !rest.starts_with(BEGIN) {
            return false;
        }
        let head = &rest[..rest.len().min(LONGEST_HEAD)];
        let Some(last) = memchr::memmem::find(head, LAST) else { return false };
        let body = last + LAST.len();
        let end = memchr::memmem::find(&rest[body..], b"-----END ");
        let end = end.map_or(rest.len(), |end| body + end);
        self.hide(start + body, start + end);
        true
    }

    /// Thirteen to nineteen digits, also in groups, of which the last is a card's check digit.
    fn card(&mut self, start: usize) -> bool {
        let is_inside = start > 0 && self.bytes[start - 1].is_ascii_alphanumeric();
        if is_inside || !matches!(self.bytes[start], b'2'..=b'6') {
            return false;
        }
        let mut digits = Vec::with_capacity(MOST_DIGITS);
        let (mut end, mut is_card) = (start, false);
        for (at, byte) in self.bytes.iter().enumerate().skip(start) {
            match byte {
                b'0'..=b'9' if digits.len() < MOST_DIGITS => {
                    digits.push(byte - b'0');
                    end = at + 1;
                    let is_last = !self.bytes.get(end).is_some_and(u8::is_ascii_digit);
                    is_card |= is_last && digits.len() >= FEWEST_DIGITS && luhn(&digits);
                }
                b' ' | b'-' if at == end => {}
                _ => break,
            }
        }
        if is_card {
            self.hide(start, end);
        }
        is_card
    }

    /// `user:password@` in front of a host.
    fn url(&mut self, start: usize) {
        let longest = self.bytes.len().min(start + LONGEST_URL);
        let end = start + run(&self.bytes[start..longest], |byte| !ends_url(byte));
        let url = &self.bytes[start..end];
        // A password that nobody has escaped may contain an @ or a slash.
        let Some(at) = memchr::memrchr(b'@', url) else { return };
        if let Some(colon) = memchr::memchr(b':', &url[..at]) {
            self.hide(start + colon + 1, start + at);
        }
    }

    /// The word behind `Bearer` or `Basic`.
    fn credentials(&mut self, end: usize, scheme: &[u8]) {
        let start = self.behind_spaces(end);
        let length = run(&self.bytes[start..], |byte| !ends_value(byte));
        let value = &self.bytes[start..start + length];
        // "basic usage" is no secret; what was encoded is hardly ever all small letters.
        let is_prose = !scheme.eq_ignore_ascii_case(b"bearer")
            && value.iter().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b':'));
        if !is_prose {
            self.hide(start, start + length);
        }
    }

    /// What stands behind the name of a secret: `name=value`, `"name": "value"`, `name => value`,
    /// `<name>value<`, `--name value`.
    fn value(&mut self, start: usize, end: usize) {
        // A quote of JSON within JSON has backslashes in front.
        let quote = end + run(&self.bytes[end..], |byte| byte == b'\\');
        let end = if self.is_at(quote, b"\"'`") { quote + 1 } else { end };
        let mut at = self.behind_spaces(end);
        if self.is_at(at, b":=") && !self.bytes[at..].starts_with(b"::") {
            at += run(&self.bytes[at..], |byte| matches!(byte, b':' | b'='));
            at += usize::from(self.is_at(at, b">"));
        } else if start > 0 && self.is_at(start - 1, b"<") && self.is_at(at, b">") {
            at += 1;
        } else if !self.bytes[start..].starts_with(b"--") || at == end {
            return;
        }
        let at = self.behind_spaces(at);
        let slashes = run(&self.bytes[at..], |byte| byte == b'\\');
        if let Some(quote @ (b'"' | b'\'' | b'`')) = self.bytes.get(at + slashes) {
            let from = at + slashes + 1;
            return self.hide(from, self.end_of_quoted(from, *quote, slashes));
        }
        let mut last = at + run(&self.bytes[at..], |byte| !ends_value(byte));
        let word = &self.bytes[at..last];
        if is_scheme(word) {
            // Authorization: Bearer …
            self.at = at;
            return;
        }
        let name = self.bytes[start..end].to_ascii_lowercase();
        if name.ends_with(b"authorization") && word.iter().all(u8::is_ascii_alphabetic) {
            // Authorization: Token …
            let next = self.behind_spaces(last);
            last = next + run(&self.bytes[next..], |byte| !ends_value(byte));
        }
        self.hide(at, last);
    }

    /// Where the text ends that was opened by `quote` behind so many backslashes.
    fn end_of_quoted(&self, from: usize, quote: u8, slashes: usize) -> usize {
        let mut escapes = 0;
        for (at, byte) in self.bytes.iter().enumerate().skip(from) {
            match *byte {
                b'\\' => escapes += 1,
                b'\n' => return at,
                found if found == quote => {
                    let is_escaped =
                        if slashes == 0 { escapes % 2 == 1 } else { escapes > slashes };
                    if !is_escaped {
                        return at - escapes.min(slashes);
                    }
                    escapes = 0;
                }
                _ => escapes = 0,
            }
        }
        self.bytes.len()
    }
}

/// The check of ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let weighted = digits.iter().rev().enumerate().map(|(at, digit)| match at % 2 {
        0 => u32::from(*digit),
        _ if *digit < 5 => u32::from(2 * digit),
        _ => u32::from(2 * digit - 9),
    });
    weighted.sum::<u32>().is_multiple_of(10)
}

/// Whether `word` begins as only tokens do, and is long enough for one.
fn is_token(word: &[u8]) -> bool {
    const TOKENS: [(&str, usize); 22] = [
        ("AKIA", 16),
        ("ASIA", 16),
        ("AIza", 30),
        ("ghp_", 20),
        ("gho_", 20),
        ("ghu_", 20),
        ("ghs_", 20),
        ("ghr_", 20),
        ("github_pat_", 20),
        ("glpat-", 16),
        ("sk_live_", 12),
        ("sk_test_", 12),
        ("rk_live_", 12),
        ("rk_test_", 12),
        ("whsec_", 16),
        ("sk-", 20),
        ("xoxb-", 16),
        ("xoxp-", 16),
        ("xoxa-", 16),
        ("xapp-", 16),
        ("npm_", 20),
        ("eyJ", 12),
    ];
    TOKENS
        .iter()
        .any(|(prefix, length)| word.len() >= *length && word.starts_with(prefix.as_bytes()))
}

/// Whether `word` is the name of a key whose value is a secret: `DB_PASSWORD`, `x-api-key`.
fn names_secret(word: &[u8]) -> bool {
    const INSIDE: [&[u8]; 4] = [b"password", b"passwd", b"passphrase", b"secret"];
    const ENDS: [&[u8]; 11] = [
        b"token",
        b"apikey",
        b"api_key",
        b"api-key",
        b"accesskey",
        b"access_key",
        b"private_key",
        b"authorization",
        b"bearer",
        b"credential",
        b"pwd",
    ];
    /// Longer words are no names.
    const LONGEST: usize = 64;
    if !(3..=LONGEST).contains(&word.len()) {
        return false;
    }
    let lower = word.to_ascii_lowercase();
    ENDS.iter().any(|end| lower.ends_with(end))
        || INSIDE.iter().any(|part| memchr::memmem::find(&lower, part).is_some())
}

fn is_scheme(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"bearer") || word.eq_ignore_ascii_case(b"basic")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_secret_is_taken_out() {
        for (text, expected) in [
            ("card 4111 1111 1111 1111 declined", "card *** declined"),
            ("card_4111111111111111 declined", "card_*** declined"),
            ("job 1795316400000 of order 4711", "job 1795316400000 of order 4711"),
            ("Authorization: Bearer abc.def/g+h= sent", "Authorization: Bearer *** sent"),
            ("authorization=Token abcdef sent", "authorization=*** sent"),
            ("basic usage: see the manual", "basic usage: see the manual"),
            ("to postgres://shop:hun/ter@db:5432/shop", "to postgres://shop:***@db:5432/shop"),
            ("see https://example.com:8080/a?b=c", "see https://example.com:8080/a?b=c"),
            ("GET /login?user=bob&token=hunter&x=1", "GET /login?user=bob&token=***&x=1"),
            (r#"{"password":"hun\"ter","n":1}"#, r#"{"password":"***","n":1}"#),
            (r#""{\"api_key\": \"hunter\", \"n\": 1}""#, r#""{\"api_key\": \"***\", \"n\": 1}""#),
            (r#"{:user=>"bob", :password=>"hunter"}"#, r#"{:user=>"bob", :password=>"***"}"#),
            ("<password>hunter</password>", "<password>***</password>"),
            ("mysql --password hunter -h db", "mysql --password *** -h db"),
            ("no token was sent", "no token was sent"),
            ("at crate::secret::open (a.rs:1)", "at crate::secret::open (a.rs:1)"),
            ("password wrong: größe 5", "password wrong: größe 5"),
            ("secret: größe", "secret: ***"),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nok",
                "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----\nok",
            ),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }

    /// Secrets, each with the text it stands in.
    const SECRETS: [(&str, &str); 21] = [
        ("card 4111111111111111 declined", "4111111111111111"),
        ("card 4111 1111 1111 1111 declined", "1111"),
        ("card 4111-1111-1111-1111 declined", "1111"),
        ("amex 378282246310005 declined", "378282246310005"),
        ("Authorization: Bearer mF_9.B5f-4.1JqM", "mF_9"),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("key AKIAIOSFODNN7EXAMPLE is disabled", "AKIA"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalr"),
        ("connect to postgres://shop:hunter@db.internal/shop failed", "hunter"),
        ("redis://:hunter@cache:6379/0 refused", "hunter"),
        ("password=hunter rejected", "hunter"),
        ("password: hunter", "hunter"),
        ("DB_PASSWORD = \"hunter two\" rejected", "hunter"),
        ("X-Api-Key: hunter", "hunter"),
        ("login with {\"user\":\"bob\",\"password\":\"hunter\"} failed", "hunter"),
        ("GET /login?token=hunter failed", "hunter"),
        ("token ghp_16C7e42F292c6912E7710c838347Ae178B4a expired", "ghp_16C7"),
        ("stripe sk_live_4eC39HqLyjWDarjtT1zdp7dc was revoked", "4eC39"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3 expired", "eyJ"),
        ("password=\"hunter and no end", "hunter"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEhunter", "hunter"),
    ];

    proptest! {
        #[test]
        fn secrets_do_not_show(
            before in "([a-zé]{2,8}[ \n\"'({\\[,]){0,3}",
            after in "([ \n]+[a-zé]{2,8}){0,3}",
            at in 0..SECRETS.len(),
        ) {
            let (text, secret) = SECRETS[at];
            let shown = without_secrets(&format!("{before}{text}{after}")).into_owned();
            prop_assert!(!shown.contains(secret), "{shown}");
            prop_assert!(shown.contains(MASK) && shown.starts_with(&before), "{shown}");
        }

        #[test]
        fn what_is_masked_stays_so(
            text in "(password|token|Bearer|-----BEGIN |4111 1111 1111 1111|[a-zé0-9:=@\"'\\\\ .,<>-]){0,40}"
        ) {
            let once = without_secrets(&text).into_owned();
            prop_assert_eq!(without_secrets(&once).into_owned(), once.clone());
        }

        #[test]
        fn plain_words_stay(text in "([a-eé]{1,9}[ .\n]){0,20}") {
            prop_assert_eq!(without_secrets(&text), text.as_str());
        }

        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            let _ = without_secrets(&text);
        }
    }
}
