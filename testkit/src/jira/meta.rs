//! What clients ask before they create anything.

use serde_json::{Value, json};

use super::{
    render::{Renderer, time},
    reply::{Call, Reply},
    settings::{CustomField, Kind, Project},
    world::World,
};

fn project<'a>(world: &'a World, id_or_key: &str) -> Result<&'a Project, String> {
    let mut projects = world.settings.projects.iter();
    let found = projects.find(|known| known.id == id_or_key || known.key == id_or_key);
    found.ok_or_else(|| format!("No project could be found with key '{id_or_key}'."))
}

fn issue_types(world: &World, call: &Call) -> Vec<Value> {
    let types = world.settings.issue_types.iter().map(|kind| {
        json!({"self": call.link(&format!("issuetype/{}", kind.id)), "id": kind.id,
            "name": kind.name, "description": "", "subtask": false})
    });
    types.collect()
}

/// A page: under a name of its own in Cloud, under `values` in Data Center.
fn page(world: &World, call: &Call, name: &str, all: &[Value]) -> Reply {
    let start = call.number("startAt").unwrap_or(0);
    let most = call.number("maxResults").unwrap_or(50);
    if most > 200 {
        return Reply::error(400, "Parameter 'maxResults' must not exceed the limit '200'");
    }
    let end = all.len().min(start.saturating_add(most));
    let mut out = json!({"startAt": start, "maxResults": most, "total": all.len()});
    let name = if world.settings.is_cloud() { name } else { "values" };
    out[name] = json!(all[start.min(end)..end]);
    if !world.settings.is_cloud() {
        out["isLast"] = json!(end == all.len());
    }
    Reply::ok(out)
}

/// Cloud's description knows no 404 of these two calls.
fn no_project(world: &World, message: &str) -> Reply {
    Reply::error(if world.settings.is_cloud() { 400 } else { 404 }, message)
}

pub(super) fn create_meta_types(world: &World, call: &Call) -> Reply {
    match project(world, call.argument(0)) {
        Err(message) => no_project(world, &message),
        Ok(_) => page(world, call, "issueTypes", &issue_types(world, call)),
    }
}

pub(super) fn create_meta_fields(world: &World, call: &Call) -> Reply {
    let project = match project(world, call.argument(0)) {
        Err(message) => return no_project(world, &message),
        Ok(project) => project,
    };
    let id = call.argument(1);
    if !world.settings.issue_types.iter().any(|kind| kind.id == id) {
        return no_project(world, &format!("No issue type could be found with id '{id}'."));
    }
    let components: Vec<Value> =
        project.components.iter().map(|name| json!({"name": name})).collect();
    let priorities: Vec<Value> =
        world.settings.priorities.iter().map(|it| json!({"id": it.id, "name": it.name})).collect();
    let shown = [
        ("project", "Project", true, "project", json!([{"id": project.id, "key": project.key}])),
        ("issuetype", "Issue Type", true, "issuetype", json!(issue_types(world, call))),
        ("summary", "Summary", true, "string", Value::Null),
        ("description", "Description", false, "string", Value::Null),
        ("labels", "Labels", false, "array", Value::Null),
        ("priority", "Priority", false, "priority", json!(priorities)),
        ("components", "Components", false, "array", json!(components)),
        ("assignee", "Assignee", false, "user", Value::Null),
    ];
    let standard = shown.into_iter().filter(|(id, ..)| !world.settings.hidden_fields.contains(*id));
    let mut fields: Vec<Value> = standard
        .map(|(id, name, is_required, kind, allowed)| {
            field(id, name, is_required, json!({"type": kind, "system": id}), &allowed)
        })
        .collect();
    let custom = world.settings.custom_fields.iter().filter(|field| field.is_on_screen);
    fields.extend(custom.map(|custom| {
        let allowed = match &custom.kind {
            Kind::Select(options) => options.iter().map(|value| json!({"value": value})).collect(),
            _ => Value::Null,
        };
        field(&custom.id(), &custom.name, custom.is_required, schema(custom), &allowed)
    }));
    page(world, call, "fields", &fields)
}

