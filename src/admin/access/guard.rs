//! What holds for every request of the admin listener, whoever sends it: other sites' pages cannot
//! act through a visitor's browser, nothing changes where it is read-only, and every answer tells
//! browsers to be strict.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower::{Layer, ServiceExt};
use tower_http::cors::CorsLayer;

use super::{Gate, count_refusal};
use crate::{admin::Auth, problem::Problem};

/// Nothing from elsewhere, no script and no style within pages, in no other page's frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";
const PERMISSIONS_POLICY: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// After OWASP's HTTP Headers Cheat Sheet.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY),
];
/// For a year; only where we speak TLS ourselves.
const STRICT_TRANSPORT: &str = "max-age=31536000";

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Changed by whoever may only look: his session begins and ends.
const SESSION_PATH: &str = "/api/session";

/// Puts the guard around all routes, those that do not exist included.
pub(in crate::admin) fn guard(router: Router, gate: Arc<Gate>) -> Router {
    router
        .layer(middleware::from_fn_with_state(gate.clone(), allow_origins))
        .layer(middleware::from_fn_with_state(gate, check))
}

/// Lets the pages of other sites read answers; they have no cookie, so that they need a token.
pub(super) fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|it| it.parse().ok()).collect();
    let headers = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_NONE_MATCH,
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("last-event-id"),
    ];
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers(headers)
            .expose_headers([header::ETAG, header::RETRY_AFTER])
    })
}

/// Answers as the origins of this moment may read it; without any there is no CORS.
async fn allow_origins(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let Some(cors) = gate.in_force().cors.clone() else { return next.run(request).await };
    let answered = cors.layer(next).oneshot(request).await;
    answered.unwrap_or_else(|never| match never {})
}

async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method(), request.uri());
    let mut answer = match gate.refuses(method, uri, request.headers()) {
        None => next.run(request).await,
        Some((reason, detail)) => {
            count_refusal(reason);
            Problem::new(StatusCode::FORBIDDEN, detail).into_response()
        }
    };
    for (name, value) in HEADERS {
        // A page of its own may have a policy of its own.
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    if gate.certificates.admin.is_some() {
        let value = HeaderValue::from_static(STRICT_TRANSPORT);
        answer.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    answer
}

impl Gate {
    /// Why nobody may send this request: the reason for the metrics, and in words.
    fn refuses(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<(&'static str, &'static str)> {
        let host = authority_of(uri, headers);
        let settings = &self.in_force().settings;
        // A name of another site that points to us gives its pages what everybody on this machine
        // may do (DNS rebinding). With credentials it gives nothing: they belong to our name.
        if settings.auth == Auth::Off
            && !host.as_ref().is_ok_and(|host| self.is_ours(host.as_ref()))
        {
            let detail = "Host: admin.auth = \"off\" answers to localhost and jira.public_url only";
            return Some(("host", detail));
        }
        if method.is_safe() {
            return None;
        }
        if self.is_foreign(headers, host.ok().flatten().as_ref()) {
            return Some(("origin", "Origin: pages of other sites can change nothing here"));
        }
        if settings.read_only && uri.path() != SESSION_PATH {
            return Some(("read_only", "admin.read_only = true: nothing can be changed here"));
        }
        None
    }

    /// Whether `host` is this machine, or what people call it. HTTP/1.0 names none, and no browser
    /// speaks that.
    fn is_ours(&self, host: Option<&Authority>) -> bool {
        let Some(host) = host else { return true };
        let public = self.public_url.parse::<Uri>().ok();
        let public = public.as_ref().and_then(Uri::host);
        is_loopback(host.host()) || public.is_some_and(|it| it.eq_ignore_ascii_case(host.host()))
    }

    /// Whether a page of another site sent it. Programs that are no browser send no such header.
    fn is_foreign(&self, headers: &HeaderMap, host: Option<&Authority>) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return headers.get(SITE).is_some_and(|site| site == "cross-site");
        };
        let Ok(origin) = origin.to_str() else { return true };
        if self.in_force().settings.cors_origins.iter().any(|allowed| allowed == origin) {
            return false;
        }
        if headers.get(SITE).is_some_and(|site| site == "cross-site") {
            return true;
        }
        let is_public = same_origin(origin, &self.public_url);
        let is_host = host.is_some_and(|host| {
            let secure = same_origin(origin, &format!("https://{host}"));
            // Behind a proxy the scheme may be either.
            secure
                || self.certificates.admin.is_none()
                    && same_origin(origin, &format!("http://{host}"))
        });
        !(is_public || is_host)
    }
}

