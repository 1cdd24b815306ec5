//! Lists as files: every row of a filter, streamed page by page, as NDJSON or CSV.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use faultline_actors::adapters::store::StoreError;
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::away;
use crate::problem::Problem;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180, with a header. Cells that a spreadsheet would take for a formula begin with `'`.
    Csv,
}

/// How a list's rows become cells.
pub(super) struct Columns<T> {
    pub names: &'static [&'static str],
    pub cells: fn(&T) -> Vec<String>,
}

/// Rows, and where the next ones start; `None` behind the last.
pub(super) type Batch<T, P> = (Vec<T>, Option<P>);

/// An attachment of everything that `fetch` gives, batch by batch, named `name` and the form's ending.
/// Ends with a broken connection when the store fails on the way, so that nobody takes a part for
/// the whole.
///
/// # Errors
/// When the store does not answer at the beginning.
pub(super) async fn stream<T, P, F, A>(
    name: &'static str,
    format: Format,
    columns: Columns<T>,
    fetch: F,
) -> Result<Response, Problem>
where
    T: Serialize + Send + 'static,
    P: Send + 'static,
    F: Fn(Option<P>) -> A + Send + 'static,
    A: Future<Output = Result<Batch<T, P>, StoreError>> + Send + 'static,
{
    let (first, next) = fetch(None).await.map_err(away)?;
    let mut head = match format {
        Format::Ndjson => Vec::new(),
        Format::Csv => csv_of(std::iter::once(columns.names.iter().map(|&name| name.to_owned()))),
    };
    push(&mut head, format, &columns, &first);
    let head = stream::once(async { Ok::<_, StoreError>(Bytes::from(head)) });
    let rest =
        stream::try_unfold((next, fetch, columns), move |(next, fetch, columns)| async move {
            let Some(place) = next else { return Ok(None) };
            let (rows, next) = fetch(Some(place)).await.inspect_err(|error| {
                // Its client sees that the answer does not end as it should.
                tracing::warn!(%error, name, "an export was broken off");
            })?;
            let mut text = Vec::new();
            push(&mut text, format, &columns, &rows);
            Ok(Some((Bytes::from(text), (next, fetch, columns))))
        });
    let (kind, ending) = match format {
        Format::Ndjson => ("application/x-ndjson", "ndjson"),
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
    };
    let file = format!("attachment; filename=\"{name}.{ending}\"");
    Ok(attachment(kind, &file, Body::from_stream(head.chain(rest))))
}

fn push<T: Serialize>(text: &mut Vec<u8>, format: Format, columns: &Columns<T>, rows: &[T]) {
    match format {
        Format::Ndjson => {
            for row in rows {
                serde_json::to_writer(&mut *text, row).expect("what is stored has a JSON form");
                text.push(b'\n');
            }
        }
        Format::Csv => text.extend(csv_of(rows.iter().map(columns.cells))),
    }
}

/// What a browser saves and never shows.
pub(super) fn attachment(kind: &'static str, disposition: &str, body: Body) -> Response {
    let disposition = HeaderValue::from_str(disposition)
        .unwrap_or_else(|_| HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, disposition),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}

fn csv_of<R: IntoIterator<Item = String>>(rows: impl Iterator<Item = R>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        let row = row.into_iter().map(harmless);
        writer.write_record(row).expect("rows of one length go into memory");
    }
    writer.into_inner().expect("memory takes everything")
}

/// A cell that no spreadsheet takes for a formula (OWASP, "CSV Injection").
fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        let row = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "a,\"b\"\nc", "plain"];
        let text = csv_of(std::iter::once(row.map(str::to_owned)));
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "'=1+1,'+1,'-1,'@SUM(A1),'\t=1,\"a,\"\"b\"\"\nc\",plain\n");
    }

    const PAGE: u16 = 1_000;

    fn numbers(
        count: i64,
    ) -> impl Fn(Option<i64>) -> std::future::Ready<Result<Batch<i64, i64>, StoreError>> {
        move |before| {
            let from = before.unwrap_or(count + 1);
            let page: Vec<i64> = (1..from).rev().take(PAGE.into()).collect();
            let next = page.last().copied().filter(|_| page.len() == usize::from(PAGE));
            std::future::ready(Ok((page, next)))
        }
    }

    const COLUMNS: Columns<i64> = Columns { names: &["number"], cells: |n| vec![n.to_string()] };

    #[tokio::test]
    async fn a_file_holds_every_row_once() {
        for count in [0, 1, i64::from(PAGE), 2 * i64::from(PAGE) + 1] {
            let answer = stream("faultline-numbers", Format::Csv, COLUMNS, numbers(count)).await;
            let answer = answer.unwrap();
            let disposition = answer.headers()[header::CONTENT_DISPOSITION].clone();
            assert_eq!(disposition, "attachment; filename=\"faultline-numbers.csv\"");
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let lines: Vec<_> = std::str::from_utf8(&body).unwrap().lines().collect();
            let expected: Vec<_> = (1..=count).rev().map(|number| number.to_string()).collect();
            assert_eq!(
                (lines[0], &lines[1..]),
                ("number", &expected.iter().map(String::as_str).collect::<Vec<_>>()[..])
            );
        }
    }

    #[tokio::test]
    async fn a_store_that_fails_on_the_way_breaks_the_connection() {
        let fetch = |before: Option<i64>| {
            let gone = || StoreError::Unavailable("gone".to_owned());
            std::future::ready(match before {
                None => Ok(((0..i64::from(PAGE)).collect::<Vec<i64>>(), Some(1_i64))),
                Some(_) => Err(gone()),
            })
        };
        let answer = stream("numbers", Format::Ndjson, COLUMNS, fetch).await.unwrap();
        assert!(axum::body::to_bytes(answer.into_body(), usize::MAX).await.is_err());
    }
}
