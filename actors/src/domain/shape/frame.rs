//! One frame of a stack trace.

use std::{borrow::Cow, sync::OnceLock};

use aho_corasick::AhoCorasick;

/// Who printed a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    Jvm,
    JavaScript,
    Ruby,
    Go,
    Php,
    Rust,
    DotNet,
    Dart,
}

/// See the [module](self). File and name, or only a name, as far as they are the same in every
/// release; both are empty in frames that say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    file: &'a str,
    name: Cow<'a, str>,
    /// Of the program itself, not of a library.
    pub is_own: bool,
}

impl<'a> Frame<'a> {
    fn in_file(file: &'a str, name: &'a str, is_own: bool) -> Self {
        Self { file, name: Cow::Borrowed(name), is_own }
    }

    fn named(name: impl Into<Cow<'a, str>>, is_own: bool) -> Self {
        Self { file: "", name: name.into(), is_own }
    }

    /// Appends the function: the last part of the file's path, and the name.
    pub fn write(&self, out: &mut String) {
        write_base(self.file, out);
        if !self.file.is_empty() && !self.name.is_empty() {
            out.push(' ');
        }
        out.push_str(&self.name);
    }
}

/// Reads a line as a frame. `next` is the line behind it; `language` that of the frames before.
pub(super) fn read<'a>(
    text: &'a str,
    next: &str,
    language: Option<Language>,
) -> Option<(Frame<'a>, Language)> {
    use Language::{Go, JavaScript, Python, Ruby, Rust};
    let (frame, found) = if let Some(rest) = text.strip_prefix("File \"") {
        (python(rest)?, Python)
    } else if let Some(rest) = text.strip_prefix("at ") {
        call(rest)?
    } else if let Some(rest) = text.strip_prefix("from ") {
        (ruby(rest)?, Ruby)
    } else if text.starts_with('#') {
        numbered(text)?
    } else if next.starts_with('\t') && next.contains(".go:") {
        (go(text, next), Go)
    } else if text.starts_with(|first: char| first.is_ascii_digit()) && text.contains(": ") {
        (rust(text, next.trim())?, Rust)
    } else if language.is_none() && (text.contains(":in `") || text.contains(":in '")) {
        (ruby(text)?, Ruby)
    } else {
        (gecko(text)?, JavaScript)
    };
    language.is_none_or(|language| language == found).then_some((frame, found))
}

/// Parts of which a text may contain one; all are searched for at once.
struct Parts {
    parts: &'static [&'static str],
    search: OnceLock<AhoCorasick>,
}

impl Parts {
    const fn new(parts: &'static [&'static str]) -> Self {
        Self { parts, search: OnceLock::new() }
    }

    fn are_in(&self, text: &str) -> bool {
        let build = || AhoCorasick::new(self.parts).expect("a few short parts");
        self.search.get_or_init(build).is_match(text)
    }
}

fn starts_with_one(text: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| text.starts_with(start))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `/app/a.py", line 3, in f`
fn python(rest: &str) -> Option<Frame<'_>> {
    static LIBRARIES: Parts = Parts::new(&[
        "site-packages/",
        "dist-packages/",
        "/lib/python",
        "\\lib\\",
        "<frozen ",
        "/usr/lib/",
    ]);
    let (file, place) = rest.split_once("\", line ")?;
    let function = place.split_once(", in ").map_or("", |(_, function)| function.trim());
    Some(Frame::in_file(file, function, !LIBRARIES.are_in(file)))
}

/// Behind `at `: `f (a.js:1:2)` and `a.js:1:2` of V8, `pkg.Class.method(File.java:3)` of the JVM,
/// `Ns.Class.Method(String s) in f.cs:line 3` of .NET.
fn call(rest: &str) -> Option<(Frame<'_>, Language)> {
    static JVM: Parts = Parts::new(&[
        ".java",
        ".kt",
        ".scala",
        ".groovy",
        ".clj",
        "Native Method",
        "Unknown Source",
        "SourceFile",
        "<generated>",
    ]);
    let Some((name, inside)) = rest.split_once('(') else {
        return Some((javascript("", script(rest)?), Language::JavaScript));
    };
    let inside = inside.split(')').next().unwrap_or(inside);
    // Only V8 leaves a space in front of the parenthesis.
    if let Some(name) = name.strip_suffix(' ') {
        return Some((javascript(name, script(inside).unwrap_or(inside)), Language::JavaScript));
    }
    if JVM.are_in(inside) {
        return Some((java(name), Language::Jvm));
    }
    match script(inside) {
        Some(file) => Some((javascript(name, file), Language::JavaScript)),
        None => Some((dot_net(name), Language::DotNet)),
    }
}

