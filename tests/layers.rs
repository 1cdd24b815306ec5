//! Who may import whom: `src → actors → adapters → domain`. Domain is pure; no stage knows another;
//! only `pipeline.rs` knows them all.
//!
//! The sources are read as text: every path in them (`use` or inline) is resolved to the module it
//! names, and that is held against the rules of the layer that the file belongs to.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a file of the pipeline is, by the place of its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer<'a> {
    /// `lib.rs` and `pipeline.rs`.
    Everything,
    /// A file beside them: a stage, by its name.
    Stage(&'a str),
    /// `stage.rs`: what a stage is.
    Stages,
    Adapters,
    Domain,
}

fn layer_of(module: &str) -> Layer<'_> {
    match module {
        "" | "*" | "pipeline" => Layer::Everything,
        "adapters" => Layer::Adapters,
        "domain" => Layer::Domain,
        "stage" => Layer::Stages,
        name => Layer::Stage(name),
    }
}

impl Layer<'_> {
    fn may_import(self, other: Self) -> bool {
        use Layer::{Adapters, Domain, Everything, Stage, Stages};
        self == other
            || match other {
                Domain => true,
                Adapters => matches!(self, Everything | Stage(_) | Stages),
                Stages => matches!(self, Everything | Stage(_)),
                Stage(_) | Everything => self == Everything,
            }
    }
}

/// The crates that domain may use: they compute, and nothing else.
const PURE: [&str; 18] = [
    "aho_corasick",
    "base64",
    "bytes",
    "bytesize",
    "jiff",
    "memchr",
    "minijinja",
    "serde",
    "serde_json",
    "sha2",
    "simd_json",
    "simdutf8",
    "sketches_ddsketch",
    "strsim",
    "thiserror",
    "utoipa",
    "uuid",
    "xxhash_rust",
];

/// What domain may not use of crates that it may: input, output, and the clock.
const IMPURE: [&str; 12] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
];

/// What is wrong in one file of `actors/src`. `file` is its path below that directory.
fn violations(file: &str, text: &str, dependencies: &[String]) -> Vec<String> {
    let module = module_of(file);
    let own = layer_of(module.first().map_or("", String::as_str));
    let mut found = Vec::new();
    for Import { line, path } in imports(text, &module) {
        let problem = match path.split_first().unwrap() {
            (root, rest) if root == "crate" => {
                let other = layer_of(rest.first().map_or("", String::as_str));
                (!own.may_import(other)).then(|| format!("{own:?} may not import {other:?}"))
            }
            _ if own != Layer::Domain => None,
            (root, _) if dependencies.contains(root) && !PURE.contains(&root.as_str()) => {
                Some(format!("domain may not use the crate {root}"))
            }
            _ => IMPURE
                .iter()
                .find(|impure| is_prefix_of_other(&path, impure))
                .map(|impure| format!("domain is without input, output and clock: not {impure}")),
        };
        if let Some(problem) = problem {
            found.push(format!("actors/src/{file}:{line}: {problem} ({})", path.join("::")));
        }
    }
    found
}

/// `use std::time` reaches `std::time::Instant` as well as `std::time::Instant::now` does.
fn is_prefix_of_other(path: &[String], other: &str) -> bool {
    path.iter()
        .filter(|segment| *segment != "*")
        .zip(other.split("::"))
        .all(|(one, two)| one == two)
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}

/// A path in a source file. The first segment is `crate` or another crate's name.
struct Import {
    line: usize,
    path: Vec<String>,
}

