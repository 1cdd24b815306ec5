//! What servers answer: listings of buckets and objects, and errors, as XML.
//!
//! The XML is read once from start to end, without building a tree. Element names alone count;
//! namespaces and attributes do not. Anything that is not understood is passed over: servers add
//! elements over the years.

use quick_xml::{Reader, events::Event};

use crate::domain::{object::Object, time::parse_rfc3339};

/// Deeper elements are passed over.
const DEPTH: usize = 4;

/// One page of buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketPage {
    pub buckets: Vec<ListedBucket>,
    /// What asks for the next page; `None` on the last one.
    pub next: Option<String>,
}

/// A bucket as its account lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedBucket {
    pub name: String,
    /// Empty where the server does not say.
    pub region: String,
    /// OSS: by which hosts it is reached from outside, and from inside of Alibaba's network.
    pub extranet: String,
    pub intranet: String,
}

/// One page of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// As the server orders them.
    pub objects: Vec<Object>,
    pub is_truncated: bool,
    /// What asks for the next page.
    pub next: Option<String>,
}

/// Why a request was refused, in the server's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    pub region: String,
    pub endpoint: String,
}

/// `ListAllMyBucketsResult` of both dialects.
///
/// # Errors
/// Says what is not as it should be.
pub fn buckets(xml: &[u8]) -> Result<BucketPage, String> {
    let mut page = BucketPage::default();
    let (mut bucket, mut is_truncated) = (ListedBucket::default(), false);
    read(xml, "ListAllMyBucketsResult", |path, text| {
        match path {
            ["Buckets", "Bucket"] => page.buckets.push(std::mem::take(&mut bucket)),
            ["Buckets", "Bucket", "Name"] => bucket.name = text,
            ["Buckets", "Bucket", "Region" | "BucketRegion"] => bucket.region = text,
            ["Buckets", "Bucket", "ExtranetEndpoint"] => bucket.extranet = text,
            ["Buckets", "Bucket", "IntranetEndpoint"] => bucket.intranet = text,
            ["IsTruncated"] => is_truncated = text == "true",
            // OSS; S3 has a token, and says by its absence that there is no more.
            ["NextMarker"] if is_truncated => page.next = Some(text),
            ["ContinuationToken"] => page.next = Some(text),
            _ => {}
        }
        Ok(())
    })?;
    page.next = page.next.filter(|next| !next.is_empty());
    Ok(page)
}

/// `ListBucketResult` of both dialects.
///
/// # Errors
/// Says what is not as it should be.
pub fn objects(xml: &[u8]) -> Result<ObjectPage, String> {
    let mut page = ObjectPage::default();
    let mut object = Object::default();
    let (mut is_escaped, mut has_time) = (false, false);
    read(xml, "ListBucketResult", |path, text| {
        match path {
            ["Contents"] => {
                if object.key.is_empty() {
                    return Err("an object has no key".to_owned());
                }
                if !std::mem::take(&mut has_time) {
                    return Err(format!("object {:?} has no LastModified", object.key));
                }
                page.objects.push(std::mem::take(&mut object));
            }
            ["Contents", "Key"] => object.key = text,
            ["Contents", "Size"] => {
                object.size = text.parse().map_err(|_| format!("{text:?} is no size"))?;
            }
            ["Contents", "ETag"] => {
                object.etag = text.trim_matches('"').replace('\0', "");
            }
            ["Contents", "LastModified"] => {
                object.modified_at =
                    parse_rfc3339(text.as_bytes()).ok_or_else(|| format!("{text:?} is no time"))?;
                has_time = true;
            }
            ["EncodingType"] => is_escaped = text == "url",
            ["IsTruncated"] => page.is_truncated = text == "true",
            ["NextContinuationToken"] => page.next = Some(text),
            _ => {}
        }
        Ok(())
    })?;
    if is_escaped {
        for object in &mut page.objects {
            object.key = unescape(&object.key)?;
        }
    }
    Ok(page)
}

/// `Error` of both dialects; whatever else a server says is no error message.
#[must_use]
pub fn refusal(xml: &[u8]) -> Refusal {
    let mut refusal = Refusal::default();
    // What was read before the XML broke off counts.
    let _ = read(xml, "Error", |path, text| {
        match path {
            ["Code"] => refusal.code = text,
            ["Region"] => refusal.region = text,
            ["Endpoint"] => refusal.endpoint = text,
            _ => {}
        }
        Ok(())
    });
    refusal
}