/// The file of `file:line:column` or `file:line`.
fn script(place: &str) -> Option<&str> {
    let (rest, last) = place.rsplit_once(':')?;
    let file = match rest.rsplit_once(':') {
        Some((file, line)) if is_number(line) => file,
        _ => rest,
    };
    (is_number(last)
        && (memchr::memchr3(b'/', b'\\', b'.', file.as_bytes()).is_some()
            || starts_with_one(file, &["node:", "<"])))
    .then_some(file)
}

fn javascript<'a>(name: &'a str, file: &'a str) -> Frame<'a> {
    static LIBRARIES: Parts = Parts::new(&[
        "node_modules/",
        "node_modules\\",
        "node:",
        "internal/",
        "<anonymous>",
        "native",
    ]);
    const OWNERS: [&str; 7] =
        ["Object.", "Array.", "Function.", "Module.", "Timeout.", "process.", "global."];
    let name = name.strip_prefix("async ").unwrap_or(name);
    let name = name.strip_prefix("new ").unwrap_or(name);
    // `Object.f [as g]`
    let alias = name.strip_suffix(']').and_then(|name| name.split_once(" [as "));
    let name = alias.map_or(name, |(name, _)| name);
    let name = OWNERS.iter().find_map(|owner| name.strip_prefix(owner)).unwrap_or(name);
    let name = if matches!(name, "<anonymous>" | "anonymous" | "eval") { "" } else { name };
    Frame::in_file(file, name, !LIBRARIES.are_in(file))
}

/// `f@http://host/a.js:1:2` of SpiderMonkey and JavaScriptCore
fn gecko(text: &str) -> Option<Frame<'_>> {
    let (name, place) = text.split_once('@')?;
    let file = script(place)?;
    let name = name.split('/').next().unwrap_or(name);
    (!name.contains(' ')).then(|| javascript(name, file))
}

fn java(name: &str) -> Frame<'_> {
    const LIBRARIES: [&str; 25] = [
        "java.",
        "javax.",
        "jakarta.",
        "jdk.",
        "sun.",
        "com.sun.",
        "kotlin.",
        "kotlinx.",
        "scala.",
        "groovy.",
        "org.springframework.",
        "org.apache.",
        "org.hibernate.",
        "org.eclipse.",
        "io.netty.",
        "io.undertow.",
        "reactor.",
        "com.google.common.",
        "com.fasterxml.",
        "com.zaxxer.",
        "org.junit.",
        "android.",
        "androidx.",
        "dalvik.",
        "com.android.internal.",
    ];
    // java.base/java.util.X: a module is no part of the name.
    let name = name.rsplit('/').next().unwrap_or(name).trim();
    Frame::named(without_generated(name), !starts_with_one(name, &LIBRARIES))
}

/// A name without what compilers and proxies add: `lambda$run$3`, `Cart$$EnhancerByCGLIB$$4f2`,
/// `$Proxy12`, `access$000`.
fn without_generated(name: &str) -> Cow<'_, str> {
    if !name.bytes().any(|byte| byte == b'$' || byte.is_ascii_digit()) {
        return Cow::Borrowed(name);
    }
    let (class, method) = match name.split_once("$$") {
        Some((class, rest)) => (class, rest.rfind('.').map_or("", |dot| &rest[dot..])),
        None => (name, ""),
    };
    let full = format!("{class}{method}").replace("lambda$", "");
    Cow::Owned(full.chars().filter(|character| !character.is_ascii_digit()).collect())
}

/// `Ns.Class.Method`, and `Ns.Class.<Run>d__3.MoveNext` of an async method.
fn dot_net(name: &str) -> Frame<'_> {
    let is_own = !starts_with_one(name, &["System.", "Microsoft.", "MS.", "lambda_method"]);
    let mut rest = name.strip_suffix(".MoveNext").unwrap_or(name);
    let mut function = String::new();
    while let Some((before, open)) = rest.split_once('<')
        && let Some((inside, after)) = open.split_once('>')
    {
        function.push_str(before);
        function.push_str(inside);
        // d__3, c__DisplayClass5_0, b__1: numbered by the compiler.
        rest = after.trim_start_matches(|character: char| {
            character.is_ascii_alphanumeric() || character == '_'
        });
    }
    function.push_str(rest);
    // `1: the number of type parameters.
    function.truncate(function.find('`').unwrap_or(function.len()));
    Frame::named(function, is_own)
}

/// `a.rb:4:in 'block in find'`, quoted with a backtick before Ruby 3.4
fn ruby(text: &str) -> Option<Frame<'_>> {
    static LIBRARIES: Parts =
        Parts::new(&["/gems/", "/lib/ruby/", "<internal:", "/rubygems/", "/bundler/"]);
    let (place, name) = text.split_once(":in ")?;
    let (file, line) = place.rsplit_once(':')?;
    let name = name.trim_start_matches(['`', '\'']);
    let name = name.split('\'').next().unwrap_or(name);
    let name = name.rsplit(" in ").next().unwrap_or(name);
    is_number(line).then(|| Frame::in_file(file, name, !LIBRARIES.are_in(file)))
}

