//! Sessions: the cookie that a browser keeps, and the token that proves that our own page sent a
//! request.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use cookie::{Cookie, SameSite, time::Duration};
use faultline_actors::adapters::store::access::Digest;
use subtle::ConstantTimeEq;

use super::Key;

const COOKIE: &str = "faultline_session";
/// With `__Host-`, browsers take it by TLS only, from this very host and for all paths: no other
/// host of the domain can plant one.
const SECURE_COOKIE: &str = "__Host-faultline_session";
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// A session as a browser holds it.
#[derive(Clone)]
pub(crate) struct Session {
    key: Key,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Session(***)")
    }
}

impl Session {
    /// With an id that nobody has seen before, whatever the browser had.
    pub(super) fn new() -> Self {
        Self { key: Key::new() }
    }

    /// What a request's cookie says.
    pub(crate) fn of(headers: &HeaderMap, is_secure: bool) -> Option<Self> {
        let name = cookie_name(is_secure);
        let cookies =
            headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut cookies = cookies.flat_map(Cookie::split_parse).filter_map(Result::ok);
        let cookie = cookies.find(|cookie| cookie.name() == name)?;
        Some(Self { key: Key::of_text(cookie.value())? })
    }

    /// What the store knows it by.
    pub(crate) fn digest(&self) -> Digest {
        self.key.digest()
    }

    /// What our own page sends with whatever changes something. It comes from the id, so that
    /// nothing needs to be kept, and whoever reads the store does not know it.
    pub(crate) fn csrf(&self) -> String {
        self.key.derive("csrf")
    }

    /// In constant time.
    pub(super) fn has_csrf(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(CSRF).map_or(&[][..], HeaderValue::as_bytes);
        bool::from(given.ct_eq(self.csrf().as_bytes()))
    }

    /// What has a browser keep it, until it is closed.
    pub(crate) fn set_cookie(&self, is_secure: bool) -> HeaderValue {
        header_of(cookie(self.key.text(), is_secure))
    }
}

/// What has a browser forget its session.
pub(crate) fn forget_cookie(is_secure: bool) -> HeaderValue {
    let mut cookie = cookie(String::new(), is_secure);
    cookie.set_max_age(Duration::ZERO);
    header_of(cookie)
}

fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_COOKIE } else { COOKIE }
}

fn cookie(value: String, is_secure: bool) -> Cookie<'static> {
    Cookie::build((cookie_name(is_secure), value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(is_secure)
        .build()
}

#[expect(clippy::needless_pass_by_value, reason = "made for this")]
fn header_of(cookie: Cookie<'static>) -> HeaderValue {
    HeaderValue::try_from(cookie.to_string()).expect("letters, digits and punctuation")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_cookie_comes_back() {
        for (is_secure, start, end) in [
            (false, "faultline_session=", "; HttpOnly; SameSite=Strict; Path=/"),
            (true, "__Host-faultline_session=", "; HttpOnly; SameSite=Strict; Secure; Path=/"),
        ] {
            let session = Session::new();
            let set = session.set_cookie(is_secure);
            let set = set.to_str().unwrap();
            assert!(set.starts_with(start) && set.ends_with(end), "{set}");
            let (cookie, _) = set.split_once(';').unwrap();
            let sent = headers("cookie", &format!("theme=dark; {cookie}; x=y"));
            assert!(Session::of(&sent, is_secure).unwrap().digest() == session.digest());
            assert!(Session::of(&sent, !is_secure).is_none(), "the other kind does not count");
        }
        for wrong in ["", "faultline_session", "faultline_session=", "faultline_session=x"] {
            assert!(Session::of(&headers("cookie", wrong), false).is_none(), "{wrong}");
        }
        let forget = forget_cookie(true);
        assert!(forget.to_str().unwrap().contains("Max-Age=0"), "{forget:?}");
    }

    #[test]
    fn each_session_has_its_own_csrf_token() {
        let (session, other) = (Session::new(), Session::new());
        assert!(session.has_csrf(&headers("x-csrf-token", &session.csrf())));
        for wrong in ["", &other.csrf(), &session.key.text(), &session.csrf()[1..]] {
            assert!(!session.has_csrf(&headers("x-csrf-token", wrong)));
        }
        assert!(!session.has_csrf(&HeaderMap::new()));
        assert!(!format!("{session:?}").contains(&session.key.text()));
    }
}
