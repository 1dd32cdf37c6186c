//! Comma-separated values as RFC 4180 has them.

/// Lines under a header. Every value stands as it is: a spreadsheet may take one that begins with
/// `=` for a formula, and is to be told to import text.
#[derive(Debug)]
pub(crate) struct Csv(String);

impl Csv {
    pub(crate) fn new(header: &[&str]) -> Self {
        let mut csv = Self(String::new());
        csv.line(header);
        csv
    }

    pub(crate) fn line(&mut self, values: &[&str]) {
        for (nth, value) in values.iter().enumerate() {
            if nth > 0 {
                self.0.push(',');
            }
            if value.contains([',', '"', '\r', '\n']) {
                self.0.push('"');
                self.0.push_str(&value.replace('"', "\"\""));
                self.0.push('"');
            } else {
                self.0.push_str(value);
            }
        }
        self.0.push_str("\r\n");
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let mut csv = Csv::new(&["path", "views"]);
        csv.line(&["/a,b", "1"]);
        csv.line(&["say \"hi\"\n", "2"]);
        csv.line(&["", "3"]);
        let text = String::from_utf8(csv.into_bytes()).unwrap();
        let lines = "path,views\r\n\"/a,b\",1\r\n\"say \"\"hi\"\"\n\",2\r\n,3\r\n";
        assert_eq!(text, lines);
    }
}
