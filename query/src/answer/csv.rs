//! Comma-separated values as RFC 4180 has them, for spreadsheets.

use std::fmt::{Display, Write};

/// What a spreadsheet takes for the begin of a formula; the wide forms are those of East Asian
/// keyboards. (OWASP, "CSV Injection", which has the control characters, too.)
const FORMULAS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Lines under a header.
#[derive(Debug)]
pub(crate) struct Csv {
    text: String,
    raw: bool,
}

/// A value of a line.
pub(crate) enum Cell<'v> {
    /// As a client sent it. To stand first in its line: where a spreadsheet separates by another
    /// character than the comma, quotes hold a value together only at the start of a line.
    Sent(&'v str),
    /// Made here: a number, a day, a time.
    Own(&'v dyn Display),
}

impl Csv {
    /// `raw`: what clients sent stands as it is, formulas too.
    pub(super) fn new(raw: bool) -> Self {
        Self {
            text: String::new(),
            raw,
        }
    }

    pub(crate) fn header(&mut self, names: &[&str]) {
        self.text.push_str(&names.join(","));
        self.text.push_str("\r\n");
    }

    pub(crate) fn line(&mut self, cells: &[Cell<'_>]) {
        for (nth, cell) in cells.iter().enumerate() {
            if nth > 0 {
                self.text.push(',');
            }
            match cell {
                Cell::Sent(text) => self.sent(text),
                Cell::Own(value) => {
                    // Writing to a text does not fail.
                    let _ = write!(self.text, "{value}");
                }
            }
        }
        self.text.push_str("\r\n");
    }

    fn sent(&mut self, text: &str) {
        let apostrophe = if !self.raw && is_computed(text) {
            "'"
        } else {
            ""
        };
        // The semicolon and the tab separate where the comma is for decimals.
        if text.contains([',', ';', '\t', '"', '\r', '\n']) {
            let doubled = text.replace('"', "\"\"");
            self.text.extend(["\"", apostrophe, &doubled, "\""]);
        } else {
            self.text.extend([apostrophe, text]);
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

/// Whether a spreadsheet would compute a value rather than show it. Some trim it first.
fn is_computed(text: &str) -> bool {
    text.starts_with(char::is_control) || text.trim_start().starts_with(FORMULAS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cells: &[Cell<'_>], raw: bool) -> String {
        let mut csv = Csv::new(raw);
        csv.line(cells);
        let text = String::from_utf8(csv.into_bytes()).unwrap();
        text.strip_suffix("\r\n").unwrap().to_owned()
    }

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let mut csv = Csv::new(false);
        csv.header(&["path", "views"]);
        csv.line(&[Cell::Sent("/a,b"), Cell::Own(&1)]);
        csv.line(&[Cell::Sent("say \"hi\"\n"), Cell::Own(&2)]);
        csv.line(&[Cell::Sent("/a;=1+1"), Cell::Own(&-3)]);
        csv.line(&[Cell::Sent(""), Cell::Own(&4)]);
        let text = String::from_utf8(csv.into_bytes()).unwrap();
        let lines =
            "path,views\r\n\"/a,b\",1\r\n\"say \"\"hi\"\"\n\",2\r\n\"/a;=1+1\",-3\r\n,4\r\n";
        assert_eq!(text, lines);
    }

    #[test]
    fn what_a_spreadsheet_would_compute_stands_behind_an_apostrophe() {
        for (sent, guarded) in [
            ("=1+1", "'=1+1"),
            ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
            ("+49170", "'+49170"),
            ("-1", "'-1"),
            ("-my-site", "'-my-site"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("\n=1", "\"'\n=1\""),
            ("\tx", "\"'\tx\""),
            ("\0=1", "'\0=1"),
            (" =1", "' =1"),
            ("\u{a0}\u{3000}=1", "'\u{a0}\u{3000}=1"),
            ("＝1", "'＝1"),
            ("＋1", "'＋1"),
            ("－1", "'－1"),
            ("＠x", "'＠x"),
            ("=1,\"2\"", "\"'=1,\"\"2\"\"\""),
            ("=1;2", "\"'=1;2\""),
            ("\"=1", "\"\"\"=1\""),
        ] {
            assert_eq!(written(&[Cell::Sent(sent)], false), guarded, "{sent:?}");
            let raw = written(&[Cell::Sent(sent)], true);
            assert_eq!(
                raw.replace("\"\"", "\"").trim_matches('"'),
                sent.trim_matches('"')
            );
        }
        for shown in [
            "",
            "/",
            "/=1",
            "a=1",
            "1-1",
            "'=1",
            " x",
            "https://a.b/?c=d",
            "*",
            "!",
        ] {
            assert_eq!(written(&[Cell::Sent(shown)], false), shown);
        }
    }

    #[test]
    fn figures_stay_figures() {
        let line = [Cell::Own(&-12), Cell::Own(&-0.5), Cell::Own(&"2025-11-15")];
        assert_eq!(written(&line, false), "-12,-0.5,2025-11-15");
    }
}
