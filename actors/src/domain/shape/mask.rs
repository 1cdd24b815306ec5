//! Masking: a message becomes the template that a programmer wrote, by replacing what was filled
//! in.
//!
//! One pass from left to right over the bytes. What a word is, `word` says from the
//! word alone; this adds what only its neighbours say: values behind `=`, quoted strings, units
//! and dates, lists of any length, names behind `user`. There is no backtracking, and every look
//! ahead or back is bounded, so the cost is linear in the length; what is longer than
//! [`MAX_TEXT`] or has more than [`MAX_PIECES`] pieces is cut.

use super::word::{
    Class, Word, announces_name, announces_secret, classify, core_end, is_calendar, is_grammar,
    unit_class,
};

/// How much of a message is looked at; the rest rarely tells faults apart and must not cost.
pub const MAX_TEXT: usize = 4096;
/// So many pieces are told apart.
pub const MAX_PIECES: usize = 512;
/// A repetition of so many pieces is seen as a list.
const LONGEST_PERIOD: usize = 16;

/// A part of a message; the bytes `start..end` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub kind: PieceKind,
    pub start: usize,
    pub end: usize,
}

/// What a part of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Text that stays.
    Constant,
    /// One character that separates.
    Mark(u8),
    /// White space of any kind and length.
    Space,
    Variable(Class),
}

use PieceKind::{Constant, Mark, Space, Variable};

/// A message in pieces.
#[derive(Clone, Debug, Default)]
pub struct Masked<'a> {
    text: &'a str,
    pieces: Vec<Piece>,
}

impl<'a> Masked<'a> {
    /// Masks `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let text = text[..text.floor_char_boundary(MAX_TEXT)].trim();
        let mut scan =
            Scan { text: text.as_bytes(), at: 0, pieces: Vec::with_capacity(64), lone: [false; 3] };
        scan.run();
        // The last one of a list ends like the others.
        scan.push(Space, text.len(), text.len());
        let mut pieces = scan.pieces;
        fold_lists(&mut pieces, text.as_bytes());
        pieces.pop_if(|piece| piece.kind == Space);
        Self { text, pieces }
    }

    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text of a piece, as it stands in the message.
    #[must_use]
    pub fn text(&self, piece: Piece) -> &'a str {
        self.text.get(piece.start..piece.end).unwrap_or_default()
    }

    /// Appends the message with `placeholder`s for its variables.
    pub fn write(&self, placeholder: impl Fn(Class) -> &'static str, out: &mut String) {
        for piece in &self.pieces {
            match piece.kind {
                Constant => out.push_str(self.text(*piece)),
                Mark(mark) => out.push(char::from(mark)),
                Space => out.push(' '),
                Variable(class) => out.push_str(placeholder(class)),
            }
        }
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    pieces: Vec<Piece>,
    /// Quotes of which no further one follows, so that none is searched for twice.
    lone: [bool; 3],
}

/// Everything but control characters, white space, and what separates.
fn is_word(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [true; 256];
        let mut at = 0;
        while at <= 32 {
            table[at] = false;
            at += 1;
        }
        table[127] = false;
        let marks = b"\"'`()[]{}<>,;=|";
        at = 0;
        while at < marks.len() {
            table[marks[at] as usize] = false;
            at += 1;
        }
        table
    };
    TABLE[byte as usize]
}

