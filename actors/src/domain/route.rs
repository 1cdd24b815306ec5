//! Route templates: the path of a request with its ids masked.

/// Appends the template of `path` (without query and fragment) to `out`: a segment that looks
/// like an id becomes `<id>`.
///
/// An id is a segment with at least two digits, or of digits only; `v1` and `oauth2` are names.
pub fn push_template(path: &[u8], out: &mut Vec<u8>) {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    for (index, segment) in path[..end].split(|byte| *byte == b'/').enumerate() {
        if index > 0 {
            out.push(b'/');
        }
        let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
        if digits >= 2 || digits == 1 && segment.len() == 1 {
            out.extend_from_slice(b"<id>");
        } else {
            out.extend_from_slice(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_masked_and_names_kept() {
        for (path, template) in [
            ("/api/v1/users/17?x=1", "/api/v1/users/<id>"),
            ("/u/2", "/u/<id>"),
            ("/orders/4c0ffee1-17/items", "/orders/<id>/items"),
            ("/oauth2/callback#x", "/oauth2/callback"),
            ("/", "/"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            push_template(path.as_bytes(), &mut out);
            assert_eq!(out, template.as_bytes());
        }
    }
}