/// What a request is addressed to; `Err` where that is nonsense or named twice.
fn authority_of(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, ()> {
    let mut named = headers.get_all(header::HOST).iter();
    let authority = match (named.next(), named.next()) {
        (_, Some(_)) => return Err(()),
        (None, None) => uri.authority().cloned(),
        (Some(host), None) => Some(Authority::try_from(host.as_bytes()).map_err(|_| ())?),
    };
    Ok(authority)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    is_address || name == "localhost" || name.ends_with(".localhost")
}

/// Whether two URLs have scheme, host and port in common.
fn same_origin(one: &str, other: &str) -> bool {
    let parts = |url: &str| {
        let url: Uri = url.parse().ok()?;
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let port = url.port_u16().or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })?;
        Some((scheme, url.host()?.to_ascii_lowercase(), port))
    };
    parts(one).is_some_and(|one| Some(one) == parts(other))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Settings, Surroundings},
        *,
    };

    const PUBLIC: &str = "https://faults.example.com";

    fn gate(change: impl FnOnce(&mut Settings)) -> Arc<Gate> {
        let mut settings = Settings::default();
        change(&mut settings);
        let surroundings =
            Surroundings { public_url: PUBLIC.to_owned(), ..Surroundings::default() };
        Gate::new(&settings, surroundings)
    }

    fn refused(gate: &Gate, method: &Method, path: &str, pairs: &[(&str, &str)]) -> &'static str {
        let headers = pairs.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        gate.refuses(method, &path.parse().unwrap(), &map).map_or("", |(reason, _)| reason)
    }

    #[test]
    fn without_authentication_only_our_own_names_are_answered() {
        let gate = gate(|_| {});
        for host in [
            "127.0.0.1:4000",
            "localhost",
            "LOCALHOST:1",
            "[::1]:4000",
            "a.localhost",
            "faults.example.com",
        ] {
            assert_eq!(refused(&gate, &Method::GET, "/", &[("host", host)]), "", "{host}");
        }
        assert_eq!(refused(&gate, &Method::GET, "/", &[]), "", "HTTP/1.0");
        for host in
            ["evil.example", "127.0.0.1.evil.example:4000", "localhost.evil", "10.0.0.1", "", "a b"]
        {
            assert_eq!(refused(&gate, &Method::GET, "/", &[("host", host)]), "host", "{host}");
        }
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(refused(&gate, &Method::GET, "/", &twice), "host");
        assert_eq!(refused(&gate, &Method::GET, "http://evil.example/", &[]), "host", "HTTP/2");
    }

    #[test]
    fn with_authentication_any_name_is() {
        let gate = gate(|settings| settings.auth = Auth::Users);
        assert_eq!(refused(&gate, &Method::GET, "/", &[("host", "anything")]), "");
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let gate = gate(|settings| {
            settings.auth = Auth::Users;
            settings.cors_origins = vec!["https://other.example".to_owned()];
        });
        let host = ("host", "localhost:4000");
        for (origin, site, reason) in [
            (None, None, ""),
            (None, Some("same-origin"), ""),
            (None, Some("none"), ""),
            (None, Some("cross-site"), "origin"),
            (Some("http://localhost:4000"), Some("same-origin"), ""),
            (Some("https://localhost:4000"), None, ""),
            (Some(PUBLIC), None, ""),
            (Some("https://faults.example.com:443"), None, ""),
            (Some("http://faults.example.com"), None, "origin"),
            (Some("http://localhost:4001"), Some("same-site"), "origin"),
            (Some("http://localhost"), None, "origin"),
            (Some("https://evil.example"), Some("cross-site"), "origin"),
            (Some("https://evil.example"), None, "origin"),
            (Some("null"), None, "origin"),
            (Some("https://other.example"), Some("cross-site"), ""),
            (Some("https://other.example.evil"), None, "origin"),
        ] {
            let mut headers = vec![host];
            headers.extend(origin.map(|origin| ("origin", origin)));
            headers.extend(site.map(|site| ("sec-fetch-site", site)));
            let of = |method| refused(&gate, &method, "/api/session", &headers);
            assert_eq!(of(Method::POST), reason, "{headers:?}");
            assert_eq!(of(Method::DELETE), reason, "{headers:?}");
            assert_eq!(of(Method::GET), "", "{headers:?}");
        }
    }

    #[test]
    fn read_only_is_all_but_logging_in() {
        let gate = gate(|settings| settings.read_only = true);
        let of = |method, path| refused(&gate, &method, path, &[("host", "localhost")]);
        for (method, path, reason) in [
            (Method::GET, "/api/faults", ""),
            (Method::HEAD, "/", ""),
            (Method::POST, "/api/session", ""),
            (Method::DELETE, "/api/session", ""),
            (Method::POST, "/api/session/password", "read_only"),
            (Method::POST, "/api/setup", "read_only"),
            (Method::POST, "/api/faults/1/merge", "read_only"),
            (Method::PATCH, "/api/users/x", "read_only"),
            (Method::from_bytes(b"ANY").unwrap(), "/", "read_only"),
        ] {
            assert_eq!(of(method.clone(), path), reason, "{method} {path}");
        }
    }
}