impl Scan<'_> {
    fn run(&mut self) {
        while let Some(&byte) = self.text.get(self.at)
            && self.pieces.len() < MAX_PIECES
        {
            match byte {
                b'"' | b'\'' | b'`' => self.quote(byte),
                _ if is_word(byte) => self.word(),
                0..=32 | 127 => self.space(),
                _ => self.mark(byte),
            }
        }
    }

    fn push(&mut self, kind: PieceKind, start: usize, end: usize) {
        self.pieces.push(Piece { kind, start, end });
    }

    fn constant(&mut self, start: usize, end: usize) {
        if start < end {
            self.push(Constant, start, end);
        }
    }

    fn space(&mut self) {
        if !matches!(self.last(), None | Some(Space)) {
            self.push(Space, self.at, self.at + 1);
        }
        self.at += 1;
    }

    fn mark(&mut self, mark: u8) {
        self.push(Mark(mark), self.at, self.at + 1);
        self.at += 1;
        match (mark, self.kinds()) {
            // 2048 bytes (2 KB): the same quantity again.
            (b')', [.., Variable(_), Space, Mark(b'('), Variable(_), _]) => {
                self.pieces.truncate(self.pieces.len() - 4);
            }
            // 10.0.0.7 (): what would have stood there was not known.
            (b')', [.., Variable(_), Space, Mark(b'('), _]) => {
                self.pieces.truncate(self.pieces.len() - 3);
            }
            _ => {}
        }
    }

    fn last(&self) -> Option<PieceKind> {
        self.pieces.last().map(|piece| piece.kind)
    }

    /// The kinds of the last five pieces, a space in front of the first.
    fn kinds(&self) -> [PieceKind; 5] {
        let mut kinds = [Space; 5];
        for (kind, piece) in kinds.iter_mut().rev().zip(self.pieces.iter().rev()) {
            *kind = piece.kind;
        }
        kinds
    }

    fn bytes(&self, piece: Piece) -> &[u8] {
        &self.text[piece.start..piece.end]
    }

    /// A quoted string on its own is a variable; an apostrophe is none.
    fn quote(&mut self, quote: u8) {
        let lone = match quote {
            b'"' => 0,
            b'\'' => 1,
            _ => 2,
        };
        let is_apostrophe = self.at > 0 && self.text[self.at - 1].is_ascii_alphanumeric();
        if is_apostrophe || self.lone[lone] {
            return self.mark(quote);
        }
        let (start, rest) = (self.at + 1, &self.text[self.at + 1..]);
        let Some(length) = memchr::memchr(quote, rest) else {
            self.lone[lone] = true;
            return self.mark(quote);
        };
        let end = start + length;
        self.at = end + 1;
        let is_plain = !rest[..length].iter().any(u8::is_ascii_control);
        let is_all = matches!(classify(&rest[..length]), Word::Variable { stem: 0, tail, .. } if tail == length);
        if is_plain && !is_all && self.text.get(self.at) == Some(&b':') {
            // The key of a JSON object.
            return self.constant(start, end);
        }
        let method = http_method(&rest[..length]);
        if method > 0 {
            self.constant(start, start + method);
            self.push(Space, start + method, start + method + 1);
        }
        self.variable(Class::Text, start, end);
    }

    fn word(&mut self) {
        let (start, mut end) = (self.at, self.at);
        while end < self.text.len()
            && is_word(self.text[end])
            && !self.text[end..].starts_with(b"::")
        {
            end += 1;
        }
        if end == start {
            // Names in namespaces are words of their own.
            self.at += 2;
            return self.constant(start, self.at);
        }
        self.at = end;
        let word = &self.text[start..end];
        let found = classify(word);
        if let Some(announced) = self.announced(word) {
            let class = match found {
                Word::Variable { class, .. } if announced != Class::Secret => class,
                _ => announced,
            };
            let tail = start + core_end(word);
            self.variable(class, start, tail);
            return self.constant(tail, end);
        }
        match found {
            Word::Constant if self.belongs_to_variable(word) => {}
            Word::Constant => self.constant(start, end),
            Word::Variable { stem, class, tail } => {
                self.constant(start, start + stem);
                self.variable(class, start + stem, start + tail);
                self.constant(start + tail, end);
            }
        }
    }

    /// What `word` must be by what stands in front of it.
    fn announced(&self, word: &[u8]) -> Option<Class> {
        let before = match self.kinds() {
            // No value, and already the next key.
            [.., Mark(b'='), Space] if self.text.get(self.at) == Some(&b'=') => return None,
            [.., before, Mark(b'=')] | [.., before, Mark(b'='), Space] => before,
            [.., Constant, Space] => return self.announced_by_word(word),
            _ => return None,
        };
        let is_comparison = matches!(before, Mark(b'=' | b'<' | b'>'));
        (!is_comparison).then_some(Class::Value)
    }

    fn announced_by_word(&self, word: &[u8]) -> Option<Class> {
        let before = self.bytes(self.pieces[self.pieces.len() - 2]);
        let core = &word[..core_end(word)];
        if announces_secret(before) && !announces_secret(word) {
            return Some(Class::Secret);
        }
        let belongs = |byte: &u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@' | b'$')
        };
        let is_name = !core.is_empty() && core.iter().all(belongs) && !word.ends_with(b":");
        (is_name && announces_name(before) && !is_grammar(core)).then_some(Class::Name)
    }

    /// Units behind numbers and parts of dates behind dates: takes them into the variable.
    fn belongs_to_variable(&mut self, word: &[u8]) -> bool {
        let (class, back) = match self.kinds() {
            [.., Variable(class), Space] => (class, 2),
            [.., Variable(class)] => (class, 1),
            _ => return false,
        };
        if !matches!(class, Class::Number | Class::Time) {
            return false;
        }
        let length = core_end(word);
        let core = &word[..length];
        let Some(class) = unit_class(core).or_else(|| is_calendar(core).then_some(Class::Time))
        else {
            return false;
        };
        let at = self.pieces.len() - back;
        let (start, end) = (self.pieces[at].start, self.at);
        self.pieces.truncate(at);
        let tail = end - (word.len() - length);
        self.variable(class, start, tail);
        self.constant(tail, end);
        true
    }

    fn variable(&mut self, class: Class, start: usize, end: usize) {
        let start = self.take_calendar(start);
        if let [.., Space, Mark(b'<' | b'>')] = self.kinds() {
            // <1 sec: the comparison belongs to the quantity.
            self.pieces.pop();
        }
        self.mask_person();
        if let Some(list) = self.list_before() {
            self.pieces.truncate(list + 1);
            self.pieces[list].end = end;
            return;
        }
        self.push(Variable(class), start, end);
    }

    /// `Thu Aug` in front of `11 10:00:00`; gives where the date begins.
    fn take_calendar(&mut self, start: usize) -> usize {
        let mut start = start;
        while let [.., Constant, Space] = self.kinds() {
            let at = self.pieces.len() - 2;
            if !is_calendar(self.bytes(self.pieces[at])) {
                break;
            }
            start = self.pieces[at].start;
            self.pieces.truncate(at);
        }
        start
    }

    /// `for root from` in front of an address: who it was for is a variable too.
    fn mask_person(&mut self) {
        let [.., before, _, person, _, from, _] = self.pieces[..] else { return };
        if !matches!(self.kinds(), [Space, Constant, Space, Constant, Space])
            || before.kind != Constant
        {
            return;
        }
        let is_for = matches!(self.bytes(before), b"for" | b"by" | b"as");
        let is_from = matches!(self.bytes(from), b"from" | b"at" | b"on" | b"via");
        let name = self.bytes(person);
        let belongs =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if is_for && is_from && name[0].is_ascii_lowercase() && name.iter().all(belongs) {
            let at = self.pieces.len() - 4;
            self.pieces[at].kind = Variable(Class::Name);
        }
    }

    /// The variable that the one to come belongs to, as the next one of a list or a compound.
    fn list_before(&self) -> Option<usize> {
        for (at, piece) in self.pieces.iter().enumerate().rev().take(4) {
            match piece.kind {
                Variable(_) => return Some(at),
                Space | Mark(b',') => {}
                Mark(_) => return None,
                Constant => {
                    let word = self.bytes(*piece);
                    let joins = |byte: &u8| b":./_-+#%".contains(byte);
                    if !word.iter().all(joins) && !matches!(word, b"and" | b"or" | b"x") {
                        return None;
                    }
                }
            }
        }
        None
    }
}

