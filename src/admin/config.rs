//! `GET /api/config`: the settings in force, without secrets.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Admin;
use crate::{
    config::Config,
    problem::Problem,
    reload::loaded_at,
    secret::{mask_url, masked},
};

#[derive(Serialize, ToSchema)]
pub(super) struct EffectiveConfig {
    /// By section and key. Secrets are `"***"`, and null where they are not set.
    config: Value,
    /// When it was read (RFC 3339).
    loaded_at: String,
    /// The file; null where there is none.
    file: Option<String>,
}

/// The settings in force: the file's, the environment's and the defaults.
#[utoipa::path(get, path = "/api/config", tag = "config",
    responses((status = 200, body = EffectiveConfig), Problem))]
pub(super) async fn config(State(admin): State<Arc<Admin>>) -> Response {
    // Even so it says much about the inside of a network: nobody need keep it.
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let loaded = admin.reload.loaded();
    let source = loaded.config.source.as_ref();
    let effective = EffectiveConfig {
        config: shown(&loaded.config),
        loaded_at: loaded_at(&loaded),
        file: source.and_then(|it| it.file.as_ref()).map(|file| file.display().to_string()),
    };
    (no_store, Json(effective)).into_response()
}

/// The settings as they may be shown.
pub(crate) fn shown(config: &Config) -> Value {
    let mut tree = masked(|| serde_json::to_value(config)).unwrap_or_default();
    mask(&mut tree);
    // These are secrets as a whole, since most hold a password; the rest may be seen.
    for (section, url) in
        [("store", config.store.url.expose()), ("handoff", config.handoff.url.expose())]
    {
        // Without a scheme nobody knows which part is the password.
        if url.contains("://") {
            tree[section]["url"] = mask_url(url).into();
        }
    }
    tree
}

/// Words by which a key, or an option of a command, says that its value is a secret.
const WORDS: [&str; 6] = ["password", "passwd", "token", "secret", "authorization", "cookie"];

fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Masks what is no [`Secret`](crate::secret::Secret), but may hold one: passwords in URLs, in
/// options of commands, and under telling names.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("://") => *text = mask_url(text),
        Value::Array(items) => mask_options(items),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if is_telling(name) && !text.is_empty() => {
                        "***".clone_into(text);
                    }
                    value => mask(value),
                }
            }
        }
        _ => {}
    }
}

/// `--password=x`, and `--password x`.
fn mask_options(items: &mut [Value]) {
    let mut is_next = false;
    for item in items {
        let Value::String(text) = item else {
            mask(item);
            continue;
        };
        let option = text.split_once('=');
        let name = option.map_or(&**text, |(name, _)| name);
        let is_option = text.starts_with('-') && is_telling(name);
        let is_variable = option.is_some() && is_telling(name);
        if is_next && !text.starts_with('-') {
            "***".clone_into(text);
        } else if is_option && option.is_none() {
            is_next = true;
            continue;
        } else if is_option || is_variable {
            *text = format!("{name}=***");
        } else {
            mask(item);
        }
        is_next = false;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::receiver::auth::Drain;

    /// The paths at which two trees differ.
    fn differences(one: &Value, other: &Value, at: &str, paths: &mut Vec<String>) {
        match (one, other) {
            (Value::Object(one), Value::Object(other)) => {
                for (key, value) in one {
                    differences(value, &other[key], &format!("{at}/{key}"), paths);
                }
            }
            (Value::Array(one), Value::Array(other)) => {
                for (index, (one, other)) in one.iter().zip(other).enumerate() {
                    differences(one, other, &format!("{at}/{index}"), paths);
                }
            }
            _ if one != other => paths.push(at.to_owned()),
            _ => {}
        }
    }

    fn with_a_drain() -> Config {
        let mut config = Config::default();
        config.receiver.drains.push(Drain::default());
        config
    }

    /// Where the settings hold a secret, by their types.
    fn secrets() -> Vec<String> {
        let config = with_a_drain();
        let open = serde_json::to_value(&config).unwrap();
        let shut = masked(|| serde_json::to_value(&config)).unwrap();
        let mut paths = Vec::new();
        differences(&open, &shut, "", &mut paths);
        paths
    }

    #[test]
    fn every_secret_is_masked() {
        let paths = secrets();
        for expected in [
            "/admin/token",
            "/jira/token",
            "/handoff/sentinel_password",
            "/receiver/drains/0/password",
            "/bucket_watcher/access_key_secret",
            "/store/url",
        ] {
            assert!(paths.iter().any(|path| path == expected), "{expected}: {paths:?}");
        }
        for path in paths {
            let forms: &[&str] = if path.ends_with("/url") {
                &[
                    "postgres://me:canary@host/db",
                    "redis://:canary@h/?password=canary",
                    "canary@host",
                ]
            } else {
                &["canary", "x://canary", "a b?canary=canary"]
            };
            for form in forms {
                let mut tree = serde_json::to_value(with_a_drain()).unwrap();
                *tree.pointer_mut(&path).unwrap() = json!(form);
                let config: Config = serde_json::from_value(tree).unwrap();
                let shown = shown(&config).to_string();
                assert!(!shown.contains("canary"), "{path} = {form}: {shown}");
                assert!(shown.contains("***"), "{path}");
            }
        }
        let open = serde_json::to_value(Config::default()).unwrap();
        assert_eq!(open["store"]["url"], "sqlite://data/faultline.db", "masked only there");
    }

    #[test]
    fn what_may_hold_a_secret_is_masked_too() {
        let mut config = Config::default();
        let command = ["maxwell", "--password=canary1", "--user", "me", "--password", "canary2"];
        config.stdin.command = command.iter().map(|&word| word.to_owned()).collect();
        config.jira.url = "https://me:canary3@jira.example".to_owned();
        let config = shown(&config);
        assert!(!config.to_string().contains("canary"), "{config}");
        assert_eq!(config["stdin"]["command"][3], "me");
        assert_eq!(config["stdin"]["command"][1], "--password=***");
        assert_eq!(config["jira"]["url"], "https://me:***@jira.example");
        assert_eq!(config["admin"]["token"], Value::Null);
        let mut maps = json!({ "headers": { "Authorization": "canary", "Accept": "json" },
            "environment": ["API_TOKEN=canary", "PATH=/bin"] });
        mask(&mut maps);
        assert_eq!(
            maps,
            json!({ "headers": { "Authorization": "***", "Accept": "json" },
                "environment": ["API_TOKEN=***", "PATH=/bin"] })
        );
    }
}
