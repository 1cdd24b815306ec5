//! Which lines of a log belong to one stack trace.
//!
//! A drain carries one line a message, so a stack trace arrives as many messages of one process,
//! mixed with those of others. [`Join::next`] says, line by line of one process, whether a line
//! continues the event before it. It knows the shapes in which Python, Java, Node, browsers, Ruby,
//! Go, PHP, Rust, .NET and Dart print theirs; a line that fits none starts an event of its own.

/// What a line looks like by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing but white space.
    Blank,
    /// Starts with white space, and is no frame.
    Indented,
    /// One frame of a stack.
    Frame,
    /// Only ever stands inside a trace: `Caused by:`, `... 3 more`, `Stack trace:` …
    Connector,
    /// Opens a trace whatever follows: `Traceback (most recent call last):`, `panic: …`
    Opener(Opener),
    /// `SomeError: …`: perhaps the first line of a trace, perhaps all there is.
    Exception,
    /// Anything else.
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opener {
    Python,
    Go,
    /// Says only that there is something; what, stands on the next line: Rust and Dart.
    Announcement,
    /// `/srv/app.js:8`, the place that Node prints above an uncaught error's source line.
    Node,
    Other,
}

/// Where in a trace the event of a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The last line was no part of a trace; only a frame would make it one.
    #[default]
    Plain,
    /// A blank line: PHP and Rust begin with one.
    Lead,
    /// An exception's first line.
    Head,
    /// Between the frames of a trace.
    Frames,
    /// Python's frames stand before its exception: an unindented line is that exception.
    PythonFrames,
    /// Behind Python's exception: only a chained traceback continues.
    PythonEnd,
    /// Go prints functions unindented, each above its file.
    Go,
    /// What happened stands on the next line.
    MessageNext,
    /// Ruby's exception; a blank line and the line of source that raised it may follow.
    RubyHead,
    RubySource,
    /// Node's source excerpt, above the error itself.
    NodeSource,
}

/// The event of one process that lines may still join.
#[derive(Clone, Copy, Debug, Default)]
pub struct Join {
    state: State,
}

/// What [`Join::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The line starts an event.
    Starts,
    /// The line belongs to the event before it.
    Continues,
}

impl Join {
    /// Starts with the first line of an event.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        Self { state: starts(look_at(line), line) }
    }

    /// Takes the next line of the process.
    pub fn next(&mut self, line: &[u8]) -> Step {
        let kind = look_at(line);
        if let Some(state) = continues(self.state, kind, line) {
            self.state = state;
            return Step::Continues;
        }
        self.state = starts(kind, line);
        Step::Starts
    }

    /// Whether the next line of the process may well belong to this event.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Plain | State::Lead)
    }
}

/// The state after `line`, where it belongs to the event before it.
#[expect(clippy::match_same_arms, reason = "the first rule that matches holds, so order matters")]
fn continues(state: State, kind: Line, line: &[u8]) -> Option<State> {
    use State::{
        Frames, Go, Head, Lead, MessageNext, NodeSource, Plain, PythonEnd, PythonFrames, RubyHead,
        RubySource,
    };
    match (state, kind) {
        (MessageNext, _) => Some(Head),
        (Lead, Line::Opener(_) | Line::Exception) => Some(starts(kind, line)),
        (PythonFrames, Line::Frame | Line::Indented | Line::Blank) => Some(PythonFrames),
        (PythonFrames, _) => Some(PythonEnd),
        (PythonEnd, Line::Connector | Line::Blank) => Some(PythonEnd),
        (PythonEnd, Line::Opener(Opener::Python)) => Some(PythonFrames),
        (PythonEnd | Plain | Lead, Line::Indented) => None,
        (_, Line::Frame) => Some(if state == Go { Go } else { Frames }),
        (Plain | Lead | PythonEnd, _) => None,
        (Go, Line::Indented | Line::Blank | Line::Connector) => Some(Go),
        (Go, _) if is_go_function(line) => Some(Go),
        (NodeSource, Line::Exception) => Some(Head),
        (NodeSource, Line::Indented | Line::Blank) => Some(NodeSource),
        (Head, Line::Connector) if line.starts_with(b"goroutine ") => Some(Go),
        (RubyHead, Line::Blank) => Some(RubySource),
        (RubySource, Line::Plain | Line::Indented) => Some(Head),
        (Head | RubyHead | Frames, Line::Connector) => Some(Frames),
        (Head | Frames, Line::Indented) if line.ends_with(b"nested exception is:") => {
            Some(MessageNext)
        }
        (Head | RubyHead | Frames, Line::Indented | Line::Blank) => Some(state),
        (Frames, Line::Opener(Opener::Python)) => Some(PythonFrames),
        _ => None,
    }
}

