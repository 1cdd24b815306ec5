//! What a word of a message is: a constant that a programmer wrote, or one of the variables that
//! were filled in.

/// What a variable is. Titles show it; in a shape's identity all variables are alike, because the
/// same one may be an address once and a host's name the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Number,
    Size,
    Duration,
    Time,
    Hex,
    Uuid,
    Ip,
    Mac,
    Host,
    Email,
    Url,
    Path,
    Id,
    Bool,
    Name,
    Secret,
    Value,
    Text,
}

impl Class {
    /// The placeholder that stands for a variable in titles.
    #[must_use]
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Number => "<n>",
            Self::Size => "<size>",
            Self::Duration => "<duration>",
            Self::Time => "<time>",
            Self::Hex => "<hex>",
            Self::Uuid => "<uuid>",
            Self::Ip => "<ip>",
            Self::Mac => "<mac>",
            Self::Host => "<host>",
            Self::Email => "<email>",
            Self::Url => "<url>",
            Self::Path => "<path>",
            Self::Id => "<id>",
            Self::Bool => "<bool>",
            Self::Name => "<name>",
            Self::Secret => "<secret>",
            Self::Value => "<value>",
            Self::Text => "<text>",
        }
    }
}

/// What becomes of a word: `word[..stem]` stays, then comes a variable, then `word[tail..]` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Constant,
    Variable { stem: usize, class: Class, tail: usize },
}

/// Shorter words of hexadecimal digits that begin with a letter are no numbers.
const SHORTEST_HEX: usize = 5;

/// Longer words without separators are ids or secrets even where they begin with letters.
const LONGEST_STEM: usize = 16;

/// Classifies a word: no white space, quotes, brackets, commas or `=` are in it.
pub(super) fn classify(word: &[u8]) -> Word {
    if word.iter().all(u8::is_ascii_alphabetic) {
        if is_bool(word) {
            return Word::Variable { stem: 0, class: Class::Bool, tail: word.len() };
        }
        return Word::Constant;
    }
    let tail = core_end(word);
    let mut start = 0;
    while start + 1 < tail && !begins_core(&word[start..tail]) {
        start += 1;
    }
    let core = &word[start..tail];
    if core.is_empty() {
        return Word::Constant;
    }
    let census = Census::of(core);
    // A sign belongs to the number behind it; other leading punctuation stays.
    let is_sign = |byte: &&u8| matches!(byte, b'+' | b'-' | b'#' | b'$' | b'~');
    let unsigned = start - word[..start].iter().rev().take_while(is_sign).count();
    let variable = |stem, class| Word::Variable { stem, class, tail };
    if let Some(class) = path_class(core, &census) {
        return variable(start, class);
    }
    if let Some(class) = digits_class(core, &census) {
        return variable(unsigned, class);
    }
    if is_bool(core) {
        return variable(start, Class::Bool);
    }
    if census.ats > 0 && !core.starts_with(b"@") && !core.ends_with(b"@") {
        return variable(start, Class::Email);
    }
    if census.dots > 0 && is_host(core) {
        return variable(start, Class::Host);
    }
    if census.digits > 0 {
        let (from, to) = id_in(core);
        let stem = if from == 0 { unsigned } else { start + from };
        return Word::Variable { stem, class: Class::Id, tail: start + to };
    }
    Word::Constant
}

/// Where the punctuation behind a word begins.
pub(super) fn core_end(word: &[u8]) -> usize {
    let belongs = |byte: &u8| !matches!(byte, b'.' | b':' | b'!' | b'?');
    word.iter().rposition(belongs).map_or(0, |at| at + 1)
}

/// How many bytes of each sort a word has.
#[derive(Default)]
struct Census {
    digits: usize,
    hex_letters: usize,
    letters: usize,
    dots: usize,
    colons: usize,
    dashes: usize,
    slashes: usize,
    backslashes: usize,
    ats: usize,
}

