//! Calls on issues.

use serde_json::{Value, json};

use super::{
    fields::{self, Editor, Screen},
    render::{Renderer, Wanted},
    reply::{Call, Errors, Reply},
    settings::Transition,
    work::forbidden,
    world::{Issue, Link, World},
};

/// More cannot be created by one call.
const LARGEST_BULK: usize = 50;

fn renderer<'a>(world: &'a World, call: &'a Call) -> Renderer<'a> {
    Renderer { settings: &world.settings, version: call.version, base: &call.base }
}

/// Gives an issue its place; gives what tells of it.
fn add(world: &mut World, call: &Call, mut issue: Issue) -> Value {
    number_comments(world, &mut issue);
    let issue = world.create(issue);
    let link = call.link(&format!("issue/{}", issue.id));
    json!({"id": issue.id, "key": issue.key, "self": link})
}

/// The issue that `body` describes.
fn draft(world: &World, version: u8, body: &Value) -> Result<Issue, Errors> {
    let editor = Editor { settings: &world.settings, version, screen: Screen::Create };
    let mut issue = world.blank();
    // Whether a component is known depends on the project, which may come later in the object.
    if let Some(project) = body["fields"]["project"]["key"].as_str() {
        project.clone_into(&mut issue.project);
    }
    let errors = editor.apply(&mut issue, body);
    if errors.is_empty() { Ok(issue) } else { Err(errors) }
}

/// Whether the project is one in which nobody may make an issue.
fn is_forbidden(world: &World, body: &Value) -> bool {
    let project = body["fields"]["project"]["key"].as_str().unwrap_or_default();
    world.settings.forbidden_projects.contains(project)
}

/// Gives numbers to comments that have none.
fn number_comments(world: &mut World, issue: &mut Issue) {
    for comment in issue.comments.iter_mut().filter(|comment| comment.id.is_empty()) {
        comment.id = world.fresh_id();
    }
}

pub(super) fn create(world: &mut World, call: &Call) -> Reply {
    if is_forbidden(world, &call.body) {
        return forbidden();
    }
    match draft(world, call.version, &call.body) {
        Err(errors) => errors.reply(),
        Ok(issue) => Reply::json(201, add(world, call, issue)),
    }
}

/// Each issue by itself: some may be created though others are refused. Only what is forbidden is
/// refused as a whole, as a firewall does.
pub(super) fn create_bulk(world: &mut World, call: &Call) -> Reply {
    let Some(updates) = call.body["issueUpdates"].as_array().filter(|all| !all.is_empty()) else {
        return Reply::error(400, "No issues to create.");
    };
    if updates.len() > LARGEST_BULK {
        let message = format!("At most {LARGEST_BULK} issues can be created at once.");
        return Reply::error(400, &message);
    }
    if updates.iter().any(|update| is_forbidden(world, update)) {
        return forbidden();
    }
    let (mut issues, mut errors) = (Vec::new(), Vec::new());
    for (number, update) in updates.iter().enumerate() {
        match draft(world, call.version, update) {
            Ok(issue) => issues.push(add(world, call, issue)),
            Err(error) => errors.push(json!({
                "status": 400, "elementErrors": error.json(), "failedElementNumber": number,
            })),
        }
    }
    let status = if issues.is_empty() { 400 } else { 201 };
    Reply::json(status, json!({"issues": issues, "errors": errors}))
}

pub(super) fn get(world: &World, call: &Call) -> Reply {
    let Some(issue) = world.find(call.argument(0)) else { return Reply::no_issue() };
    let fields = call.parameter("fields").unwrap_or_default();
    let fields: Vec<String> = fields.split(',').map(|name| name.trim().to_owned()).collect();
    let wanted = Wanted::of(&fields, "*all").with_key();
    let mut out = renderer(world, call).issue(issue, &wanted);
    out["expand"] = json!("renderedFields,names,schema,operations,editmeta,changelog");
    Reply::ok(out)
}

pub(super) fn edit(world: &mut World, call: &Call) -> Reply {
    let Some(issue) = world.find(call.argument(0)) else { return Reply::no_issue() };
    let mut edited = Issue::clone(issue);
    if call.body["fields"].is_null() && call.body["update"].is_null() {
        return Reply::error(400, "one of 'fields' or 'update' required");
    }
    let editor = Editor { settings: &world.settings, version: call.version, screen: Screen::Edit };
    let errors = editor.apply(&mut edited, &call.body);
    if !errors.is_empty() {
        return errors.reply();
    }
    number_comments(world, &mut edited);
    world.update(call.argument(0), |issue| *issue = edited);
    Reply::empty(204)
}

