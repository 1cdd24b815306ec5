//! Lists, a page at a time: each page says where the next one starts.

use axum::http::StatusCode;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use faultline_actors::domain::time::{Micros, parse_rfc3339};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use utoipa::IntoParams;

use crate::problem::Problem;

/// Which page of a list. Flattened into each list's own query.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// How many at most: 1 to 1000.
    #[serde(default = "Page::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 50)]
    pub limit: u32,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl Page {
    const MOST: u32 = 1_000;

    pub(super) const fn default_limit() -> u32 {
        50
    }

    /// `limit`, where it is possible.
    pub(super) fn check_limit(limit: u32) -> Result<u32, Problem> {
        if (1..=Self::MOST).contains(&limit) {
            return Ok(limit);
        }
        let detail = format!("limit={limit}: between 1 and {} is possible", Self::MOST);
        Err(Problem::new(StatusCode::BAD_REQUEST, detail))
    }
}

/// The first `limit` of `rows`, and the cursor of the next page where there are more. A page starts
/// behind the place of its cursor.
pub(super) fn cut<T, P: Serialize>(
    rows: Vec<T>,
    limit: u32,
    place_of: impl Fn(&T) -> P,
) -> (Vec<T>, Option<String>) {
    cut_by(rows, limit, |last| write_cursor(&place_of(last)))
}

/// Likewise, for a cursor that says more than a place.
pub(super) fn cut_by<T>(
    mut rows: Vec<T>,
    limit: u32,
    cursor_behind: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| has_more).map(cursor_behind);
    (rows, next)
}

/// The id behind which a page starts.
pub(super) fn before(cursor: Option<&str>) -> Result<Option<i64>, Problem> {
    cursor.map(read_cursor).transpose()
}

/// The moment that a parameter names.
pub(super) fn moment(name: &str, text: Option<&str>) -> Result<Option<Micros>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let moment = parse_rfc3339(text.as_bytes()).ok_or_else(|| {
        let detail = format!("{name}={text:?}: a time is needed, such as 2026-11-22T03:00:00Z");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    });
    moment.map(Some)
}

/// One of a few words.
pub(super) fn word<T>(
    name: &str,
    text: Option<&str>,
    from_name: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let word = from_name(text).ok_or_else(|| {
        let detail = format!("{name}={text:?}: one of {} is needed", known.join(", "));
        Problem::new(StatusCode::BAD_REQUEST, detail)
    });
    word.map(Some)
}

/// A text that a store can be asked for: none holds NUL.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(serde::de::Error::custom("a text without NUL is needed"));
    }
    Ok(text)
}

/// A place in a list, as clients hand it back: opaque to them, and to be trusted no more than
/// anything else that they send.
pub(super) fn write_cursor<T: Serialize>(place: &T) -> String {
    let place = serde_json::to_vec(place).expect("numbers and strings have a JSON form");
    BASE64_URL_SAFE_NO_PAD.encode(place)
}

/// # Errors
/// When it is no cursor of this kind of list.
pub(super) fn read_cursor<T: DeserializeOwned>(cursor: &str) -> Result<T, Problem> {
    let place = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    place.and_then(|place| serde_json::from_slice(&place).ok()).ok_or_else(|| {
        let detail = "cursor: `next` of an earlier answer of this list is needed";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let cursor = write_cursor(&(17_i64, "a"));
        assert_eq!(read_cursor::<(i64, String)>(&cursor).unwrap(), (17, "a".to_owned()));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for cursor in ["", "?", "MTc", &write_cursor(&"text")] {
            assert!(read_cursor::<(i64, String)>(cursor).is_err(), "{cursor}");
        }
    }
}