/// Gives every element below the root when it ends: the names from below the root on, and the text
/// directly in it.
fn read(
    xml: &[u8],
    root: &str,
    mut take: impl FnMut(&[&str], String) -> Result<(), String>,
) -> Result<(), String> {
    let xml = std::str::from_utf8(xml).map_err(|error| format!("not UTF-8: {error}"))?;
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let broken = |error: &dyn std::fmt::Display| format!("not XML: {error}");
    let mut path: Vec<String> = Vec::with_capacity(DEPTH);
    let (mut depth, mut text, mut is_done) = (0_usize, String::new(), false);
    loop {
        match reader.read_event().map_err(|error| broken(&error))? {
            Event::Start(start) => {
                if is_done {
                    return Err("more than one document".to_owned());
                }
                let name = start.local_name();
                if depth == 0 && name.into_inner() != root {
                    return Err(format!("a {root} is needed"));
                }
                depth += 1;
                if depth <= DEPTH {
                    path.push(name.into_inner().to_owned());
                }
                text.clear();
            }
            Event::End(_) => {
                if (2..=DEPTH).contains(&depth) {
                    let names: Vec<&str> = path[1..].iter().map(String::as_str).collect();
                    take(&names, std::mem::take(&mut text))?;
                }
                if depth <= DEPTH {
                    path.pop();
                }
                text.clear();
                depth = depth.saturating_sub(1);
                is_done = depth == 0;
            }
            Event::Text(part) => text.push_str(&part.xml10_content()),
            Event::CData(part) => text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| broken(&error))?;
                match (character, &*reference) {
                    (Some(character), _) => text.push(character),
                    (None, name) => {
                        let known = quick_xml::escape::resolve_xml_entity(name);
                        text.push_str(known.ok_or("an entity that nobody has declared")?);
                    }
                }
            }
            Event::Eof if is_done => return Ok(()),
            Event::Eof => return Err("it ends early".to_owned()),
            _ => {}
        }
    }
}

