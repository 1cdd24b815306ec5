//! What the stand-in answers.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE};

use super::{Bucket, Content, Fault, Object};

/// Objects that are listed at once, unless a request says otherwise.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

fn xml(status: u16, body: &str) -> Response {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, Body::from(body)).into_response();
    let content_type = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

pub(super) fn error(status: u16, code: &str, more: &str) -> Response {
    let request = "<RequestId>5C3D9175B6FC201293AD</RequestId>";
    xml(status, &format!("<Error><Code>{code}</Code><Message>no.</Message>{request}{more}</Error>"))
}

fn maybe_cut(text: String, fault: Option<Fault>) -> String {
    match fault {
        Some(Fault::Truncated) => text[..text.floor_char_boundary(text.len() / 2)].to_owned(),
        _ => text,
    }
}

fn page_size(query: &BTreeMap<String, String>) -> usize {
    let asked = query.get("max-keys").and_then(|text| text.parse().ok());
    asked.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE)
}

pub(super) fn buckets(
    buckets: &BTreeMap<String, Bucket>,
    regions: &BTreeMap<String, SocketAddr>,
    query: &BTreeMap<String, String>,
    fault: Option<Fault>,
) -> Response {
    let marker = query.get("marker").map_or("", String::as_str);
    // Small pages, so that clients must go on.
    let size = page_size(query).min(2);
    let behind: Vec<_> = buckets.iter().filter(|(name, _)| name.as_str() > marker).collect();
    let page = &behind[..behind.len().min(size)];
    let listed: String = page
        .iter()
        .map(|(name, bucket)| {
            let (region, own) = (&bucket.region, regions[&bucket.region]);
            format!(
                "<Bucket><CreationDate>2026-01-01T00:00:00.000Z</CreationDate>\
                 <ExtranetEndpoint>{own}</ExtranetEndpoint>\
                 <IntranetEndpoint>inside.invalid</IntranetEndpoint>\
                 <Location>oss-{region}</Location><Name>{name}</Name><Region>{region}</Region>\
                 <StorageClass>Standard</StorageClass></Bucket>"
            )
        })
        .collect();
    let more = match page.last() {
        Some((last, _)) if page.len() < behind.len() => {
            format!("<IsTruncated>true</IsTruncated><NextMarker>{last}</NextMarker>")
        }
        _ => String::new(),
    };
    let body = format!(
        "<ListAllMyBucketsResult>{more}<Owner><ID>1</ID><DisplayName>1</DisplayName></Owner>\
         <Buckets>{listed}</Buckets></ListAllMyBucketsResult>"
    );
    xml(200, &maybe_cut(body, fault))
}

/// The listed objects behind a key, one more than asked for where there are more.
fn behind(content: &Content, prefix: &str, after: &str, count: usize) -> Vec<(String, Object)> {
    match content {
        Content::Objects(objects) => objects
            .range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
            .filter(|(key, _)| key.starts_with(prefix))
            .take(count)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect(),
        Content::Generated(all) => {
            let from = after
                .strip_suffix(".log")
                .map_or(0, |number| number.parse::<u64>().expect("a key of this bucket") + 1);
            let object = |number: u64| {
                let (size, modified_at) = (number % 4_096, 1_767_225_600);
                (
                    format!("{number:012}.log"),
                    Object { size, etag: format!("{number:032X}"), modified_at },
                )
            };
            (from..*all).take(count).map(object).collect()
        }
    }
}

pub(super) fn objects(
    name: &str,
    content: &Content,
    query: &BTreeMap<String, String>,
    fault: Option<Fault>,
) -> Response {
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    let token = URL_SAFE.decode(text("continuation-token")).unwrap_or_default();
    let token = String::from_utf8(token).unwrap_or_default();
    let after = text("start-after").max(token.as_str());
    let size = page_size(query);
    let mut page = behind(content, text("prefix"), after, size + 1);
    let is_truncated = page.len() > size;
    page.truncate(size);
    let next = page.last().filter(|_| is_truncated).map(|(key, _)| {
        format!("<NextContinuationToken>{}</NextContinuationToken>", URL_SAFE.encode(key))
    });
    if fault == Some(Fault::Unsorted) {
        page.reverse();
    }
    let is_escaped = text("encoding-type") == "url";
    let mut listed = String::new();
    for (key, Object { size, etag, modified_at }) in page {
        let key = if is_escaped { escape(&key) } else { key };
        let time = jiff::Timestamp::from_second(modified_at).expect("a time");
        let time = time.strftime("%Y-%m-%dT%H:%M:%S.000Z");
        listed.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>{time}</LastModified>\
             <ETag>\"{etag}\"</ETag><Type>Normal</Type><Size>{size}</Size>\
             <StorageClass>Standard</StorageClass></Contents>"
        ));
    }
    let encoding = if is_escaped { "<EncodingType>url</EncodingType>" } else { "" };
    let body = format!(
        "<ListBucketResult><Name>{name}</Name>{encoding}<IsTruncated>{is_truncated}</IsTruncated>{}\
         {listed}</ListBucketResult>",
        next.unwrap_or_default()
    );
    xml(200, &maybe_cut(body, fault))
}

fn escape(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let escaped = text.bytes().map(|byte| match byte {
        byte if is_plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    escaped.collect()
}
