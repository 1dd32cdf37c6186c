//! Fields of a `multipart/form-data` body, the way clients send a query with its parameters.

use crate::exception::{Code, Exception};

/// Names and values, in order.
pub(crate) fn fields(content_type: &str, body: &[u8]) -> Result<Vec<(String, String)>, Exception> {
    let boundary = content_type
        .split(';')
        .filter_map(|part| part.trim().strip_prefix("boundary="))
        .map(|boundary| boundary.trim_matches('"'))
        .next()
        .filter(|boundary| !boundary.is_empty())
        .ok_or_else(|| malformed("there is no boundary"))?;
    let opening = format!("--{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body
        .strip_prefix(opening.as_bytes())
        .ok_or_else(|| malformed("it does not start with its boundary"))?;
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest
            .strip_prefix(b"\r\n")
            .ok_or_else(|| malformed("a boundary is not a line"))?;
        let (headers, value_and_more) =
            split_once(rest, b"\r\n\r\n").ok_or_else(|| malformed("a field has no value"))?;
        let (value, more) = split_once(value_and_more, delimiter.as_bytes())
            .ok_or_else(|| malformed("it ends inside a field"))?;
        let name = field_name(headers).ok_or_else(|| malformed("a field has no name"))?;
        let value =
            String::from_utf8(value.to_vec()).map_err(|_| malformed("a field is not UTF-8"))?;
        fields.push((name, value));
        rest = more;
    }
    Ok(fields)
}

fn field_name(headers: &[u8]) -> Option<String> {
    let headers = std::str::from_utf8(headers).ok()?;
    let disposition = headers.split("\r\n").find(|line| {
        line.to_ascii_lowercase()
            .starts_with("content-disposition:")
    })?;
    let quoted = disposition
        .split(';')
        .find_map(|part| part.trim().strip_prefix("name="))?;
    Some(quoted.trim_matches('"').to_owned())
}

fn split_once<'b>(bytes: &'b [u8], delimiter: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let position = bytes
        .windows(delimiter.len())
        .position(|window| window == delimiter)?;
    Some((&bytes[..position], &bytes[position + delimiter.len()..]))
}

fn malformed(reason: &str) -> Exception {
    Exception::new(
        Code::BadArguments,
        format_args!("The form in the body is malformed: {reason}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_line_ends() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT 1\r\n--x\r\nContent-Disposition: form-data; name=\"param_a\"\r\n\r\n\r\n--\r\n\r\n--x--\r\n";
        let fields = fields("multipart/form-data; boundary=x", body).unwrap();
        assert_eq!(fields[0], ("query".into(), "SELECT 1".into()));
        assert_eq!(fields[1], ("param_a".into(), "\r\n--\r\n".into()));
    }

    #[test]
    fn a_form_cut_anywhere_is_refused() {
        let body =
            b"--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT 1\r\n--x--";
        for end in 0..body.len() {
            assert!(
                fields("multipart/form-data; boundary=x", &body[..end]).is_err(),
                "cut at {end}"
            );
        }
    }
}
