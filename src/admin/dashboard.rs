//! The dashboard's files, which are part of the binary; `build.rs` has put them there.
//!
//! Pages have URLs of their own (`/faults/7`), for which the one page that there is gets answered,
//! to whoever wants a page (`Accept: text/html`). What is no file and no page goes on to the routes.
//! Only names that are embedded are answered, so that no path leads anywhere else.

use std::fmt::Write as _;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

// `Files`, embedded from where `build.rs` has put them.
include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

const INDEX: &str = "index.html";
/// Names of these files say what is in them, so that they never change.
const ASSETS: &str = "assets/";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// Never pages, whatever is asked for.
const ROUTES: [&str; 4] = ["/metrics", "/livez", "/readyz", "/docs/runbook.md"];

/// How a file is compressed, by the ends of the names that the build gives; the best first.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Answers what is a file or a page, and leaves the rest to the routes.
pub(super) async fn pages(request: Request, next: Next) -> Response {
    let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
    let name = if is_look { file_of(request.uri().path(), request.headers()) } else { None };
    match name.and_then(|name| answer(name, request.method(), request.headers())) {
        Some(answer) => answer,
        None => next.run(request).await,
    }
}

/// The file that a path stands for, if it may be one.
fn file_of<'a>(path: &'a str, headers: &HeaderMap) -> Option<&'a str> {
    let is_twin = ENCODINGS.iter().any(|(_, end)| path.ends_with(end));
    let name = path.strip_prefix('/')?;
    if !is_twin && !name.is_empty() && Files::get(name).is_some() {
        return Some(name);
    }
    let is_route = path == "/api" || path.starts_with("/api/") || ROUTES.contains(&path);
    let is_page =
        !is_route && !name.starts_with(ASSETS) && accepts(headers, header::ACCEPT, "text/html");
    // Whoever takes anything gets the page where there is no route.
    let is_root = name.is_empty();
    (is_page || is_root).then_some(INDEX)
}

fn answer(name: &str, method: &Method, headers: &HeaderMap) -> Option<Response> {
    let plain = Files::get(name)?;
    let twin = ENCODINGS.iter().find_map(|(encoding, end)| {
        let is_accepted = accepts(headers, header::ACCEPT_ENCODING, encoding);
        let twin = is_accepted.then(|| Files::get(&format!("{name}{end}"))).flatten()?;
        Some((*encoding, twin))
    });
    let (encoding, file) = match twin {
        Some((encoding, twin)) => (Some(encoding), twin),
        None => (None, plain),
    };
    let etag = etag_of(&file);
    let mut answer = if is_known(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let length = HeaderValue::from(file.data.len());
        let body = if *method == Method::HEAD { Body::empty() } else { Body::from(file.data) };
        let mut answer = Response::new(body);
        answer.headers_mut().insert(header::CONTENT_LENGTH, length);
        let content_type = HeaderValue::from_static(content_type_of(name));
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_static(encoding);
            answer.headers_mut().insert(header::CONTENT_ENCODING, encoding);
        }
        answer
    };
    let cache = if name.starts_with(ASSETS) { FOR_EVER } else { ASK_AGAIN };
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    answer.headers_mut().insert(header::ETAG, etag);
    let vary = HeaderValue::from_static("accept, accept-encoding");
    answer.headers_mut().insert(header::VARY, vary);
    Some(answer)
}

/// What is in it: each encoding has its own.
fn etag_of(file: &EmbeddedFile) -> HeaderValue {
    let mut etag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        // Writing to a String cannot fail.
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    HeaderValue::try_from(etag).expect("hexadecimal digits")
}

/// Whether the client has it already (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    known.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == etag.as_bytes()
    })
}

/// Whether a list like `br;q=1.0, gzip;q=0` names `wanted` and does not refuse it.
fn accepts(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name);
    let items = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    items.map(str::trim).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_wanted = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        is_wanted && quality.unwrap_or(1.0) > 0.0
    })
}