impl Census {
    fn of(word: &[u8]) -> Self {
        let mut census = Self::default();
        for byte in word {
            match byte {
                b'0'..=b'9' => census.digits += 1,
                b'a'..=b'f' | b'A'..=b'F' => census.hex_letters += 1,
                b'g'..=b'z' | b'G'..=b'Z' => census.letters += 1,
                b'.' => census.dots += 1,
                b':' => census.colons += 1,
                b'-' => census.dashes += 1,
                b'/' => census.slashes += 1,
                b'\\' => census.backslashes += 1,
                b'@' => census.ats += 1,
                _ => {}
            }
        }
        census
    }
}

/// Whether a word's own characters begin here: a letter, a digit, or the begin of a path.
fn begins_core(rest: &[u8]) -> bool {
    let first = rest[0];
    first.is_ascii_alphanumeric()
        || !first.is_ascii()
        || matches!(first, b'/' | b'\\')
        || [&b"~/"[..], b"./", b"../"].iter().any(|root| rest.starts_with(root))
}

fn is_bool(word: &[u8]) -> bool {
    (3..=9).contains(&word.len()) && one_of(word, &["true", "false", "null", "nil", "undefined"])
}

fn one_of(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

fn path_class(core: &[u8], census: &Census) -> Option<Class> {
    if census.slashes + census.backslashes == 0 || core.len() < 2 {
        return None;
    }
    if census.slashes >= 2 && memchr::memmem::find(core, b"://").is_some() {
        return Some(Class::Url);
    }
    // Java prints an address as host/address, and without a host as /10.0.0.1:2181.
    if core[0] == b'/' && core[1].is_ascii_digit() && census.dots == 3 {
        return Some(Class::Ip);
    }
    let is_rooted = matches!(core[0], b'/' | b'\\' | b'~' | b'.');
    let has_drive = core.len() > 2 && core[1] == b':' && matches!(core[2], b'\\' | b'/');
    let is_path = is_rooted || has_drive || census.slashes >= 2 || census.backslashes >= 2;
    is_path.then_some(Class::Path)
}

/// Quantities, and what is made of hexadecimal digits, colons and dashes.
fn digits_class(core: &[u8], census: &Census) -> Option<Class> {
    if core.starts_with(b"0x") || core.starts_with(b"0X") {
        return core[2..].iter().all(u8::is_ascii_hexdigit).then_some(Class::Hex);
    }
    let separators = census.colons + census.dashes;
    let hex_digits = census.digits + census.hex_letters;
    let is_grouped_hex = hex_digits >= 8 && separators > 0;
    // ee0 and be2 are names with a number.
    let is_long = hex_digits >= SHORTEST_HEX || core[0].is_ascii_digit();
    if hex_digits + separators == core.len() && (census.digits > 0 && is_long || is_grouped_hex) {
        return Some(hex_class(core, census));
    }
    if census.dots == 3 && census.colons <= 1 && census.digits + census.colons + 3 == core.len() {
        return Some(Class::Ip);
    }
    if !core[0].is_ascii_digit() {
        return None;
    }
    if census.dots > 1 && census.letters + census.hex_letters > 0 && is_host(core) {
        return Some(Class::Host);
    }
    if census.dashes >= 2 && census.colons >= 2 {
        return Some(Class::Time);
    }
    let unit = core.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.');
    Some(match unit {
        None => Class::Number,
        Some(at) => unit_class(&core[at..]).unwrap_or(Class::Id),
    })
}

fn hex_class(core: &[u8], census: &Census) -> Class {
    let is_decimal = census.hex_letters == 0;
    match (census.colons, census.dashes) {
        (0, 0) if is_decimal => Class::Number,
        (0, 4) if core.len() == 36 => Class::Uuid,
        (5, 0) | (0, 5) if core.len() == 17 => Class::Mac,
        (1 | 2, 0) if is_decimal => Class::Time,
        (0, 2) if is_decimal && core.len() == 10 => Class::Time,
        (2.., 0) => Class::Ip,
        _ => Class::Hex,
    }
}

/// Dotted names: hosts, packages. The names of exceptions are constants.
fn is_host(core: &[u8]) -> bool {
    let host = core.split(|byte| *byte == b':').next().unwrap_or_default();
    let (mut labels, mut last) = (0, &host[..0]);
    for label in host.split(|byte| *byte == b'.') {
        let belongs =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'$' | b'/');
        if label.is_empty() || !label.iter().all(belongs) {
            return false;
        }
        labels += 1;
        last = label;
    }
    let port = &core[host.len()..];
    match labels {
        0 | 1 => false,
        _ if port.len() > 1 && port[1..].iter().all(u8::is_ascii_digit) => true,
        2 => is_top_level(last),
        _ => !is_exception(last),
    }
}

