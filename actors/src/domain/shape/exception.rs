//! Exceptions in text: their types and frames, whatever the language that printed them.
//!
//! What identifies an exception is its type and the functions of the program's own code, the
//! innermost first, without line numbers, addresses, arguments and generated names; and the same
//! of each exception that caused it. Its message counts only where the language has no types (Go,
//! Rust). Formats: the tracebacks of CPython, the JVM (`Throwable.printStackTrace`), V8,
//! SpiderMonkey and JavaScriptCore, MRI Ruby, Go, PHP, Rust, .NET (`Exception.ToString`) and Dart.

use super::frame::{self, Frame, Language};

/// An exception and those that caused it, in the order of the text.
#[derive(Debug, Default)]
pub struct Exception<'a> {
    pub links: Vec<Link<'a>>,
}

/// One exception of a chain.
#[derive(Debug, Default)]
pub struct Link<'a> {
    /// `java.lang.IllegalStateException`; empty where the language has no types.
    pub name: &'a str,
    pub message: &'a str,
    /// The innermost first.
    pub frames: Vec<Frame<'a>>,
}

const MAX_LINKS: usize = 8;
const MAX_LINES: usize = 1_000;
/// So many functions make the identity.
const MAX_FRAMES: usize = 8;

impl<'a> Exception<'a> {
    /// The exception in `text`; `None` where there are no frames.
    #[must_use]
    pub fn find(text: &'a str) -> Option<Self> {
        let mut trace = Reader::default();
        let mut lines = text.lines().take(MAX_LINES).peekable();
        while let Some(line) = lines.next() {
            if !line.trim().is_empty() {
                trace.line(line, lines.peek().copied().unwrap_or_default());
            }
        }
        trace.end_link();
        let links = trace.links;
        (!links.is_empty()).then_some(Self { links })
    }

    /// Type and message of the exception that was not handled.
    #[must_use]
    pub fn title(&self) -> String {
        let Some(link) =
            self.links.iter().find(|link| !link.name.is_empty()).or(self.links.first())
        else {
            return String::new();
        };
        match (link.name, link.message) {
            ("", message) => message.to_owned(),
            (name, "") => name.to_owned(),
            (name, message) => format!("{name}: {message}"),
        }
    }

    /// Appends what identifies the exception; `mask` appends a masked message.
    pub fn write_identity(&self, mask: impl Fn(&str, &mut String), out: &mut String) {
        for link in &self.links {
            out.push_str(link.name);
            if link.name.is_empty() {
                mask(link.message, out);
            }
            out.push('\n');
            link.write_functions(out);
        }
    }
}

impl Link<'_> {
    /// Appends the functions that count, one a line.
    fn write_functions(&self, out: &mut String) {
        let has_own = self.frames.iter().any(|frame| frame.is_own);
        let (mut written, mut last) = (0, out.len());
        for frame in self.frames.iter().filter(|frame| frame.is_own || !has_own) {
            let start = out.len();
            frame.write(out);
            if out.len() == start {
                continue;
            }
            out.push('\n');
            // How deep a recursion went is data.
            if out[start..] == out[last..start] {
                out.truncate(start);
                continue;
            }
            (written, last) = (written + 1, start);
            if written == MAX_FRAMES {
                return;
            }
        }
    }
}

/// Reads a trace line by line.
#[derive(Default)]
struct Reader<'a> {
    links: Vec<Link<'a>>,
    language: Option<Language>,
    /// The line that names the exception whose frames are read.
    head: &'a str,
    frames: Vec<Frame<'a>>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str, next: &'a str) {
        let text = line.trim();
        if let Some(message) = panic_message(text, next) {
            self.end_link();
            (self.head, self.language) = (message, Some(Language::Rust));
        } else if let Some(cause) = cause(text) {
            self.end_link();
            self.head = cause;
        } else if let Some((frame, language)) = frame::read(text, next, self.language) {
            self.language = Some(language);
            // Ruby names its exception in the line of the innermost frame.
            if language == Language::Ruby && self.frames.is_empty() && !text.starts_with("from ") {
                self.head = text;
            }
            self.frames.push(frame);
        } else {
            self.other(line, text);
        }
    }

    /// A line that is no frame: it may name the exception.
    fn other(&mut self, line: &'a str, text: &'a str) {
        match self.language {
            // Python names it behind the frames.
            Some(Language::Python) => {
                let is_indented = line.starts_with([' ', '\t']);
                if !is_indented && !self.frames.is_empty() && !is_heading(text) {
                    self.head = text;
                    self.end_link();
                }
            }
            Some(_) => {}
            None => {
                let names_nothing = !names_type(self.head);
                if self.head.is_empty()
                    || is_heading(self.head)
                    || names_nothing && names_type(text)
                {
                    self.head = text;
                }
            }
        }
    }

    fn end_link(&mut self) {
        let head = std::mem::take(&mut self.head);
        let mut frames = std::mem::take(&mut self.frames);
        if frames.is_empty() && self.links.is_empty() || self.links.len() >= MAX_LINKS {
            return;
        }
        if frames.is_empty() && head.is_empty() {
            return;
        }
        if self.language == Some(Language::Python) {
            frames.reverse();
        }
        let (name, message) = name_of(head, self.language);
        self.links.push(Link { name, message, frames });
    }
}