fn content_type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn pages_are_for_whoever_wants_a_page() {
        let browser = headers(&[(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")]);
        let program = headers(&[(header::ACCEPT, "*/*")]);
        for path in ["/", "/faults", "/faults/7", "/health", "/login", "/setup", "/no/such/page"] {
            assert_eq!(file_of(path, &browser), Some(INDEX), "{path}");
        }
        assert_eq!(file_of("/index.html", &program), Some(INDEX));
        assert_eq!(file_of("/", &program), Some(INDEX));
        for path in ["/faults", "/health", "/no/such/page"] {
            assert_eq!(file_of(path, &program), None, "{path}");
        }
        for path in [
            "/api",
            "/api/faults",
            "/api/docs",
            "/metrics",
            "/livez",
            "/readyz",
            "/docs/runbook.md",
            "/assets/none.js",
        ] {
            assert_eq!(file_of(path, &browser), None, "{path}");
        }
    }

    #[test]
    fn no_path_leads_out() {
        let anything = headers(&[(header::ACCEPT, "*/*")]);
        for path in [
            "/../Cargo.toml",
            "/assets/../../Cargo.toml",
            "/..%2fCargo.toml",
            "/%2e%2e/Cargo.toml",
            "//etc/passwd",
            "/etc/passwd",
            "/index.html/..",
            "/./index.html",
            "/index.html%00",
            "/assets/..\\..\\Cargo.toml",
            "/index.html.gz",
            "/index.html.br",
        ] {
            assert_eq!(file_of(path, &anything), None, "{path}");
        }
    }

    /// Of whatever is embedded: at least the page.
    #[test]
    fn every_file_is_served_as_what_it_is() {
        let names: Vec<_> = Files::iter().collect();
        assert!(names.iter().any(|name| name == INDEX), "{names:?}");
        let twin_of = |name: &str, end: &str| Files::get(&format!("{name}{end}")).is_some();
        let is_twin = |name: &str| ENCODINGS.iter().any(|(_, end)| name.ends_with(end));
        for name in names.iter().filter(|name| !is_twin(name)) {
            let plain = answer(name, &Method::GET, &HeaderMap::new()).unwrap();
            let headers = plain.headers();
            assert_ne!(headers[header::CONTENT_TYPE], "application/octet-stream", "{name}");
            assert!(!headers.contains_key(header::CONTENT_ENCODING), "{name}");
            let cache = if name.starts_with("assets/") { FOR_EVER } else { ASK_AGAIN };
            assert_eq!(headers[header::CACHE_CONTROL], cache, "{name}");
            for (encoding, end) in ENCODINGS {
                let asks = HeaderValue::from_static(encoding);
                let asks = HeaderMap::from_iter([(header::ACCEPT_ENCODING, asks)]);
                let packed = answer(name, &Method::GET, &asks).unwrap();
                let given = packed.headers().get(header::CONTENT_ENCODING);
                assert_eq!(given.is_some(), twin_of(name, end), "{name} {encoding}");
                assert_eq!(packed.headers()[header::CONTENT_TYPE], headers[header::CONTENT_TYPE]);
                let is_other = packed.headers()[header::ETAG] != headers[header::ETAG];
                assert_eq!(is_other, given.is_some(), "each encoding has its own tag: {name}");
            }
        }
    }

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let first = answer(INDEX, &Method::GET, &HeaderMap::new()).unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CACHE_CONTROL], ASK_AGAIN);
        let etag = first.headers()[header::ETAG].clone();
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, etag.clone())]);
        let again = answer(INDEX, &Method::GET, &again).unwrap();
        assert_eq!(
            (again.status(), &again.headers()[header::ETAG]),
            (StatusCode::NOT_MODIFIED, &etag)
        );
        assert!(is_known(&headers(&[(header::IF_NONE_MATCH, "W/\"x\", *")]), &etag));
        assert!(!is_known(&headers(&[(header::IF_NONE_MATCH, "\"x\"")]), &etag));
    }

    #[test]
    fn encodings_are_those_that_are_accepted() {
        let of = |value| headers(&[(header::ACCEPT_ENCODING, value)]);
        for (value, br, gzip) in [
            ("gzip, deflate, br", true, true),
            ("gzip;q=0.5, br;q=0", false, true),
            ("BR", true, false),
            ("brotli", false, false),
            ("", false, false),
        ] {
            let accepted =
                ["br", "gzip"].map(|it| accepts(&of(value), header::ACCEPT_ENCODING, it));
            assert_eq!(accepted, [br, gzip], "{value}");
        }
    }
}
