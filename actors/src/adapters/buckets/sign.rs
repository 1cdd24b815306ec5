//! Signatures of requests, as pure functions: Alibaba OSS, version 4, and AWS, version 4.
//!
//! Both say the same in two dialects: a canonical form of the request is hashed, the hash is signed
//! with a key that is derived from the secret, the day, the region and the service.
//!
//! - Alibaba Cloud, "Include a V4 signature in the Authorization header"
//!   (<https://www.alibabacloud.com/help/en/oss/developer-reference/recommend-to-use-signature-version-4>);
//! - Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header (AWS
//!   Signature Version 4)"
//!   (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>).
//!
//! Why not a crate: `reqsign-aliyun-oss` and `reqsign-aws-v4` sign likewise, but bring ways to find
//! credentials, and clients for these, that nobody here needs.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::domain::{secret::Secret, time::Micros};

/// The hash of an empty body; AWS wants that of the body, OSS wants none.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// How an account speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Oss,
    Aws,
}

/// What proves who asks.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub key_id: String,
    pub secret: Secret,
    /// Of temporary credentials; empty for lasting ones.
    pub session_token: Secret,
}

/// A request without a body.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// As the server sees it, with a port that is not the scheme's own.
    pub host: &'a str,
    /// The path as AWS signs it: what stands in the URL, unescaped.
    pub path: &'a str,
    /// The resource as OSS signs it: `/`, `/bucket/` or `/bucket/key`, wherever the bucket stands.
    pub resource: &'a str,
    /// Unescaped, in any order.
    pub query: &'a [(&'a str, &'a str)],
    /// Further headers that are to be signed, by lower-case name.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Gives the headers that a request must be sent with.
#[must_use]
pub fn sign(
    dialect: Dialect,
    credentials: &Credentials,
    region: &str,
    request: &Request<'_>,
    now: Micros,
) -> Vec<(&'static str, String)> {
    let words = Words::of(dialect);
    let time = timestamp(now);
    let mut added = vec![(words.date, time.clone()), (words.payload, words.payload_hash.into())];
    if !credentials.session_token.is_empty() {
        added.push((words.token, credentials.session_token.expose().to_owned()));
    }
    let mut headers: Vec<(&str, &str)> = request.headers.to_vec();
    headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
    let (canonical, names) = match dialect {
        Dialect::Oss => canonical_oss(request, &mut headers),
        Dialect::Aws => {
            headers.push(("host", request.host));
            canonical_aws(request, &mut headers)
        }
    };
    let scope = format!("{}/{region}/{}/{}", &time[..8], words.service, words.end);
    let to_sign =
        format!("{}\n{time}\n{scope}\n{}", words.algorithm, hex(&Sha256::digest(canonical)));
    let start = format!("{}{}", words.key_start, credentials.secret.expose());
    let key = [&time[..8], region, words.service, words.end]
        .iter()
        .fold(start.into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    let signature = hex(&hmac(&key, to_sign.as_bytes()));
    let (key_id, algorithm) = (&credentials.key_id, words.algorithm);
    let names = if names.is_empty() { names } else { format!("{}={names},", words.names) };
    let authorization =
        format!("{algorithm} Credential={key_id}/{scope},{names}Signature={signature}");
    added.push(("authorization", authorization));
    added
}

/// What the dialects call things.
struct Words {
    algorithm: &'static str,
    key_start: &'static str,
    service: &'static str,
    end: &'static str,
    date: &'static str,
    payload: &'static str,
    payload_hash: &'static str,
    token: &'static str,
    names: &'static str,
}

impl Words {
    fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Oss => Self {
                algorithm: "OSS4-HMAC-SHA256",
                key_start: "aliyun_v4",
                service: "oss",
                end: "aliyun_v4_request",
                date: "x-oss-date",
                payload: "x-oss-content-sha256",
                payload_hash: UNSIGNED,
                token: "x-oss-security-token",
                names: "AdditionalHeaders",
            },
            Dialect::Aws => Self {
                algorithm: "AWS4-HMAC-SHA256",
                key_start: "AWS4",
                service: "s3",
                end: "aws4_request",
                date: "x-amz-date",
                payload: "x-amz-content-sha256",
                payload_hash: EMPTY_SHA256,
                token: "x-amz-security-token",
                names: "SignedHeaders",
            },
        }
    }
}

/// The canonical request, and the names of the headers in it that need not be signed.
fn canonical_oss(request: &Request<'_>, headers: &mut [(&str, &str)]) -> (String, String) {
    headers.sort_unstable();
    let mut query: Vec<String> = Vec::new();
    for (name, value) in request.query {
        // Only what has a value has an equals sign.
        let mark = if value.is_empty() { "" } else { "=" };
        query.push(format!("{}{mark}{}", escape(name, ""), escape(value, "")));
    }
    query.sort_unstable();
    let is_needed =
        |name: &str| name.starts_with("x-oss-") || matches!(name, "content-type" | "content-md5");
    let additional: Vec<&str> =
        headers.iter().map(|(name, _)| *name).filter(|name| !is_needed(name)).collect();
    let additional = additional.join(";");
    let canonical = format!(
        "{}\n{}\n{}\n{}\n{additional}\n{UNSIGNED}",
        request.method,
        escape(request.resource, "/"),
        query.join("&"),
        lines(headers),
    );
    (canonical, additional)
}

/// The canonical request, and the names of its headers.
fn canonical_aws(request: &Request<'_>, headers: &mut [(&str, &str)]) -> (String, String) {
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical = format!(
        "{}\n{}\n{}\n{}\n{names}\n{EMPTY_SHA256}",
        request.method,
        escape(request.path, "/"),
        canonical_query(request.query),
        lines(headers),
    );
    (canonical, names)
}