/// Lines in front of or between exceptions that name none.
fn is_heading(line: &str) -> bool {
    let starts = ["Traceback (most recent call last)", "stack backtrace:", "Unhandled exception:"];
    let ends = ["Stack trace:", "another exception occurred:", "of the following exception:"];
    starts.iter().any(|start| line.starts_with(start)) || ends.iter().any(|end| line.ends_with(end))
}

/// What a thread of a Rust program panicked with: `thread 'main' panicked at src/a.rs:1:2:` and the
/// message on the next line; before Rust 1.73 `thread 'main' panicked at 'message', src/a.rs:1:2`.
fn panic_message<'a>(line: &'a str, next: &'a str) -> Option<&'a str> {
    let place = line.strip_prefix("thread ")?.split_once(" panicked at ")?.1;
    Some(match place.strip_prefix('\'') {
        Some(quoted) => quoted.rsplit_once("', ").map_or(quoted, |(message, _)| message),
        None => next,
    })
}

/// What follows the words that announce a cause.
fn cause(line: &str) -> Option<&str> {
    if let Some(next) = line.strip_prefix("Next ") {
        // PHP; an ordinary word elsewhere.
        return Some(next).filter(|next| names_type(next));
    }
    ["Caused by: ", "Suppressed: ", "[cause]: ", "---> "]
        .iter()
        .find_map(|announced| line.strip_prefix(announced))
}

fn names_type(line: &str) -> bool {
    !name_of(line, None).0.is_empty()
}

/// The type and the message in the line that names an exception.
fn name_of(line: &str, language: Option<Language>) -> (&str, &str) {
    match language {
        Some(Language::Ruby) => ruby_name(line),
        Some(Language::Go | Language::Rust) => {
            let message = line.strip_prefix("panic: ").unwrap_or(line);
            ("", message.split(" [recovered]").next().unwrap_or(message))
        }
        _ => leading_name(without_lead(line)),
    }
}

/// `t.rb:4:in 'fetch': key not found: 400 (KeyError)`
fn ruby_name(line: &str) -> (&str, &str) {
    let Some((rest, name)) = line.strip_suffix(')').and_then(|line| line.rsplit_once(" (")) else {
        return ("", line);
    };
    (name, rest.split_once("': ").map_or("", |(_, message)| message))
}

fn without_lead(line: &str) -> &str {
    const LEADS: [&str; 8] = [
        "PHP Fatal error:",
        "Fatal error:",
        "Unhandled exception.",
        "Unhandled Exception:",
        "Uncaught (in promise)",
        "Uncaught exception:",
        "Uncaught",
        "[",
    ];
    let mut line = line;
    for lead in LEADS {
        line = line.strip_prefix(lead).unwrap_or(line).trim_start();
    }
    let Some(thread) = line.strip_prefix("Exception in thread \"") else { return line };
    thread.split_once("\" ").map_or(line, |(_, line)| line)
}

