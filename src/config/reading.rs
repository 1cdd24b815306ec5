//! From a file and the environment to a configuration, or to all that is wrong with them.

use std::{fs, path::Path};

use toml::{Table, Value};

use super::{Config, ConfigError};
use crate::secret::mask_url;

/// The file that is read when it is there and none is named.
pub const DEFAULT_FILE: &str = "config.toml";

/// Reads the configuration: from `file`, or from [`DEFAULT_FILE`] where there is one, and from the
/// environment.
///
/// # Errors
/// Lists all that is wrong.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let default = Path::new(DEFAULT_FILE);
    let file = file.or_else(|| default.exists().then_some(default));
    let text = match file {
        Some(path) => fs::read_to_string(path)
            .map_err(|error| ConfigError(vec![format!("{}: {error}", path.display())]))?,
        None => String::new(),
    };
    let name = file.unwrap_or(default).display().to_string();
    parse(&text, &name, environment)
}

/// Like [`load`], from text.
///
/// # Errors
/// Like [`load`].
pub fn parse(
    text: &str,
    name: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let file: Table = text
        .parse()
        .map_err(|error| ConfigError(vec![format!("{name}: {}", syntax_problem(text, &error))]))?;
    let mut tree = defaults();
    let mut problems = Vec::new();
    merge(&mut tree, file, "", &mut problems);
    for (variable, value) in environment {
        if let Err(problem) = set_from_environment(&mut tree, &variable, &value) {
            problems.push(problem);
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError(problems));
    }
    let config: Config = serde_path_to_error::deserialize(Value::Table(tree.clone()))
        .map_err(|error| ConfigError(vec![describe(&error, &tree)]))?;
    config.validate()?;
    Ok(config)
}

pub(super) fn defaults() -> Table {
    Table::try_from(Config::default()).expect("every setting has a TOML form")
}

/// Puts `given` over `tree`; what does not fit is a problem.
fn merge(tree: &mut Table, given: Table, prefix: &str, problems: &mut Vec<String>) {
    for (key, value) in given {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(default) = tree.get_mut(&key) else {
            problems.push(unknown(&path, &key, tree));
            continue;
        };
        match (default, value) {
            (Value::Table(section), Value::Table(given)) => {
                merge(section, given, &path, problems);
            }
            (default, value) if default.same_type(&value) => *default = value,
            (default, value) => problems.push(format!(
                "{path} = {}: {} is needed, for example {}",
                shown(&path, &value),
                type_name(default),
                shown(&path, default),
            )),
        }
    }
}

fn unknown(path: &str, key: &str, siblings: &Table) -> String {
    let closest = siblings
        .keys()
        .map(|known| (strsim::jaro_winkler(known, key), known))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness > 0.8);
    if let Some((_, known)) = closest {
        return format!("{path}: there is no such setting; `{known}` was meant?");
    }
    let known: Vec<_> = siblings.keys().map(String::as_str).collect();
    format!("{path}: there is no such setting; there are {}", known.join(", "))
}

const PREFIX: &str = "FAULTLINE_";

/// `FAULTLINE_SPOOL__DIR=/var/lib/faultline` sets `spool.dir`, and `FAULTLINE_ADMIN__TLS__KEY_FILE`
/// `admin.tls.key_file`.
fn set_from_environment(tree: &mut Table, variable: &str, value: &str) -> Result<(), String> {
    let Some(name) = variable.strip_prefix(PREFIX) else { return Ok(()) };
    let name = name.to_ascii_lowercase();
    let Some((section, key)) = name.split_once("__") else {
        // Other programs may have variables of this prefix; a section's name is no accident.
        let section = tree.keys().find(|section| name.starts_with(&format!("{section}_")));
        return match section {
            Some(section) => Err(format!(
                "{variable}: two underscores stand between section and key: {PREFIX}{}__…",
                section.to_ascii_uppercase()
            )),
            None => Ok(()),
        };
    };
    let path = name.replace("__", ".");
    if let Some(Value::Array(_)) = tree.get(section) {
        return Err(format!("{variable}: `{section}` can be set in the file only"));
    }
    let Some(Value::Table(table)) = tree.get_mut(section) else {
        return Err(format!("{variable}: {}", unknown(section, section, tree)));
    };
    let (table, key) = match key.split_once("__") {
        Some((inner, key)) => match table.get_mut(inner).and_then(Value::as_table_mut) {
            Some(table) => (table, key),
            None => return Err(format!("{variable}: {}", unknown(&path, inner, table))),
        },
        None => (table, key),
    };
    let from_file = match key.strip_suffix("_file") {
        Some(named) if !table.contains_key(key) && table.contains_key(named) => {
            Some((named, read_value(variable, value)?))
        }
        _ => None,
    };
    let (key, value) = from_file.as_ref().map_or((key, value), |(key, value)| (*key, value));
    let Some(default) = table.get_mut(key) else {
        return Err(format!("{variable}: {}", unknown(&path, key, table)));
    };
    let read = match default {
        Value::String(_) => Some(Value::String(value.to_owned())),
        Value::Integer(_) => value.parse().ok().map(Value::Integer),
        Value::Float(_) => value.parse().ok().map(Value::Float),
        Value::Boolean(_) => value.parse().ok().map(Value::Boolean),
        Value::Array(_) => list(value),
        Value::Datetime(_) | Value::Table(_) => None,
    };
    *default = read.ok_or_else(|| {
        format!(
            "{variable} = {}: {} is needed, for example {}",
            shown(&path, &Value::String(value.to_owned())),
            type_name(default),
            shown(&path, default)
        )
    })?;
    Ok(())
}