/// The length of the method that a quoted request line begins with; 0 where it is none.
fn http_method(text: &[u8]) -> usize {
    const METHODS: [&str; 7] = ["GET ", "POST ", "PUT ", "DELETE ", "PATCH ", "HEAD ", "OPTIONS "];
    let method = METHODS.iter().find(|method| text.starts_with(method.as_bytes()));
    method.map_or(0, |method| method.len() - 1)
}

/// Lists of any length become lists of one: a run of pieces with a variable in it that comes again
/// and again is kept once.
fn fold_lists(pieces: &mut Vec<Piece>, text: &[u8]) {
    let bytes = |piece: Piece| &text[piece.start..piece.end];
    let is_same = |one: &Piece, other: &Piece| match (one.kind, other.kind) {
        (Variable(_), Variable(_)) => true,
        (Constant, Constant) => bytes(*one) == bytes(*other),
        (one, other) => one == other,
    };
    let is_variable = |piece: &Piece| matches!(piece.kind, Variable(_));
    let (mut kept, mut at, mut variable) = (0, 0, 0);
    // What is repeated has a variable; behind the last one nothing is.
    while let Some(found) = pieces[variable..].iter().position(is_variable) {
        variable += found;
        let ahead = variable - at;
        let repeated = (2.max(ahead + 1)..=LONGEST_PERIOD.min(kept)).find(|period| {
            if !is_variable(&pieces[kept - period + ahead]) {
                return false;
            }
            let Some(next) = pieces.get(at..at + period) else { return false };
            pieces[kept - period..kept].iter().zip(next).all(|(one, other)| is_same(one, other))
        });
        if let Some(period) = repeated {
            at += period;
        } else {
            pieces[kept] = pieces[at];
            kept += 1;
            at += 1;
        }
        variable = variable.max(at);
    }
    pieces.copy_within(at.., kept);
    pieces.truncate(kept + pieces.len() - at);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(text: &str) -> String {
        let mut out = String::new();
        Masked::new(text).write(Class::placeholder, &mut out);
        out
    }

    #[test]
    fn variables_are_masked_by_what_stands_around_them() {
        for (text, expected) in [
            ("connection from 10.0.0.7 () at night", "connection from <ip> at night"),
            ("connection from 10.0.0.7 (a.b.com) at night", "connection from <ip> at night"),
            ("error for '0x00660011': too short", "error for <text>: too short"),
            ("error for 'name': too short", "error for name: too short"),
            (
                "connect to 10.0.0.7:5432 failed after 30 ms",
                "connect to <ip> failed after <duration>",
            ),
            ("user 'bob' not found", "user <text> not found"),
            ("Invalid user bob from 10.0.0.7", "Invalid user <name> from <ip>"),
            ("user is unknown", "user is unknown"),
            ("Failed password for root from 10.0.0.7", "Failed password for <name> from <ip>"),
            ("can't open", "can't open"),
            ("a   b\tc", "a b c"),
            ("GET /u/17/items/4c0ffee1", "GET <path>"),
            ("\"GET /u/17 HTTP/1.1\" status: 200", "GET <text> status: <n>"),
            ("state=LOOKING, my id = 3, error =", "state=<value>, my id = <n>, error ="),
            ("logname= uid=0 tty=ssh", "logname= uid=<n> tty=<value>"),
            ("if a == b", "if a == b"),
            ("ids 1, 2, 3 and 4 are gone", "ids <n> are gone"),
            ("at Thu Aug 11 10:00:00 PDT 2005 it rained", "at <time> it rained"),
            ("sent 2048 bytes (2.0 KB) in <1 sec", "sent <size> in <duration>"),
            ("node-1 <ok> node-2 <ok> node-3 <ok>", "node-<id> <ok>"),
            ("{\"user\":\"bob\",\"n\":17}", "{user:<text>,n:<n>}"),
            ("ready: true", "ready: <bool>"),
            ("Authorization: Bearer abcDEFghi", "Authorization: Bearer <secret>"),
            ("password: hunter", "password: <secret>"),
            ("foo::bar42::baz", "foo::bar<id>::baz"),
            ("größe 5 überschritten", "größe <n> überschritten"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn a_variable_keeps_where_it_stood() {
        let masked = Masked::new("took 30 ms at Aug 11 10:00");
        let variables: Vec<_> = masked
            .pieces()
            .iter()
            .filter(|piece| matches!(piece.kind, Variable(_)))
            .map(|piece| masked.text(*piece))
            .collect();
        assert_eq!(variables, ["30 ms", "Aug 11 10:00"]);
    }

    proptest! {
        #[test]
        fn any_text_is_masked(text in any::<String>()) {
            let masked = Masked::new(&text);
            prop_assert!(masked.pieces().len() <= MAX_PIECES + 2);
            for piece in masked.pieces() {
                prop_assert!(piece.start <= piece.end && piece.end <= text.len());
            }
        }

        #[test]
        fn marks_and_quotes_cost_no_more(text in "[\"'`=,() a1.:/<>-]{0,2000}") {
            let masked = Masked::new(&text);
            prop_assert!(masked.pieces().len() <= MAX_PIECES + 2);
        }

        #[test]
        fn control_characters_do_not_stay(text in "[\"'`=,() a1.:/\u{1}\n\t{}-]{0,200}") {
            let masked = masked(&text);
            prop_assert!(!masked.contains(|character: char| character.is_ascii_control()));
        }

        #[test]
        fn numbers_do_not_matter(a in any::<u32>(), b in any::<u32>()) {
            prop_assert_eq!(masked(&format!("job {a} failed")), masked(&format!("job {b} failed")));
        }
    }

    /// Secrets, each with the text it stands in.
    const SECRETS: [(&str, &str); 16] = [
        ("card 4111111111111111 declined", "4111111111111111"),
        ("card 4111 1111 1111 1111 declined", "1111"),
        ("card 4111-1111-1111-1111 declined", "1111"),
        ("Authorization: Bearer mF_9.B5f-4.1JqM", "mF_9"),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("key AKIAIOSFODNN7EXAMPLE is disabled", "AKIA"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalr"),
        ("connect to postgres://shop:hunter@db.internal/shop failed", "hunter"),
        ("redis://:hunter@cache:6379/0 refused", "hunter"),
        ("password=hunter rejected", "hunter"),
        ("password: hunter", "hunter"),
        ("login with {\"user\":\"bob\",\"password\":\"hunter\"} failed", "hunter"),
        ("GET /login?token=hunter failed", "hunter"),
        ("token ghp_16C7e42F292c6912E7710c838347Ae178B4a expired", "ghp_16C7"),
        ("stripe sk_live_4eC39HqLyjWDarjtT1zdp7dc was revoked", "4eC39"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3 expired", "eyJ"),
    ];

    proptest! {
        #[test]
        fn secrets_do_not_show(
            before in "([a-z]{2,8} ){0,3}",
            after in "( [a-z]{2,8}){0,3}",
            at in 0..SECRETS.len(),
        ) {
            let (text, secret) = SECRETS[at];
            let shown = masked(&format!("{before}{text}{after}"));
            prop_assert!(!shown.contains(secret), "{shown}");
        }
    }
}