/// The name of a type at the begin of a line: `Error`, `java.io.IOException`, `Errno::ENOENT`,
/// `App\Missing`, with its message behind a colon.
fn leading_name(line: &str) -> (&str, &str) {
    let belongs = |character: char| {
        character.is_alphanumeric() || matches!(character, '.' | '_' | '$' | '\\' | '`' | '+')
    };
    let end = line.find(|character| !belongs(character)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let last = name.rsplit(['.', '$', '\\', '+']).next().unwrap_or(name);
    let ends_name = rest.is_empty() || [":", " [", " ("].iter().any(|end| rest.starts_with(end));
    // "Error: x" names a type; of names without a message only what can hardly be a plain word.
    let is_likely = rest.starts_with(':') || name.contains('.') || last.len() > 4;
    if last.starts_with(char::is_uppercase) && ends_name && is_likely {
        return (name, rest.trim_start_matches(':').trim());
    }
    ("", line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(text: &str) -> String {
        let mut out = String::new();
        let exception = Exception::find(text).expect("it has frames");
        exception.write_identity(|text, out| out.push_str(text), &mut out);
        out.trim_end().replace('\n', " | ")
    }

    #[test]
    fn each_language_is_read() {
        for (text, expected) in [
            (
                "Traceback (most recent call last):\n  File \"/app/main.py\", line 3, in run\n    go()\n  File \"/usr/lib/python3/json.py\", line 9, in loads\n    x()\nshop.BadOrder: 17 is bad\n",
                "shop.BadOrder | main.py run",
            ),
            (
                "Exception in thread \"main\" java.lang.IllegalStateException: no cart 7\n\tat shop.Cart.lambda$add$3(Cart.java:12)\n\tat java.base/java.util.List.forEach(List.java:1)\nCaused by: java.io.IOException: gone\n\tat shop.Store$$EnhancerByCGLIB$$4f2.read(<generated>)\n\t... 3 more\n",
                "java.lang.IllegalStateException | shop.Cart.add$ | java.io.IOException | shop.Store.read",
            ),
            (
                "TypeError: x is not a function\n    at Object.run (/app/dist/main.4f3a2b1c.js:1:99)\n    at node:internal/main:28:49\n",
                "TypeError | main.js run",
            ),
            (
                "Error: boom\nfoo@http://host/file.js:41:13\nbar@http://host/file.js:1:1\n",
                "Error | file.js foo | file.js bar",
            ),
            (
                "cart.rb:4:in `fetch': key not found: 400 (KeyError)\n\tfrom cart.rb:4:in `block in find'\n\tfrom /gems/rack/rack.rb:8:in `call'\n",
                "KeyError | cart.rb fetch | cart.rb find",
            ),
            (
                "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.deep(0x7f3b)\n\t/srv/t.go:6 +0x34\nmain.deep(0x7f3c)\n\t/srv/t.go:6 +0x25\nmain.(*Cart).Add(0xc000, {0x1, 0x2})\n\t/srv/t.go:11 +0x13c\n",
                "runtime error: index out of range | main.deep | main.(*Cart).Add",
            ),
            (
                "PHP Fatal error:  Uncaught App\\Missing: no row 7 in /srv/t.php:4\nStack trace:\n#0 /srv/t.php(8): Repo->find(7)\n#1 /srv/vendor/x.php(9): run()\n#2 {main}\n  thrown in /srv/t.php on line 4\n",
                "App\\Missing | t.php Repo->find",
            ),
            (
                "thread 'main' panicked at src/cart.rs:7:66:\nno such order\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/5980/library/std/src/panicking.rs:689:5\n   1: shop::cart::add::h0123456789abcdef\n             at ./src/cart.rs:7:66\n",
                "no such order | shop::cart::add",
            ),
            (
                "System.InvalidOperationException: Bad order 7\n ---> System.IO.IOException: gone\n   at Shop.Store.Read(String path) in /src/Store.cs:line 7\n   --- End of inner exception stack trace ---\n   at Shop.Cart.<AddAsync>d__3.MoveNext() in /src/Cart.cs:line 12\n   at System.Threading.Tasks.Task.Wait()\n",
                "System.IO.IOException | Shop.Store.Read | Shop.Cart.AddAsync",
            ),
            (
                "Unhandled exception:\nFormatException: Invalid number\n#0      parse (package:shop/cart.dart:3:5)\n#1      _rootRun (dart:async/zone.dart:1:1)\n",
                "FormatException | parse",
            ),
        ] {
            assert_eq!(identity(text), expected, "{text}");
        }
    }

    #[test]
    fn text_without_frames_is_no_exception() {
        for text in ["", "one line", "Error: boom", "two\nlines", "a: b\n  at noon we met\n"] {
            assert!(Exception::find(text).is_none(), "{text}");
        }
    }

    #[test]
    fn its_title_is_what_was_not_handled() {
        let text = "java.lang.RuntimeException: outer 7\n\tat a.B.c(B.java:1)\nCaused by: java.io.IOException: x\n\tat a.B.d(B.java:2)\n";
        let exception = Exception::find(text).unwrap();
        assert_eq!(exception.title(), "java.lang.RuntimeException: outer 7");
    }
}