/// The state after `line`, where it starts an event.
fn starts(kind: Line, line: &[u8]) -> State {
    match kind {
        Line::Connector if line.starts_with(b"goroutine ") => State::Go,
        Line::Exception if is_ruby_head(line) => State::RubyHead,
        Line::Blank => State::Lead,
        Line::Frame => State::Frames,
        Line::Opener(Opener::Python) => State::PythonFrames,
        Line::Opener(Opener::Go) => State::Go,
        Line::Opener(Opener::Announcement) => State::MessageNext,
        Line::Opener(Opener::Node) => State::NodeSource,
        Line::Opener(Opener::Other) | Line::Exception => State::Head,
        Line::Indented | Line::Connector | Line::Plain => State::Plain,
    }
}

fn look_at(line: &[u8]) -> Line {
    let text = line.trim_ascii();
    let indented = line.first().is_some_and(u8::is_ascii_whitespace);
    if text.is_empty() {
        return Line::Blank;
    }
    if is_connector(text) {
        return Line::Connector;
    }
    if is_frame(text, indented) {
        return Line::Frame;
    }
    if let Some(opener) = opener(text) {
        return Line::Opener(opener);
    }
    match (is_exception(text), indented) {
        (true, _) => Line::Exception,
        (false, true) => Line::Indented,
        (false, false) => Line::Plain,
    }
}

fn is_connector(text: &[u8]) -> bool {
    const STARTS: [&[u8]; 15] = [
        b"Caused by: ",
        b"Suppressed: ",
        b"During handling of the above exception",
        b"The above exception was the direct cause",
        b"Stack trace:",
        b"stack backtrace:",
        b"goroutine ",
        b"created by ",
        b"thrown in ",
        b"--- End of ",
        b"note: ",
        b"[cause]: ",
        b"[signal SIG",
        b"[native code]",
        b"<asynchronous suspension>",
    ];
    match text[0] {
        b'C' | b'S' | b'D' | b'T' | b's' | b'g' | b'c' | b't' | b'-' | b'n' | b'[' | b'<' => {
            STARTS.iter().any(|start| text.starts_with(start))
        }
        b'h' => is_browser_place(text),
        b'N' => text.strip_prefix(b"Next ").is_some_and(is_exception),
        b'.' => text.starts_with(b"... "),
        _ => false,
    }
}

fn is_frame(text: &[u8], indented: bool) -> bool {
    match text[0] {
        b'a' if text.starts_with(b"at ") => memchr::memchr2(b'(', b':', text).is_some() || indented,
        b'F' if text.starts_with(b"File \"") => memchr::memmem::find(text, b"\", line ").is_some(),
        b'#' => text.get(1).is_some_and(u8::is_ascii_digit),
        b'f' if text.starts_with(b"from ") => memchr::memmem::find(text, b":in ").is_some(),
        b'0'..=b'9' if indented => is_numbered_frame(text),
        b'.' | b'/' if indented && memchr::memmem::find(text, b".go:").is_some() => true,
        // The last byte tells most lines apart at once.
        _ => match text.last() {
            Some(b'\'') => is_ruby_place(text),
            Some(b'0'..=b'9') => ends_with_line_number(text) && is_browser_frame(text),
            _ => false,
        },
    }
}

/// Rust: `12: core::ops::function::FnOnce::call_once`
fn is_numbered_frame(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text[digits..].starts_with(b": ")
}

/// Ruby: `lib/rails/rack/logger.rb:36:in 'call_app'`
fn is_ruby_place(text: &[u8]) -> bool {
    memchr::memmem::find(text, b":in ").is_some_and(|at| {
        text[..at].last().is_some_and(u8::is_ascii_digit)
            && matches!(text.get(at + 4), Some(b'`' | b'\''))
    })
}

/// Firefox and Safari: `foo@http://path/to/file.js:41:13`; Opera: `foo([a b])@http://path:1`
fn is_browser_frame(text: &[u8]) -> bool {
    memchr::memchr(b'@', text).is_some_and(|at| {
        let place = &text[at + 1..];
        (memchr::memchr(b' ', &text[..at]).is_none() || text[..at].ends_with(b")"))
            && [&b"http"[..], b"file:", b"/", b"webpack", b"resource:"]
                .iter()
                .any(|start| place.starts_with(start))
    })
}

/// `…:41` or `…:41:13`
fn ends_with_line_number(text: &[u8]) -> bool {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && text.len() > digits && text[text.len() - digits - 1] == b':'
}