/// By the conventions of Java, .NET, Python, Ruby and JavaScript.
fn is_exception(name: &[u8]) -> bool {
    const ENDS: [&str; 6] = ["Exception", "Error", "Throwable", "Failure", "Fault", "Warning"];
    ENDS.iter().any(|end| name.ends_with(end.as_bytes()))
}

fn is_top_level(label: &[u8]) -> bool {
    const DOMAINS: [&str; 36] = [
        "com",
        "org",
        "net",
        "edu",
        "gov",
        "mil",
        "io",
        "cn",
        "hk",
        "uk",
        "de",
        "fr",
        "jp",
        "kr",
        "ru",
        "br",
        "in",
        "au",
        "ca",
        "us",
        "eu",
        "mx",
        "tw",
        "it",
        "es",
        "nl",
        "se",
        "ch",
        "pl",
        "local",
        "internal",
        "corp",
        "lan",
        "localdomain",
        "arpa",
        "info",
    ];
    one_of(label, &DOMAINS)
}

/// Where the variable part of an identifier with digits begins and ends: `eth0` and `node-17` keep
/// their stems. What has several numbers (`rdd_2_2`, `attempt_1445_m_000`) was made by a program, all
/// of it: in the place of one such name stands one of another kind the next time.
fn id_in(core: &[u8]) -> (usize, usize) {
    let first = core.iter().position(u8::is_ascii_digit).unwrap_or(0);
    let last = core.iter().rposition(u8::is_ascii_digit).map_or(core.len(), |at| at + 1);
    let is_one_number = core[first..last].iter().all(u8::is_ascii_digit);
    let mut names = core.split(|byte| !byte.is_ascii_alphabetic()).filter(|name| !name.is_empty());
    let shortest = names.clone().map(<[u8]>::len).min().unwrap_or(0);
    let is_name = names.nth(1).is_none() || shortest >= 2;
    let is_solid = core.iter().all(u8::is_ascii_alphanumeric) && core.len() > LONGEST_STEM;
    if is_one_number && is_name && !is_solid {
        // blk_-17: a sign behind a separator is the number's.
        let is_signed =
            first > 1 && core[first - 1] == b'-' && !core[first - 2].is_ascii_alphabetic();
        return (first - usize::from(is_signed), last);
    }
    (0, core.len())
}

/// The class of a number in front of a unit.
pub(super) fn unit_class(unit: &[u8]) -> Option<Class> {
    const SIZES: [&str; 16] = [
        "b", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib", "k", "m", "g", "byte", "bytes",
        "%", "percent",
    ];
    const DURATIONS: [&str; 24] = [
        "ms",
        "s",
        "sec",
        "secs",
        "second",
        "seconds",
        "us",
        "ns",
        "min",
        "mins",
        "minute",
        "minutes",
        "h",
        "hr",
        "hrs",
        "hour",
        "hours",
        "d",
        "day",
        "days",
        "millis",
        "milliseconds",
        "microseconds",
        "nanoseconds",
    ];
    match unit.len() {
        0 | 13.. => None,
        _ if one_of(unit, &DURATIONS) => Some(Class::Duration),
        _ => one_of(unit, &SIZES).then_some(Class::Size),
    }
}

/// Whether `word` is the name of a month, a day of the week or a time zone.
pub(super) fn is_calendar(word: &[u8]) -> bool {
    const NAMES: [&str; 19] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    const ZONES: [&str; 12] =
        ["gmt", "utc", "pst", "pdt", "est", "edt", "cst", "cdt", "mst", "mdt", "cet", "cest"];
    if !(3..=9).contains(&word.len()) || !word[0].is_ascii_uppercase() {
        return false;
    }
    let is_name = |name: &&str| {
        word.eq_ignore_ascii_case(name.as_bytes())
            || word.eq_ignore_ascii_case(&name.as_bytes()[..3])
    };
    NAMES.iter().any(is_name) || one_of(word, &ZONES)
}