/// Name and value escaped, sorted by the escaped form: what AWS signs, and how every query here is
/// sent.
#[must_use]
pub fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name, ""), escape(value, "")))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

fn lines(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect()
}

/// Escapes all but RFC 3986's unreserved characters, and those in `kept`.
#[must_use]
pub fn escape(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if is_plain || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `20261122T030000Z`
fn timestamp(now: Micros) -> String {
    let now = jiff::Timestamp::from_microsecond(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn credentials(key_id: &str, secret: &str, token: &str) -> Credentials {
        Credentials {
            key_id: key_id.to_owned(),
            secret: Secret::new(secret),
            session_token: Secret::new(token),
        }
    }

    fn authorization(headers: &[(&'static str, String)]) -> String {
        headers.iter().find(|(name, _)| *name == "authorization").unwrap().1.clone()
    }

    /// The request by which Alibaba's own SDKs test their signers (for example
    /// alibabacloud-oss-go-sdk-v2, `oss/signer/v4_test.go`, `TestV4AuthHeader`), with what must
    /// come of it: plain, with temporary credentials, and with additional headers.
    #[test]
    fn oss_signs_as_the_vendors_sdks_do() {
        const QUERY: [(&str, &str); 6] = [
            ("param1", "value1"),
            ("+param1", "value3"),
            ("|param1", "value4"),
            ("+param2", ""),
            ("|param2", ""),
            ("param2", ""),
        ];
        let plain: [(&str, &str); 2] = [("x-oss-head1", "value"), ("content-type", "text/plain")];
        let more: [(&str, &str); 4] = [plain[0], plain[1], ("abc", "value"), ("zabc", "value")];
        for (time, token, headers, expected) in [
            (
                1_702_743_657,
                "",
                &plain[..],
                "20231216/cn-hangzhou/oss/aliyun_v4_request,\
                 Signature=e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe",
            ),
            (
                1_702_784_856,
                "token",
                &plain[..],
                "20231217/cn-hangzhou/oss/aliyun_v4_request,\
                 Signature=b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea",
            ),
            (
                1_702_747_512,
                "",
                &more[..],
                "20231216/cn-hangzhou/oss/aliyun_v4_request,AdditionalHeaders=abc;zabc,\
                 Signature=4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
            ),
        ] {
            let request = Request {
                method: "PUT",
                host: "bucket.oss-cn-hangzhou.aliyuncs.com",
                path: "/1234+-/123/1.txt",
                resource: "/bucket/1234+-/123/1.txt",
                query: &QUERY,
                headers,
            };
            let signed = sign(
                Dialect::Oss,
                &credentials("ak", "sk", token),
                "cn-hangzhou",
                &request,
                time * SECOND,
            );
            let expected = format!("OSS4-HMAC-SHA256 Credential=ak/{expected}");
            assert_eq!(authorization(&signed), expected);
        }
    }

    /// The worked example of the page that the module names: its canonical request has this hash.
    #[test]
    fn the_canonical_request_is_that_of_the_vendors_example() {
        let mut headers = [
            ("content-disposition", "attachment"),
            ("content-length", "3"),
            ("content-md5", "ICy5YqxZB1uWSwcVLSNLcA=="),
            ("content-type", "text/plain"),
            ("x-oss-content-sha256", UNSIGNED),
            ("x-oss-date", "20250411T064124Z"),
        ];
        let request = Request {
            method: "PUT",
            host: "",
            path: "",
            resource: "/examplebucket/exampleobject",
            query: &[],
            headers: &[],
        };
        let (canonical, additional) = canonical_oss(&request, &mut headers);
        assert_eq!(additional, "content-disposition;content-length");
        assert_eq!(
            hex(&Sha256::digest(canonical)),
            "c46d96390bdbc2d739ac9363293ae9d710b14e48081fcb22cd8ad54b63136eca"
        );
    }

    /// The examples "GET Object", "GET Bucket Lifecycle" and "Get Bucket (List Objects)" of the
    /// page that the module names.
    #[test]
    fn aws_signs_as_in_the_vendors_examples() {
        let may_24 = 1_369_353_600 * SECOND;
        let who =
            credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "");
        for (path, query, headers, names, expected) in [
            (
                "/test.txt",
                &[][..],
                &[("range", "bytes=0-9")][..],
                "host;range;x-amz-content-sha256;x-amz-date",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "/",
                &[("lifecycle", "")],
                &[],
                "host;x-amz-content-sha256;x-amz-date",
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "/",
                &[("prefix", "J"), ("max-keys", "2")],
                &[],
                "host;x-amz-content-sha256;x-amz-date",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let host = "examplebucket.s3.amazonaws.com";
            let request = Request { method: "GET", host, path, resource: "", query, headers };
            let signed = sign(Dialect::Aws, &who, "us-east-1", &request, may_24);
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/\
                 aws4_request,SignedHeaders={names},Signature={expected}"
            );
            assert_eq!(authorization(&signed), expected);
        }
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let request = Request {
            method: "GET",
            host: "h",
            path: "/",
            resource: "/",
            query: &[("a b", "é/")],
            headers: &[],
        };
        let signed = sign(Dialect::Aws, &credentials("k", "s", "tok"), "r", &request, 0);
        assert!(signed.contains(&("x-amz-security-token", "tok".to_owned())));
        let names = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,";
        assert!(authorization(&signed).contains(names), "{signed:?}");
        assert_eq!(canonical_query(request.query), "a%20b=%C3%A9%2F");
    }
}