fn opener(text: &[u8]) -> Option<Opener> {
    let starts = |start: &[u8]| text.starts_with(start);
    match text[0] {
        b'T' if starts(b"Traceback (most recent call") => Some(Opener::Python),
        b'p' if starts(b"panic: ") => Some(Opener::Go),
        b'f' if starts(b"fatal error: ") => Some(Opener::Go),
        b't' if starts(b"thread '") && memchr::memmem::find(text, b" panicked at ").is_some() => {
            let message_follows = text.ends_with(b":");
            Some(if message_follows { Opener::Announcement } else { Opener::Other })
        }
        b'E' if starts(b"Exception in thread ") => Some(Opener::Other),
        b'U' if starts(b"Uncaught ") || starts(b"Unhandled ") => {
            let message_follows = text.ends_with(b":");
            Some(if message_follows { Opener::Announcement } else { Opener::Other })
        }
        b'P' if starts(b"PHP Fatal error: ") => Some(Opener::Other),
        b'F' if starts(b"Fatal error: ") => Some(Opener::Other),
        b'/' | b'n' | b'f' if is_node_place(text) => Some(Opener::Node),
        _ => None,
    }
}

/// `/srv/app/t.js:8`, `node:internal/x:12`, `file:///srv/app/t.mjs:8`
fn is_node_place(text: &[u8]) -> bool {
    ends_with_line_number(text)
        && memchr::memchr(b' ', text).is_none()
        && (text.starts_with(b"/") || text.starts_with(b"node:") || text.starts_with(b"file:"))
}

/// Safari: `http://path/to/file.js:48:22`
fn is_browser_place(text: &[u8]) -> bool {
    text.starts_with(b"http")
        && ends_with_line_number(text)
        && memchr::memchr(b' ', text).is_none()
        && [&b".js:"[..], b".html:"].iter().any(|kind| memchr::memmem::find(text, kind).is_some())
}

/// Go: `main.handler(0xc000012345, 0x1)`, `panic(0x45cb40, 0x47ad70)`
fn is_go_function(line: &[u8]) -> bool {
    line.ends_with(b")")
        && memchr::memchr(b'(', line).is_some_and(|at| at > 0 && !line[..at].contains(&b' '))
}

/// `java.lang.IllegalStateException: boom`, `NoMethodError (undefined …):`, `TypeError`; also
/// behind `exception '…'` as old PHP prints it, and Ruby's `t.rb:5:in 'f': boom (RuntimeError)`.
#[must_use]
pub fn is_exception(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"exception '") {
        return rest.first().is_some_and(u8::is_ascii_uppercase);
    }
    // `[cause]` and the like never precede a type; a type's name has no space in it.
    let end = text
        .iter()
        .position(|byte| {
            !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'_' | b'$' | b'\\'))
        })
        .unwrap_or(text.len());
    let name = text[..end].strip_suffix(b":").unwrap_or(&text[..end]);
    let after = &text[end..];
    let is_type = ends_like_an_exception(name)
        && (after.is_empty() || text[..end].ends_with(b":") || after.starts_with(b" ("));
    is_type || is_ruby_head(text)
}

/// Ruby: `t.rb:5:in 'f': undefined method (NoMethodError)`
fn is_ruby_head(text: &[u8]) -> bool {
    text.ends_with(b")")
        && memchr::memmem::find(text, b":in ").is_some_and(|at| {
            text[..at].last().is_some_and(u8::is_ascii_digit)
                && memchr::memmem::find(&text[at..], b"': ").is_some()
        })
}