fn field(id: &str, name: &str, is_required: bool, mut schema: Value, allowed: &Value) -> Value {
    let is_array = schema["type"] == "array";
    if is_array {
        schema["items"] = json!(if id == "components" { "component" } else { "string" });
    }
    let operations = if is_array { json!(["add", "set", "remove"]) } else { json!(["set"]) };
    let mut out = json!({
        "fieldId": id, "key": id, "name": name, "required": is_required, "schema": schema,
        "hasDefaultValue": id == "priority", "operations": operations,
    });
    if !allowed.is_null() {
        out["allowedValues"] = allowed.clone();
    }
    out
}

fn schema(field: &CustomField) -> Value {
    let (kind, custom) = match field.kind {
        Kind::Text => ("string", "textfield"),
        Kind::Number => ("number", "float"),
        Kind::Labels => ("array", "labels"),
        Kind::Select(_) => ("option", "select"),
    };
    let custom = format!("com.atlassian.jira.plugin.system.customfieldtypes:{custom}");
    json!({"type": kind, "custom": custom, "customId": field.number})
}

pub(super) fn get_project(world: &World, call: &Call) -> Reply {
    match project(world, call.argument(0)) {
        Err(message) => Reply::error(404, &message),
        Ok(project) => {
            let components = project.components.iter().zip(10_000..);
            let components: Vec<Value> =
                components.map(|(name, id)| json!({"id": id.to_string(), "name": name})).collect();
            Reply::ok(json!({
                "self": call.link(&format!("project/{}", project.id)), "id": project.id,
                "key": project.key, "name": project.name, "projectTypeKey": "software",
                "components": components, "issueTypes": issue_types(world, call),
            }))
        }
    }
}

pub(super) fn myself(world: &World, call: &Call) -> Reply {
    let renderer = Renderer { settings: &world.settings, version: call.version, base: &call.base };
    Reply::ok(renderer.user(&world.settings.users[0]))
}

pub(super) fn server_info(world: &World, call: &Call) -> Reply {
    // Data Center, too, calls itself a server.
    let (kind, version, numbers) = if world.settings.is_cloud() {
        ("Cloud", "1001.0.0-SNAPSHOT", [1001, 0, 0])
    } else {
        ("Server", "9.12.0", [9, 12, 0])
    };
    Reply::ok(json!({
        "baseUrl": call.base, "version": version, "versionNumbers": numbers,
        "deploymentType": kind, "buildNumber": 912_000, "serverTitle": "Fake Jira",
        "serverTime": time(&world.settings, jiff::Timestamp::now()),
    }))
}

pub(super) fn priorities(world: &World, call: &Call) -> Reply {
    let priorities = world.settings.priorities.iter().map(|priority| {
        json!({"self": call.link(&format!("priority/{}", priority.id)), "id": priority.id,
            "name": priority.name, "description": "", "statusColor": "#999999"})
    });
    Reply::ok(priorities.collect())
}

pub(super) fn fields(world: &World) -> Reply {
    let standard = [
        ("summary", "Summary", "string"),
        ("description", "Description", "string"),
        ("labels", "Labels", "array"),
        ("priority", "Priority", "priority"),
        ("components", "Components", "array"),
        ("assignee", "Assignee", "user"),
        ("status", "Status", "status"),
        ("resolution", "Resolution", "resolution"),
    ];
    let standard = standard.into_iter().map(|(id, name, kind)| {
        json!({"id": id, "key": id, "name": name, "custom": false, "navigable": true,
            "orderable": true, "searchable": true, "clauseNames": [id],
            "schema": {"type": kind, "system": id}})
    });
    let custom = world.settings.custom_fields.iter().map(|field| {
        let id = field.id();
        json!({"id": id, "key": id, "name": field.name, "custom": true, "navigable": true,
            "orderable": true, "searchable": true,
            "clauseNames": [format!("cf[{}]", field.number), field.name],
            "schema": schema(field)})
    });
    Reply::ok(standard.chain(custom).collect())
}
