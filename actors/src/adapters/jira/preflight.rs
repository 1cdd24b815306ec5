//! Whether tickets could be made, asked before the first one is: "Get create metadata issue types
//! for a project" and "Get create field metadata for a project and issue type id" (on a Data Center
//! since 8.4).

use serde::Deserialize;
use serde_json::Value;

use super::{
    Failure,
    send::{Call, Sender},
    settings::Settings,
    throttle::Endpoint,
    wire::create_request,
};
use crate::domain::ticket::Draft;

/// Types or fields asked for at once, and how often.
const PAGE: usize = 50;
const PAGES: usize = 10;

/// Of a page; its list is called differently in each place.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(alias = "issueTypes", alias = "fields", alias = "results")]
    values: Vec<T>,
    #[serde(default)]
    total: Option<usize>,
}

#[derive(Deserialize)]
struct Type {
    id: String,
    name: String,
    #[serde(default)]
    subtask: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Field {
    #[serde(rename = "fieldId")]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    has_default_value: bool,
    #[serde(default)]
    allowed_values: Option<Vec<Value>>,
}

/// Set with every ticket, though some Jiras do not list them among the fields.
const ALWAYS: [&str; 2] = ["project", "issuetype"];

pub(super) async fn problems(
    sender: &Sender,
    settings: &Settings,
    project: &str,
    issue_type: &str,
    draft: &Draft,
) -> Result<Vec<String>, Failure> {
    let given = |given: &str, default: &str| {
        if given.is_empty() { default.to_owned() } else { given.to_owned() }
    };
    let project = given(project, &settings.project);
    let issue_type = given(issue_type, &settings.issue_type);
    if project.is_empty() {
        return Ok(vec!["project = \"\": the key of a project is needed".to_owned()]);
    }
    let types_path = ["issue", "createmeta", &project, "issuetypes"];
    let types: Vec<Type> = match pages(sender, &types_path).await {
        Ok(types) => types,
        // Which of them it is differs by version.
        Err(Failure::Missing(why)) => return Ok(vec![unknown_project(&project, &why)]),
        Err(Failure::Rejected { status: 400, .. }) => {
            return Ok(vec![unknown_project(&project, "Jira says 400")]);
        }
        Err(failure) => return Err(failure),
    };
    if types.is_empty() {
        return Ok(vec![unknown_project(&project, "it lists no types of tickets")]);
    }
    let Some(found) = types.iter().find(|one| one.name == issue_type) else {
        return Ok(vec![unknown_type(&project, &issue_type, &types)]);
    };
    let mut problems = Vec::new();
    if found.subtask {
        problems.push(format!(
            "issue_type = \"{issue_type}\": is a sub-task, which cannot stand alone"
        ));
    }
    let fields_path = ["issue", "createmeta", &project, "issuetypes", &found.id];
    let fields: Vec<Field> = pages(sender, &fields_path).await?;
    let draft = Draft { project: project.clone(), issue_type, ..draft.clone() };
    let request = create_request(settings, &draft, "fl-preflight");
    check_fields(&project, &request["fields"], &fields, &mut problems);
    Ok(problems)
}

fn unknown_project(project: &str, why: &str) -> String {
    format!(
        "project = \"{project}\": Jira has no such project, or this account may not make tickets \
         in it ({why})"
    )
}

fn unknown_type(project: &str, wanted: &str, types: &[Type]) -> String {
    let names = types.iter().filter(|one| !one.subtask).take(20);
    let names = names.map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    format!("issue_type = \"{wanted}\": project {project} has {names}")
}

fn check_fields(project: &str, set: &Value, fields: &[Field], problems: &mut Vec<String>) {
    for field in fields {
        let Field { id, name, .. } = field;
        let is_set = set.get(id).is_some() || ALWAYS.contains(&id.as_str());
        if field.required && !field.has_default_value && !is_set && id != "reporter" {
            problems.push(format!(
                "field \"{name}\" ({id}) is required in project {project}, and nothing sets it"
            ));
        }
    }
    for (id, value) in set.as_object().into_iter().flatten() {
        match fields.iter().find(|field| field.id == *id) {
            Some(field) => problems.extend(forbidden(field, value)),
            None if ALWAYS.contains(&id.as_str()) => {}
            None => problems.push(format!(
                "field {id} is set, but not on the screen on which tickets are made in project \
                 {project}"
            )),
        }
    }
}

/// A value by name that the field does not take.
fn forbidden(field: &Field, value: &Value) -> Option<String> {
    let allowed = field.allowed_values.as_ref().filter(|allowed| !allowed.is_empty())?;
    let names: Vec<&str> = allowed.iter().filter_map(|one| one["name"].as_str()).collect();
    let wanted = value.as_array().map_or_else(|| vec![value], |values| values.iter().collect());
    let wanted = wanted.into_iter().filter_map(|one| one["name"].as_str());
    let unknown = wanted.filter(|name| !names.contains(name)).collect::<Vec<_>>().join(", ");
    let some = names.iter().take(20).copied().collect::<Vec<_>>().join(", ");
    let Field { id, name, .. } = field;
    (!unknown.is_empty() && !names.is_empty())
        .then(|| format!("field \"{name}\" ({id}) has no {unknown}, but {some}"))
}

async fn pages<T: serde::de::DeserializeOwned>(
    sender: &Sender,
    path: &[&str],
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    for _ in 0..PAGES {
        let call =
            Call::get(Endpoint::Metadata, path).with("startAt", all.len()).with("maxResults", PAGE);
        let page: Page<T> = sender.send(call).await?.read()?;
        let count = page.values.len();
        all.extend(page.values);
        if count == 0 || page.total.map_or(count < PAGE, |total| all.len() >= total) {
            break;
        }
    }
    Ok(all)
}