pub(super) fn add_comment(world: &mut World, call: &Call) -> Reply {
    if world.find(call.argument(0)).is_none() {
        return Reply::no_issue();
    }
    let mut comment = match fields::comment(call.version, &call.body["body"]) {
        Ok(comment) => comment,
        Err(message) if message.starts_with("Comment body") => return Reply::error(400, &message),
        Err(message) => {
            let mut errors = Errors::default();
            errors.add("comment", message);
            return errors.reply();
        }
    };
    comment.id = world.fresh_id();
    world.update(call.argument(0), |issue| issue.comments.push(comment.clone()));
    match world.find(call.argument(0)) {
        Some(issue) => Reply::json(201, renderer(world, call).comment(issue, &comment)),
        None => Reply::no_issue(),
    }
}

pub(super) fn comments(world: &World, call: &Call) -> Reply {
    let Some(issue) = world.find(call.argument(0)) else { return Reply::no_issue() };
    let start = call.number("startAt").unwrap_or(0);
    let most = call.number("maxResults").unwrap_or(5_000);
    Reply::ok(renderer(world, call).comments(issue, start, most))
}

/// What can be done with an issue in its status.
fn open_transitions<'a>(world: &'a World, issue: &Issue) -> Vec<&'a Transition> {
    let is_open = |step: &&Transition| step.from.is_empty() || step.from.contains(&issue.status.id);
    world.settings.transitions.iter().filter(is_open).collect()
}

pub(super) fn transitions(world: &World, call: &Call) -> Reply {
    let Some(issue) = world.find(call.argument(0)) else { return Reply::no_issue() };
    let renderer = renderer(world, call);
    let open = open_transitions(world, issue).into_iter().map(|step| renderer.transition(step));
    let open: Vec<Value> = open.collect();
    Reply::ok(json!({"expand": "transitions", "transitions": open}))
}

pub(super) fn transition(world: &mut World, call: &Call) -> Reply {
    let Some(issue) = world.find(call.argument(0)) else { return Reply::no_issue() };
    let id = match &call.body["transition"]["id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return Reply::error(400, "Missing 'transition' identifier"),
    };
    let Some(step) = open_transitions(world, issue).into_iter().find(|step| step.id == id) else {
        let known = world.settings.transitions.iter().find(|step| step.id == id);
        return Reply::error(400, &not_open(&id, known, &issue.key));
    };
    let screen = Screen::Transition { has_resolution: step.has_resolution };
    let to = world.settings.statuses.iter().find(|status| status.id == step.to).cloned();
    let mut edited = Issue::clone(issue);
    edited.resolution = None;
    let editor = Editor { settings: &world.settings, version: call.version, screen };
    let errors = editor.apply(&mut edited, &call.body);
    if !errors.is_empty() {
        return errors.reply();
    }
    number_comments(world, &mut edited);
    if let Some(status) = to {
        let resolution = edited.resolution.take();
        edited.set_status(status, resolution);
    }
    world.update(call.argument(0), |issue| *issue = edited);
    Reply::empty(204)
}

fn not_open(id: &str, known: Option<&Transition>, key: &str) -> String {
    match known {
        Some(step) => format!(
            "It seems that you have tried to perform a workflow operation ({}) that is not valid \
             for the current state of this issue ({key}). The likely cause is that somebody has \
             changed the issue recently, please look at the issue history for details.",
            step.name
        ),
        None => format!("Transition id '{id}' is not valid for this issue."),
    }
}

pub(super) fn link(world: &mut World, call: &Call) -> Reply {
    let name = call.body["type"]["name"].as_str().unwrap_or_default();
    let kind = world.settings.link_types.iter().find(|known| known.name == name);
    let Some(kind) = kind.map(|kind| kind.name.clone()) else {
        return Reply::error(404, &format!("No issue link type with name '{name}' found."));
    };
    let side = |side: &str| {
        let issue = &call.body[side];
        let named = issue["key"].as_str().or(issue["id"].as_str())?;
        world.find(named).map(|issue| issue.key.clone())
    };
    let (Some(inward), Some(outward)) = (side("inwardIssue"), side("outwardIssue")) else {
        return Reply::no_issue();
    };
    let link = Link { id: world.fresh_id(), kind, inward, outward };
    for key in [&link.inward, &link.outward] {
        world.update(key, |issue| issue.links.push(link.clone()));
    }
    Reply::empty(201)
}