fn ends_like_an_exception(name: &[u8]) -> bool {
    const ENDS: [&[u8]; 6] =
        [b"Error", b"Exception", b"Throwable", b"Fault", b"Interrupt", b"Exit"];
    if !matches!(name.last(), Some(b'r' | b'n' | b'e' | b't')) {
        return false;
    }
    ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many events the lines of one process make.
    fn events(text: &str) -> usize {
        let mut join = Join::default();
        text.lines().filter(|line| join.next(line.as_bytes()) == Step::Starts).count()
    }

    #[test]
    fn one_event_a_trace_in_every_language() {
        for trace in [
            "Traceback (most recent call last):\n  File \"/app/t.py\", line 20, in <module>\n    main()\nValueError: bad 5\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/app/t.py\", line 3, in f\nKeyError: 'x'",
            "java.lang.IllegalStateException: job 3\n\tat T.wrap(T.java:8)\n\tat T.main(T.java:17)\nCaused by: java.lang.NumberFormatException: For input\n\tat X.y(X.java:1)\n\t... 12 more",
            "2026-11-22 ERROR request failed\njava.lang.NullPointerException\n\tat T.wrap(T.java:8)".split_once('\n').unwrap().1,
            "Error: job 3 failed\n    at Array.S (/srv/app/t.js:8:274)\n    at main (/srv/app/t.js:9:1) {\n  code: 'E'\n}".rsplit_once('\n').unwrap().0,
            "/srv/app/t.js:8\n        throw new Error('x')\n        ^\n\nError: x\n    at f (/srv/app/t.js:8:1)",
            "t.rb:5:in `f': boom (RuntimeError)\n\tfrom t.rb:9:in `<main>'",
            "ActionController::RoutingError (No route matches):\n  \n  actionpack (5.1.4) lib/x.rb:63:in `call'",
            "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/srv/app/t.go:12 +0x1d\nmain.main()\n\t/srv/app/t.go:20 +0x2",
            "PHP Fatal error:  Uncaught Error: x in /srv/t.php:8\nStack trace:\n#0 /srv/t.php(9): f()\n#1 {main}\n  thrown in /srv/t.php on line 8",
            "thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/x/lib.rs:1\nnote: Some details are omitted",
            "Unhandled exception. System.InvalidOperationException: x\n   at A.B() in /x.cs:line 3\n   --- End of inner exception stack trace ---\n   at C.D()",
            "TypeError: x is undefined\nfoo@http://path/file.js:41:13\nbar@http://path/file.js:1:1",
            "TypeError: null\nhttp://path/file.js:48:22\nfoo@http://path/file.js:52:15\n[native code]",
            "Error: x\n<anonymous function>([arguments not available])@http://h/Lab.html:48\nf([a b])@http://h/Lab.html:1",
            "\nFatal error: Uncaught JsonException: Syntax error in /srv/t.php:6\nStack trace:\n#0 /srv/t.php(6): json_decode()\n#1 {main}\n\nNext RuntimeException: job 1 failed in /srv/t.php:7\nStack trace:\n#0 {main}\n  thrown in /srv/t.php on line 7\n",
            "\nthread 'main' (7335) panicked at t.rs:7:612:\ncalled `Result::unwrap()`\nstack backtrace:\n   0: main\n             at ./t.rs:7:612\n",
            "t.rb:7:in `block in <main>': undefined method `upcase' (NoMethodError)\n\nputs nil.upcase\n        ^^^^^^^\n\tfrom t.rb:8:in `<main>'",
            "Unhandled exception:\nBad state: oops\n#0      f (file:///x.dart:16:3)\n<asynchronous suspension>\n#1      main (file:///x.dart:24:5)\n",
            "panic: x [recovered]\n[signal SIGSEGV: segmentation violation code=0x1]\n\ngoroutine 4 [running]:\npanic(0x45cb40, 0x47ad70)\n\t/usr/panic.go:542 +0x46c\ncreated by main.main\n\tfoo.go:5 +0x58\n\ngoroutine 1 [chan receive]:\nruntime.gopark(0x4739b8)\n\t/usr/proc.go:280 +0x12c",
            "goroutine 135 [running]:\nnet/http.(*conn).serve(0xc0001a63c0)\n\t/http/server.go:1895 +0x86c",
            "java.lang.RuntimeException: javax.mail.SendFailedException: Invalid;\n  nested exception is:\ncom.sun.mail.smtp.SMTPAddressFailedException: 550\n\n\tat A.b(A.java:236)\nCaused by: javax.mail.SendFailedException: Invalid;\n  nested exception is:\ncom.sun.X: 550\n\n\tat A.c(A.java:1)",
        ] {
            assert_eq!(events(trace), 1, "{trace}");
        }
    }

    #[test]
    fn ordinary_lines_stay_apart() {
        assert_eq!(
            events("Started GET /\n  Rendered users/index.html.erb (1.2ms)\nCompleted 200 OK"),
            3
        );
        assert_eq!(events("one\ntwo\n\nthree"), 4);
        assert_eq!(events("one\n\n\n  indented\n\nhttp://localhost:3000"), 6);
        assert_eq!(events("ready\nhttp://localhost:3000/app.js:1\nNext step\nhi()"), 4);
        assert_eq!(events("ValueError: a\nnext line\nValueError: b"), 3);
    }

    #[test]
    fn two_traces_are_two_events() {
        let one = "Error: a\n    at f (/a.js:1:2)\n    at g (/a.js:3:4)";
        assert_eq!(events(&format!("{one}\n{one}")), 2);
        let python =
            "Traceback (most recent call last):\n  File \"t.py\", line 1, in f\nValueError: x";
        assert_eq!(events(&format!("{python}\nback to work\n{python}")), 3);
    }

    proptest! {
        #[test]
        fn any_line_is_survived(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut join = Join::default();
            for line in &lines {
                join.next(line);
            }
        }
    }
}