/// Every path of a file, `use` trees taken apart.
fn imports(text: &str, module: &[String]) -> Vec<Import> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    // The modules that the place lies in, with the depth of braces at which each ends.
    let mut inside: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while let Some((line, token)) = tokens.get(at) {
        let next = tokens.get(at + 1).map_or("", |(_, token)| token);
        let before = at.checked_sub(1).map_or("", |before| tokens[before].1);
        match *token {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inside.pop_if(|(_, end)| *end == depth);
            }
            "mod" if tokens.get(at + 2).is_some_and(|(_, token)| *token == "{") => {
                inside.push((next.to_owned(), depth));
                at += 1;
            }
            root if is_name(root) && before != "::" && (next == "::" || before == "use") => {
                let mut trees = Vec::new();
                at = take_tree(&tokens, at, Vec::new(), &mut trees);
                let mut here = module.to_vec();
                here.extend(inside.iter().map(|(name, _)| name.clone()));
                found.extend(
                    trees.iter().map(|tree| Import { line: *line, path: resolved(tree, &here) }),
                );
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Takes one tree of a path; gives where it ends.
fn take_tree<'a>(
    tokens: &[(usize, &'a str)],
    mut at: usize,
    mut path: Vec<&'a str>,
    found: &mut Vec<Vec<&'a str>>,
) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", |(_, token)| *token);
    loop {
        match token(at) {
            "{" => {
                at += 1;
                while !matches!(token(at), "}" | "") {
                    at = take_tree(tokens, at, path.clone(), found);
                    while matches!(token(at), "as" | ",") {
                        at += if token(at) == "as" { 2 } else { 1 };
                    }
                }
                return at + 1;
            }
            segment if segment == "*" || is_name(segment) => {
                path.push(segment);
                at += 1;
            }
            // Generics of a call, for example.
            _ => break,
        }
        if token(at) != "::" {
            break;
        }
        at += 1;
    }
    found.push(path);
    at.max(1)
}

fn resolved(tree: &[&str], here: &[String]) -> Vec<String> {
    let supers = tree.iter().take_while(|segment| **segment == "super").count();
    let base = match tree.first() {
        Some(&"super") => &here[..here.len().saturating_sub(supers)],
        Some(&"self") => here,
        _ => return tree.iter().map(|&segment| segment.to_owned()).collect(),
    };
    let rest = tree[supers.max(1)..].iter().map(|&segment| segment.to_owned());
    std::iter::once("crate".to_owned()).chain(base.iter().cloned()).chain(rest).collect()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single characters, each with its line; without comments and literals.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < text.len() {
        let rest = &text[at..];
        let length = skipped(rest).unwrap_or_else(|| {
            let name =
                rest.find(|end: char| !end.is_alphanumeric() && end != '_').unwrap_or(rest.len());
            let length = match name {
                0 if rest.starts_with("::") => 2,
                0 => rest.chars().next().unwrap().len_utf8(),
                name => name,
            };
            tokens.push((line, &rest[..length]));
            length
        });
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

/// The length of the space, comment or literal that `rest` starts with.
fn skipped(rest: &str) -> Option<usize> {
    let until = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    let raw = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r').unwrap_or("");
    let hashes = raw.find(|next| next != '#').unwrap_or(0);
    match rest.as_bytes() {
        [b' ' | b'\n', ..] => Some(1),
        [b'/', b'/', ..] => Some(rest.find('\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(until("*/", 2)),
        _ if raw[hashes..].starts_with('"') => {
            let start = rest.len() - raw.len() + hashes + 1;
            Some(until(&format!("\"{}", "#".repeat(hashes)), start))
        }
        [b'"', bytes @ ..] => {
            let mut escaped = false;
            let end = bytes.iter().position(|byte| match byte {
                _ if escaped => {
                    escaped = false;
                    false
                }
                b'\\' => {
                    escaped = true;
                    false
                }
                byte => *byte == b'"',
            });
            Some(end.map_or(rest.len(), |end| end + 2))
        }
        [b'\'', b'\\', ..] => Some(until("'", 3)),
        // A lifetime has no second quote.
        [b'\'', ..] => {
            let length = 1 + rest[1..].chars().next()?.len_utf8();
            Some(if rest[length..].starts_with('\'') { length + 1 } else { 1 })
        }
        _ => None,
    }
}

fn source_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

fn dependencies(manifest: &Path) -> Vec<String> {
    let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_")).collect()
}

#[test]
fn imports_follow_the_layers() {
    let actors = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors");
    let dependencies = dependencies(&actors.join("Cargo.toml"));
    let source = actors.join("src");
    let mut files = Vec::new();
    source_files(&source, &mut files);
    let mut found = Vec::new();
    for path in files {
        let file = path.strip_prefix(&source).unwrap().to_str().unwrap();
        found.extend(violations(file, &fs::read_to_string(&path).unwrap(), &dependencies));
    }
    found.sort();
    assert!(found.is_empty(), "imports against the layers:\n{}", found.join("\n"));
}

#[test]
fn a_forbidden_import_is_named_by_file_and_line() {
    let dependencies = ["flume", "rusqlite", "serde", "tokio"].map(str::to_owned);
    for (file, text, problem) in [
        ("domain/top.rs", "\nuse crate::adapters::clock;", ":2: Domain may not import Adapters"),
        (
            "domain/top.rs",
            "use super::super::parser;",
            ":1: Domain may not import Stage(\"parser\")",
        ),
        (
            "domain/top.rs",
            "use serde::Serialize;\nuse tokio::time;",
            ":2: domain may not use the crate tokio",
        ),
        ("domain/top.rs", "use std::{\n  fs,\n};", ":1: domain is without"),
        ("domain/top.rs", "use std::time;", ":1: domain is without"),
        (
            "domain/top.rs",
            "fn f() { \"}\"; '}'; jiff::Timestamp::now(); }",
            ":1: domain is without",
        ),
        (
            "adapters/store/mod.rs",
            "use crate::{domain::{top, json}, parser::Parser};",
            ":1: Adapters may not import Stage(\"parser\")",
        ),
        (
            "adapters/clock.rs",
            "fn f() -> crate::pipeline::Pipeline {}",
            ":1: Adapters may not import Everything",
        ),
        (
            "parser.rs",
            "use crate::fan_out::FanOut;",
            ":1: Stage(\"parser\") may not import Stage(\"fan_out\")",
        ),
        ("parser.rs", "use super::batch_writer as writer;", ":1: Stage(\"parser\") may not import"),
        (
            "parser.rs",
            "mod tests {\n use super::super::pipeline;\n}",
            ":2: Stage(\"parser\") may not import Everything",
        ),
        ("stage.rs", "use crate::parser;", ":1: Stages may not import Stage(\"parser\")"),
    ] {
        let found = violations(file, text, &dependencies);
        let expected = format!("actors/src/{file}{problem}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{file}: {text}: {found:?}");
    }
}

#[test]
fn an_allowed_import_is_not_complained_of() {
    let dependencies = ["flume", "rusqlite", "serde", "tokio"].map(str::to_owned);
    for (file, text) in [
        ("domain/top.rs", "use serde::Serialize;\nuse super::{json, time::Micros};"),
        ("domain/top.rs", "use std::{collections::HashMap, net::IpAddr, time::Duration};"),
        ("domain/top.rs", "// use tokio::sync;\n/* crate::parser::x */ r#\"crate::parser::x\"#;"),
        ("domain/top.rs", "fn f<'a>(x: &'a str) { '\\''; \"a\\\"crate::parser::x\"; }"),
        ("adapters/store/sqlite.rs", "use rusqlite::Row;\nuse super::super::journal::Origin;"),
        (
            "parser.rs",
            "use crate::{adapters::clock, domain::top, stage::Finish};\nmod tests { use super::*; }",
        ),
        ("pipeline.rs", "use crate::{parser, fan_out, batch_writer};"),
    ] {
        assert_eq!(violations(file, text, &dependencies), Vec::<String>::new(), "{file}: {text}");
    }
}