/// Undoes `encoding-type=url`: percent signs, and `+` for a space.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next(), bytes.next()]
                    .map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
                match digits {
                    [Some(high), Some(low)] => u8::try_from(high * 16 + low).unwrap_or_default(),
                    _ => return Err(format!("{text:?} is not escaped as it should be")),
                }
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| format!("{text:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// As in the OSS API reference, "`GetBucket` V2 (`ListObjectsV2`)".
    const OSS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://doc.oss-cn-hangzhou.aliyuncs.com">
<Name>examplebucket</Name>
  <Prefix></Prefix><MaxKeys>3</MaxKeys><Delimiter/>
  <EncodingType>url</EncodingType>
  <IsTruncated>true</IsTruncated>
  <NextContinuationToken>CgJiYw--</NextContinuationToken>
  <Contents>
    <Key>exampleobject%2B1+a%00.txt</Key>
    <LastModified>2020-06-22T11:42:32.000Z</LastModified>
    <ETag>"5B3C1A2E053D763E1B002CC607C5A0FE1****"</ETag>
    <Type>Normal</Type><Size>344606</Size><StorageClass>ColdArchive</StorageClass>
    <Owner><ID>0022012****</ID><DisplayName>user-example</DisplayName></Owner>
  </Contents>
  <KeyCount>1</KeyCount>
</ListBucketResult>"#;

    #[test]
    fn a_page_of_objects_is_read() {
        let page = objects(OSS.as_bytes()).unwrap();
        assert_eq!((page.is_truncated, page.next.as_deref()), (true, Some("CgJiYw--")));
        let object = Object {
            key: "exampleobject+1 a\0.txt".to_owned(),
            size: 344_606,
            etag: "5B3C1A2E053D763E1B002CC607C5A0FE1****".to_owned(),
            modified_at: 1_592_826_152_000_000,
        };
        assert_eq!(page.objects, [object]);
        let plain = OSS.replace("url", "none").replace("%2B1+a%00", "&amp;&#x41;<![CDATA[<]]>");
        assert_eq!(objects(plain.as_bytes()).unwrap().objects[0].key, "exampleobject&A<.txt");
    }

    #[test]
    fn a_page_of_buckets_is_read() {
        let oss = "<ListAllMyBucketsResult><IsTruncated>true</IsTruncated>\
            <NextMarker>b</NextMarker><Owner><ID>1</ID></Owner><Buckets><Bucket>\
            <ExtranetEndpoint>oss-cn-shanghai.aliyuncs.com</ExtranetEndpoint>\
            <IntranetEndpoint>oss-cn-shanghai-internal.aliyuncs.com</IntranetEndpoint>\
            <Location>oss-cn-shanghai</Location><Name>app-base-oss</Name>\
            <Region>cn-shanghai</Region></Bucket></Buckets></ListAllMyBucketsResult>";
        let page = buckets(oss.as_bytes()).unwrap();
        assert_eq!(page.next.as_deref(), Some("b"));
        let bucket = &page.buckets[0];
        assert_eq!((&*bucket.name, &*bucket.region), ("app-base-oss", "cn-shanghai"));
        assert_eq!(bucket.extranet, "oss-cn-shanghai.aliyuncs.com");
        let s3 = "<ListAllMyBucketsResult><Buckets><Bucket><BucketRegion>eu-west-1</BucketRegion>\
            <Name>a</Name></Bucket></Buckets><ContinuationToken>t</ContinuationToken>\
            </ListAllMyBucketsResult>";
        let page = buckets(s3.as_bytes()).unwrap();
        assert_eq!((&*page.buckets[0].region, page.next.as_deref()), ("eu-west-1", Some("t")));
        let last = oss.replace("true", "false");
        assert_eq!(buckets(last.as_bytes()).unwrap().next, None);
    }

    #[test]
    fn what_is_not_a_listing_is_said() {
        for (xml, expected) in [
            ("", "it ends early"),
            ("<html/>", "a ListBucketResult is needed"),
            (OSS.trim_end_matches("</ListBucketResult>"), "it ends early"),
            (&OSS.replace("344606", "many"), "\"many\" is no size"),
            (&OSS.replace("2020-06", "2020-66"), "is no time"),
            (&OSS.replace("LastModified", "Modified"), "has no LastModified"),
            (&OSS.replace("%2B1", "%2"), "is not escaped as it should be"),
            (&OSS.replace("%2B", "%FF"), "is not UTF-8"),
            (&OSS.replace("exampleobject%2B1+a%00.txt", ""), "an object has no key"),
            (&OSS.replace("%2B", "&lots;"), "an entity that nobody has declared"),
            (&OSS.replace("</Key>", "</Kay>"), "not XML"),
        ] {
            let problem = objects(xml.as_bytes()).unwrap_err();
            assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
        }
        let said = "<Error><Code>AccessDenied</Code><Message>no</Message><Endpoint>e</Endpoint>";
        let refusal = refusal(said.as_bytes());
        assert_eq!((&*refusal.code, &*refusal.endpoint), ("AccessDenied", "e"));
    }

    /// Bytes like those of a listing, and some that are not.
    fn like_xml() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "<ListBucketResult>",
                "</ListBucketResult>",
                "<Contents>",
                "</Contents>",
                "<Key>",
                "</Key>",
                "<Size>",
                "</Size>",
                "7",
                "<a/>",
                "&amp;",
                "&#0;",
                "&#xFFFFFF;",
                "&x;",
                "<![CDATA[",
                "]]>",
                "<!--",
                "-->",
                "<?",
                "?>",
                "<!DOCTYPE a [",
                "]>",
                "<",
                ">",
                "%4",
                "+",
                "\u{e9}",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            vec(any::<u8>(), 0..6),
        ];
        vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_nothing_panics(bytes in like_xml(), cut in 0..OSS.len()) {
            for xml in [&bytes[..], &OSS.as_bytes()[..cut], &[&OSS.as_bytes()[..cut], &bytes].concat()] {
                let _ = objects(xml);
                let _ = buckets(xml);
                let _ = refusal(xml);
            }
        }

        #[test]
        fn a_listing_that_is_cut_is_never_taken_for_a_whole_one(cut in 0..OSS.len()) {
            prop_assert!(objects(&OSS.as_bytes()[..cut]).is_err());
        }
    }
}