/// Words behind which a name comes.
pub(super) fn announces_name(word: &[u8]) -> bool {
    (4..=8).contains(&word.len())
        && one_of(
            word,
            &[
                "user", "username", "users", "host", "hostname", "account", "login", "domain",
                "class",
            ],
        )
}

/// Words behind which a secret comes: names of secrets with a colon, authentication schemes.
pub(super) fn announces_secret(word: &[u8]) -> bool {
    const SECRETS: [&str; 9] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "api_key",
        "api-key",
        "authorization",
    ];
    let (word, has_colon) = match word {
        [word @ .., b':'] => (word, true),
        word => (word, false),
    };
    (5..=13).contains(&word.len())
        && (has_colon && one_of(word, &SECRETS) || !has_colon && one_of(word, &["bearer", "basic"]))
}

/// Whether `word` follows `user` or `host` without being a name.
pub(super) fn is_grammar(word: &[u8]) -> bool {
    const WORDS: [&str; 56] = [
        "is", "are", "was", "were", "has", "have", "had", "not", "no", "of", "on", "in", "at",
        "to", "from", "for", "by", "with", "and", "or", "the", "a", "an", "as", "be", "been",
        "does", "did", "do", "can", "cannot", "could", "will", "would", "should", "may", "must",
        "already", "down", "up", "full", "ok", "now", "it", "its", "id", "ids", "name", "names",
        "unknown", "request", "session", "error", "failed", "that", "which",
    ];
    let is_participle = word.len() > 5 && (word.ends_with(b"ed") || word.ends_with(b"ing"));
    is_participle || one_of(word, &WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The word with a placeholder for its variable.
    fn masked(word: &str) -> String {
        match classify(word.as_bytes()) {
            Word::Constant => word.to_owned(),
            Word::Variable { stem, class, tail } => {
                format!("{}{}{}", &word[..stem], class.placeholder(), &word[tail..])
            }
        }
    }

    #[test]
    fn words_are_what_they_look_like() {
        for (word, expected) in [
            ("failed", "failed"),
            ("failed:", "failed:"),
            ("17", "<n>"),
            ("-3.5", "<n>"),
            ("12ms", "<duration>"),
            ("64KB", "<size>"),
            ("100%", "<size>"),
            ("0xdeadbeef", "<hex>"),
            ("4c0ffee1", "<hex>"),
            ("123e4567-e89b-12d3-a456-426614174000", "<uuid>"),
            ("00:1B:44:11:3a:b7", "<mac>"),
            ("10.0.0.7:5432", "<ip>"),
            ("10.0.0.7.", "<ip>."),
            ("/10.0.0.7:2181", "<ip>"),
            ("fe80::1", "<ip>"),
            ("10:15:02", "<time>"),
            ("2026-11-22T03:00:07Z", "<time>"),
            ("/var/log/x.log:", "<path>:"),
            ("C:\\Windows\\x.dll", "<path>"),
            ("https://example.com/x?y=1", "<url>"),
            ("db.internal:5432", "<host>"),
            ("shop.example.com", "<host>"),
            ("java.net.ConnectException:", "java.net.ConnectException:"),
            ("ann@example.com", "<email>"),
            ("eth0", "eth<id>"),
            ("ee0", "ee<id>"),
            ("node-17", "node-<id>"),
            ("blk_-16089", "blk_<id>"),
            ("attempt_1445_0001_m_000000_0", "<id>"),
            ("rdd_2_2", "<id>"),
            ("AKIAIOSFODNN7EXAMPLE", "<id>"),
            ("true", "<bool>"),
            ("and/or", "and/or"),
            ("#42", "<n>"),
            ("größe", "größe"),
        ] {
            assert_eq!(masked(word), expected);
        }
    }
}
