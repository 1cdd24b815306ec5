//! Whether requests and answers are what Atlassian's `OpenAPI` description says.
//!
//! The description (Cloud REST API v3, `swagger-v3.v3.json`) is not part of this repository:
//! `JIRA_OPENAPI` names a copy, which may be compressed by gzip. The schemas are judged by the
//! crate `jsonschema`. Formats are not: Atlassian's own examples break them (times have `+0000`).

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use flate2::read::MultiGzDecoder;
use jsonschema::Draft;
use serde_json::{Map, Value, json};

use super::record::Recorded;

/// Where a description is, if it is anywhere.
#[must_use]
pub fn description() -> Option<PathBuf> {
    let named = std::env::var_os("JIRA_OPENAPI").map(PathBuf::from);
    let name = "../../shared/reference/jira-cloud-v3-openapi.json.gz";
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    named.or(Some(beside)).filter(|path| path.is_file())
}

/// Judges requests, and the answers to those that were not made to fail; says so where there is no
/// description.
///
/// # Panics
/// When one is not as it is described.
pub fn assert_described(recorded: Vec<Recorded>) {
    let Some(path) = description() else {
        eprintln!("not validated: Atlassian's description of the API is not here");
        return;
    };
    let validator = Validator::load(&path).unwrap();
    let (well, failed): (Vec<_>, Vec<_>) =
        recorded.into_iter().partition(|request| request.fault.is_none());
    let mut mismatches = validator.mismatches(&well);
    mismatches.extend(failed.iter().filter_map(|request| {
        let body = Some(&request.body).filter(|body| !body.is_null());
        validator.request(&request.method, &request.path, body).err()
    }));
    assert!(mismatches.is_empty(), "{mismatches:#?}");
}

/// See the [module](self).
pub struct Validator {
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    /// By the schema's text.
    compiled: Mutex<HashMap<String, Arc<jsonschema::Validator>>>,
}

impl Validator {
    /// # Errors
    /// When there is no description.
    pub fn load(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let mut text = String::new();
        let read = if bytes.starts_with(&[0x1f, 0x8b]) {
            MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text)
        } else {
            (&bytes[..]).read_to_string(&mut text)
        };
        read.map_err(|error| error.to_string())?;
        let mut document: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let paths = document["paths"].as_object_mut().map(std::mem::take);
        let schemas = document["components"]["schemas"].as_object_mut().map(std::mem::take);
        let (Some(mut paths), Some(schemas)) = (paths, schemas) else {
            return Err("no paths or no schemas".to_owned());
        };
        // The description of mid-2024 is older than this call.
        paths.entry("/rest/api/3/search/jql").or_insert_with(enhanced_search);
        Ok(Self { paths, schemas, compiled: Mutex::default() })
    }

    /// `path` may have a query. Requests of version 2 are judged like those of version 3, whose
    /// schemas leave open what differs: the texts.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(), String> {
        let operation = self.operation(method, path)?;
        check_query(operation, path)?;
        let content = &operation["requestBody"]["content"];
        match (content["application/json"].get("schema"), body) {
            (None, Some(_)) => Err(format!("{method} {path} takes no body")),
            (Some(_), None) if operation["requestBody"]["required"] == true => {
                Err(format!("{method} {path} needs a body"))
            }
            (_, None) => Ok(()),
            (Some(schema), Some(body)) => self.check(schema, body),
        }
        .map_err(|error| format!("{method} {path}: {error}"))
    }

    /// # Errors
    /// What is wrong with the answer to a request.
    pub fn response(
        &self,
        method: &str,
        path: &str,
        status: u16,
        body: Option<&Value>,
    ) -> Result<(), String> {
        let operation = self.operation(method, path)?;
        // These two are described once for all calls.
        if status == 429 || status >= 500 {
            return Ok(());
        }
        let Some(response) = operation["responses"].get(status.to_string()) else {
            return Err(format!("{method} {path}: no status {status}"));
        };
        match (response["content"]["application/json"].get("schema"), body) {
            (Some(schema), Some(body)) => self
                .check(schema, body)
                .map_err(|error| format!("{method} {path} {status}: {error}")),
            // A schema is given for errors without a body, too.
            (Some(_), None) if status < 300 && schema_says_something(response) => {
                Err(format!("{method} {path} {status}: no body"))
            }
            // Of most errors no body is described.
            _ => Ok(()),
        }
    }

    /// What is wrong with recorded requests and, where there are, their answers.
    #[must_use]
    pub fn mismatches(&self, recorded: &[Recorded]) -> Vec<String> {
        let some = |value: &Value| (!value.is_null()).then(|| value.clone());
        let mut wrong = Vec::new();
        for request in recorded {
            let (method, path) = (&request.method, &request.path);
            wrong.extend(self.request(method, path, some(&request.body).as_ref()).err());
            if let Some(status) = request.status {
                let answer = some(&request.answer);
                wrong.extend(self.response(method, path, status, answer.as_ref()).err());
            }
        }
        wrong
    }

    /// The operation whose template fits best: the one with the most literal segments.
    fn operation(&self, method: &str, path: &str) -> Result<&Value, String> {
        let path = path.split('?').next().unwrap_or_default();
        let path = path.replacen("/rest/api/2/", "/rest/api/3/", 1);
        let segments: Vec<&str> = path.split('/').collect();
        let best = self
            .paths
            .iter()
            .filter_map(|(template, item)| Some((literals(template, &segments)?, item)))
            .max_by_key(|(literals, _)| *literals);
        let (_, item) = best.ok_or_else(|| format!("no path {path}"))?;
        item.get(method.to_ascii_lowercase()).ok_or_else(|| format!("no {method} {path}"))
    }

    fn check(&self, schema: &Value, instance: &Value) -> Result<(), String> {
        let validator = self.compiled(schema)?;
        let Err(errors) = validator.validate(instance) else { return Ok(()) };
        let errors: Vec<String> =
            errors.map(|error| format!("{error} at {}", error.instance_path)).collect();
        Err(errors.join("; "))
    }

    fn compiled(&self, schema: &Value) -> Result<Arc<jsonschema::Validator>, String> {
        let key = schema.to_string();
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = compiled.get(&key) {
            return Ok(validator.clone());
        }
        let used = self.used(schema);
        let used: Map<String, Value> = used
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.schemas.get(&name)?.clone())))
            .collect();
        // OpenAPI 3.0's schemas are near to draft 4, in which nothing may stand beside `$ref`.
        let whole = json!({"allOf": [schema], "components": {"schemas": used}});
        let validator = jsonschema::options()
            .with_draft(Draft::Draft4)
            .should_validate_formats(false)
            .build(&whole)
            .map_err(|error| format!("a schema that cannot be used: {error}"))?;
        let validator = Arc::new(validator);
        compiled.insert(key, validator.clone());
        Ok(validator)
    }

    /// The names of all schemas that `schema` refers to, by whatever way.
    fn used(&self, schema: &Value) -> BTreeSet<String> {
        let (mut used, mut open) = (BTreeSet::new(), vec![schema]);
        while let Some(value) = open.pop() {
            match value {
                Value::Array(values) => open.extend(values),
                Value::Object(object) => {
                    open.extend(object.values());
                    let name = object.get("$ref").and_then(Value::as_str);
                    let name = name.and_then(|name| name.strip_prefix("#/components/schemas/"));
                    if let Some(name) = name.filter(|name| !used.contains(*name)) {
                        used.insert(name.to_owned());
                        open.extend(self.schemas.get(name));
                    }
                }
                _ => {}
            }
        }
        used
    }
}

