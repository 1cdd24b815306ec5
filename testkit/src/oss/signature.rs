//! Checks version 4 signatures, written from the specification ("Include a V4 signature in the
//! Authorization header") and from the request as it came in: nothing is shared with the client.

use std::collections::BTreeMap;

use axum::extract::Request;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{KEY_ID, SECRET};

/// A server refuses requests that are so much older or newer, in seconds.
const SKEW: i64 = 15 * 60;

/// Why a request is not answered.
pub(super) struct Refused {
    pub status: u16,
    pub code: &'static str,
    /// Further elements of the error.
    pub more: String,
}

fn refused(status: u16, code: &'static str) -> Refused {
    Refused { status, code, more: String::new() }
}

/// Checks a request to `bucket`; empty is the account.
pub(super) fn check(request: &Request, region: &str, bucket: &str) -> Result<(), Refused> {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let invalid = || refused(400, "InvalidArgument");
    let given = header("authorization").strip_prefix("OSS4-HMAC-SHA256 ").ok_or_else(invalid)?;
    let fields: BTreeMap<&str, &str> =
        given.split(',').filter_map(|field| field.trim().split_once('=')).collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let (key_id, scope) = field("Credential").split_once('/').ok_or_else(invalid)?;
    if key_id != KEY_ID {
        return Err(refused(403, "InvalidAccessKeyId"));
    }
    let time = header("x-oss-date");
    let then = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).map_err(|_| invalid())?;
    let then = then.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| invalid())?;
    let now = jiff::Timestamp::now().as_second();
    if (then.timestamp().as_second() - now).abs() > SKEW {
        return Err(refused(403, "RequestTimeTooSkewed"));
    }
    let is_unsigned = header("x-oss-content-sha256") == "UNSIGNED-PAYLOAD";
    let expected_scope = format!("{}/{region}/oss/aliyun_v4_request", &time[..8]);
    if scope != expected_scope || !is_unsigned {
        return Err(invalid());
    }
    let canonical = canonical_request(request, bucket, field("AdditionalHeaders"));
    let to_sign =
        format!("OSS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let mut key = format!("aliyun_v4{SECRET}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part);
    }
    if hex(&hmac(&key, &to_sign)) == field("Signature") {
        return Ok(());
    }
    let more = format!("<StringToSign>{to_sign}</StringToSign>");
    Err(Refused { more, ..refused(403, "SignatureDoesNotMatch") })
}

fn canonical_request(request: &Request, bucket: &str, additional: &str) -> String {
    let resource = if bucket.is_empty() { "/".to_owned() } else { format!("/{bucket}/") };
    // As it was sent: escaped already.
    let query = request.uri().query().unwrap_or_default();
    let mut query: Vec<&str> = query
        .split('&')
        .map(|pair| pair.strip_suffix('=').unwrap_or(pair))
        .filter(|pair| !pair.is_empty())
        .collect();
    query.sort_by_key(|pair| pair.split('=').next());
    let mut names: Vec<&str> = additional.split(';').filter(|name| !name.is_empty()).collect();
    for name in request.headers().keys() {
        let name = name.as_str();
        if name.starts_with("x-oss-") || ["content-type", "content-md5"].contains(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    names.dedup();
    let headers: String = names
        .iter()
        .map(|name| {
            let value = request.headers().get(*name).and_then(|value| value.to_str().ok());
            format!("{name}:{}\n", value.unwrap_or_default().trim())
        })
        .collect();
    format!(
        "{}\n{resource}\n{}\n{headers}\n{additional}\nUNSIGNED-PAYLOAD",
        request.method(),
        query.join("&")
    )
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