/// The value that a file holds, without the end of its line.
fn read_value(variable: &str, path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("{variable} = \"{path}\": {error}; the value's file is needed"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// `a,b,c`, or a list as TOML writes it.
fn list(value: &str) -> Option<Value> {
    if value.starts_with('[') {
        let table: Table = format!("list = {value}").parse().ok()?;
        return table.get("list").cloned();
    }
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Datetime(_) => "a date",
        Value::Table(_) => "a section",
    }
}

/// Says where the file is no TOML. The line may hold a secret, so that only a known key is shown.
fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| text.floor_char_boundary(span.start));
    let line = text[..at].matches('\n').count() + 1;
    let key = text.lines().nth(line - 1).and_then(|line| Some(line.split_once('=')?.0.trim()));
    let is_known = |key: &str| defaults().values().any(|section| section.get(key).is_some());
    let key = key.filter(|key| is_known(key)).map_or(String::new(), |key| format!(" (`{key}`)"));
    format!("line {line}{key}: {}", error.message())
}

/// Whether what stands at `path` must not be shown. Rules hold none: their keys are columns and
/// fields.
fn is_secret(path: &str) -> bool {
    if path.split(['.', '[']).next() == Some("rules") {
        return false;
    }
    let key = path.rsplit('.').next().unwrap_or(path);
    ["password", "token", "key", "secret", "drains"].iter().any(|word| key.contains(word))
}

/// A value as it may be shown: secrets are masked.
fn shown(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        _ if is_secret(path) => "\"***\"".to_owned(),
        Value::String(text) if path.ends_with("url") || text.contains("://") => {
            format!("\"{}\"", mask_url(text))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(path, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let members: Vec<_> = table
                .iter()
                .map(|(key, value)| format!("{key} = {}", shown(&format!("{path}.{key}"), value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// Says which value could not be read.
fn describe(error: &serde_path_to_error::Error<toml::de::Error>, tree: &Table) -> String {
    let path = error.path().to_string();
    let mut value = None;
    let mut table = Some(tree);
    for key in path.split('.') {
        value = table.and_then(|table| table.get(key));
        table = value.and_then(Value::as_table);
    }
    let problem = error.inner().message();
    // "invalid type: string \"…\", expected …" shows the value.
    let problem = match problem.rsplit_once(", expected ") {
        Some((_, expected)) if is_secret(&path) && problem.starts_with("invalid") => {
            format!("expected {expected}")
        }
        _ => problem.to_owned(),
    };
    let Some(value) = value else { return format!("{path}: {problem}") };
    let shown_value = shown(&path, value);
    match default_of(&path) {
        Some(default) if !problem.contains("expected one of") && !problem.contains(" or `") => {
            format!("{path} = {shown_value}: {problem}; {default} is possible")
        }
        _ => format!("{path} = {shown_value}: {problem}"),
    }
}

/// The default of the setting at `path`, as an example of what is right.
fn default_of(path: &str) -> Option<String> {
    let (section, key) = path.split_once('.')?;
    let default = defaults().get(section)?.get(key)?.clone();
    Some(shown(path, &default))
}