fn schema_says_something(response: &Value) -> bool {
    let schema = &response["content"]["application/json"]["schema"];
    schema.as_object().is_some_and(|schema| !schema.is_empty())
}

/// How many segments a template has literally, when it fits.
fn literals(template: &str, segments: &[&str]) -> Option<usize> {
    let mut literals = 0;
    let template: Vec<&str> = template.split('/').collect();
    if template.len() != segments.len() {
        return None;
    }
    for (wanted, segment) in template.iter().zip(segments) {
        if wanted.starts_with('{') {
            continue;
        }
        if wanted != segment {
            return None;
        }
        literals += 1;
    }
    Some(literals)
}

/// All parameters of the query that must be there are, and there are no others.
fn check_query(operation: &Value, path: &str) -> Result<(), String> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let given: Vec<String> =
        form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned()).collect();
    let known = operation["parameters"].as_array().into_iter().flatten();
    let known: Vec<&Value> = known.filter(|parameter| parameter["in"] == "query").collect();
    for parameter in &known {
        let name = parameter["name"].as_str().unwrap_or_default();
        if parameter["required"] == true && !given.iter().any(|given| given == name) {
            return Err(format!("{path}: the parameter {name} is missing"));
        }
    }
    let unknown =
        given.iter().find(|given| !known.iter().any(|known| known["name"] == given.as_str()));
    unknown.map_or(Ok(()), |name| Err(format!("{path}: there is no parameter {name}")))
}

/// `/search/jql`, after later descriptions ("Search for issues using JQL enhanced search").
fn enhanced_search() -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let ids = json!({"type": "array", "items": {"type": "integer"}, "maxItems": 50});
    let fields = [
        ("jql", json!({"type": "string"})),
        ("nextPageToken", json!({"type": "string"})),
        ("maxResults", json!({"type": "integer"})),
        ("fields", texts.clone()),
        ("expand", json!({"type": "string"})),
        ("properties", texts),
        ("fieldsByKeys", json!({"type": "boolean"})),
        ("reconcileIssues", ids),
    ];
    // Only the query has this one.
    let names = fields.iter().map(|(name, _)| *name).chain(["failFast"]);
    let parameters: Vec<Value> = names.map(|name| json!({"in": "query", "name": name})).collect();
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let body = json!({"type": "object", "additionalProperties": false, "properties": properties});
    let results = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "issues": {"type": "array", "items": {"$ref": "#/components/schemas/IssueBean"}},
            "isLast": {"type": "boolean"},
            "nextPageToken": {"type": "string"},
            "names": {"type": "object"},
            "schema": {"type": "object"},
        },
    });
    let responses = json!({
        "200": {"content": {"application/json": {"schema": results}}},
        "400": {},
        "401": {},
    });
    json!({
        "get": {"parameters": parameters, "responses": responses},
        "post": {
            "requestBody": {"required": true, "content": {"application/json": {"schema": body}}},
            "responses": responses,
        },
    })
}