/// `main.(*Cart).Add(0xc000, {0x1})` with its file on the line behind
fn go<'a>(text: &'a str, place: &str) -> Frame<'a> {
    const PACKAGES: [&str; 7] =
        ["runtime.", "testing.", "net/http.", "reflect.", "syscall.", "internal/", "panic"];
    static PLACES: Parts =
        Parts::new(&["/usr/local/go/", "/pkg/mod/", "/vendor/", "/go/src/runtime"]);
    let name = text.strip_prefix("created by ").unwrap_or(text);
    let name = name.split(" in goroutine ").next().unwrap_or(name);
    // The first parenthesis that is no receiver's opens the arguments.
    let arguments = name.match_indices('(').find(|(at, _)| !name[..*at].ends_with('.'));
    let name = arguments.map_or(name, |(at, _)| &name[..at]);
    let is_own = !starts_with_one(name, &PACKAGES) && !PLACES.are_in(place);
    // Closures are numbered.
    Frame::named(name.split(".func").next().unwrap_or(name), is_own)
}

/// `#0 /srv/a.php(8): Repo->find(1)` of PHP, `#0      main (file:///a.dart:1:2)` of Dart
fn numbered(text: &str) -> Option<(Frame<'_>, Language)> {
    let rest = text[1..].trim_start_matches(|character: char| character.is_ascii_digit());
    if rest.len() + 1 == text.len() {
        return None;
    }
    let rest = rest.trim_start();
    if starts_with_one(rest, &["{main}", "[internal function]"]) {
        return Some((Frame::named("", false), Language::Php));
    }
    if let Some((place, called)) = rest.split_once("): ")
        && let Some((file, _)) = place.rsplit_once('(')
    {
        let name = called.split('(').next().unwrap_or(called);
        let name = if name.contains("{closure") { "{closure}" } else { name };
        return Some((Frame::in_file(file, name, !file.contains("/vendor/")), Language::Php));
    }
    let (name, place) = rest.split_once(" (")?;
    let mut function = name.replace("<anonymous closure>", "");
    function.truncate(function.trim_end_matches('.').len());
    let is_own = !place.starts_with("dart:") && !place.contains("package:flutter/");
    Some((Frame::named(function, is_own), Language::Dart))
}

/// `4: shop::cart::add` with `at ./src/cart.rs:7:66` behind it
fn rust<'a>(text: &'a str, next: &str) -> Option<Frame<'a>> {
    const CRATES: [&str; 6] = ["std::", "core::", "alloc::", "tokio::", "backtrace::", "__"];
    const RUNTIME: [&str; 8] = [
        "rust_begin_unwind",
        "rust_panic",
        "_start",
        "main",
        "_main",
        "clone",
        "start_thread",
        "<unknown>",
    ];
    static PLACES: Parts = Parts::new(&["/rustc/", "/.cargo/registry/", "/rust/deps/"]);
    let (number, name) = text.split_once(": ")?;
    if !is_number(number) {
        return None;
    }
    let name = name.trim();
    let name = match name.split_once(" - ") {
        Some((address, name)) if address.starts_with("0x") => name,
        _ => name,
    };
    let path = name.trim_start_matches('<');
    let is_runtime = starts_with_one(path, &CRATES) || RUNTIME.contains(&name);
    let is_own = !is_runtime && !PLACES.are_in(next);
    // The hash of a legacy symbol: ::h and 16 digits.
    let hash = name.rfind("::h").filter(|at| name.len() - at == 19);
    let name = &name[..hash.unwrap_or(name.len())];
    Some(Frame::named(name.replace("::{{closure}}", ""), is_own))
}

/// The last part of a path, without the hash that bundlers put into names.
fn write_base(path: &str, out: &mut String) {
    let query = memchr::memchr2(b'?', b'#', path.as_bytes());
    let path = &path[..query.unwrap_or(path.len())];
    let directory = memchr::memrchr3(b'/', b'\\', b'(', path.as_bytes());
    let file = &path[directory.map_or(0, |at| at + 1)..];
    let is_hash = |part: &str| {
        part.len() >= 6
            && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            && part.bytes().any(|byte| byte.is_ascii_digit())
    };
    let parts = file.split(['.', '-']).filter(|part| !is_hash(part));
    for (index, part) in parts.enumerate() {
        if index > 0 {
            out.push('.');
        }
        out.push_str(part);
    }
}
