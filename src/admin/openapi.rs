//! `GET /api/openapi.json`: the API described, in `OpenAPI` 3.1, made of the handlers themselves.

use std::collections::BTreeMap;

use axum::Json;
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{
        Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder,
        extensions::Extensions,
        path::{Operation, PathItem},
        security::{
            ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
        },
    },
};

use super::access::Role;
use crate::problem::{Content as ProblemContent, Problem};

/// What is said of the whole API.
pub(super) fn base() -> OpenApi {
    let info =
        InfoBuilder::new().title("Faultline").version(env!("CARGO_PKG_VERSION")).description(Some(
            "What goes wrong, what is done about it, and steering that. Times are in UTC (RFC \
             3339). Lists come a page at a time: `next` is the `cursor` of the next one. Errors \
             are problems (RFC 9457).",
        ));
    let mut api = OpenApiBuilder::new().info(info.build()).build();
    let components = api.components.get_or_insert_default();
    components.schemas.insert(ProblemContent::name().into_owned(), ProblemContent::schema());
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("faultline_session")));
    for (name, scheme) in [("bearer", bearer), ("key", key), ("session", session)] {
        components.security_schemes.insert(name.to_owned(), scheme.into());
    }
    let needs = ["bearer", "key", "session"];
    api.security =
        Some(needs.map(|name| SecurityRequirement::new(name, Vec::<String>::new())).to_vec());
    api
}

/// Says of each route of `api` who may use it.
pub(super) fn mark(api: &mut OpenApi, role: Option<Role>) {
    let name = role.map_or("open", Role::name);
    for item in api.paths.paths.values_mut() {
        if let Some(get) = &mut item.get {
            describe_etag(get);
        }
        for operation in operations(item) {
            let extension = Extensions::builder().add("x-role", name).build();
            operation.extensions.get_or_insert_default().merge(extension);
            // Handlers are named within their file; here each has a name of its own.
            if let (Some(id), Some([tag, ..])) =
                (&mut operation.operation_id, operation.tags.as_deref())
            {
                *id = format!("{tag}_{id}");
            }
            if role.is_none() {
                operation.security = Some(vec![SecurityRequirement::default()]);
            }
        }
    }
}

/// What [`etag`](super::etag) adds to answers in JSON.
fn describe_etag(get: &mut Operation) {
    let answer = get.responses.responses.get("200");
    let is_json = matches!(answer, Some(RefOr::T(answer))
        if answer.content.contains_key("application/json"));
    if is_json {
        let unchanged = "nothing has changed since the answer of If-None-Match";
        let answer = ResponseBuilder::new().description(unchanged).build();
        get.responses.responses.insert("304".to_owned(), answer.into());
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}

/// The answer itself never changes while the program runs.
pub(super) async fn openapi(api: axum::Extension<std::sync::Arc<OpenApi>>) -> Json<OpenApi> {
    Json((**api).clone())
}

/// What every route may answer instead of what it is there for.
impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let described = [
            ("400", "the request is malformed; the detail says where"),
            ("401", "credentials are missing, wrong or expired"),
            ("403", "this needs another role, or the API is read-only"),
            ("404", "there is nothing of this name"),
            ("409", "this is not possible as things are"),
            ("413", "the body is too large"),
            ("415", "the body must be JSON: Content-Type: application/json"),
            ("422", "the body is JSON, but not what is needed"),
            ("429", "too many requests; Retry-After says when to try again"),
            ("503", "the store does not answer"),
        ];
        let answer = |description: &str| {
            let schema = Ref::from_schema_name(ProblemContent::name());
            ResponseBuilder::new()
                .description(description)
                .content("application/problem+json", Content::new(Some(schema)))
                .build()
        };
        described
            .into_iter()
            .map(|(status, description)| (status.to_owned(), answer(description).into()))
            .collect()
    }
}
