//! Text into HTML: the one place where foreign text is escaped.

use std::fmt;

/// Text, escaped for an element's content and for a quoted attribute alike.
///
/// Control characters that XML and HTML forbid are shown as U+FFFD: a file name may hold them, a page may not.
pub struct Esc<T>(pub T);

impl<T: fmt::Display> fmt::Display for Esc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::write(&mut Escaping(f), format_args!("{}", self.0))
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain_from = 0;
        for (at, c) in text.char_indices() {
            let entity = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                '\n' | '\t' | '\r' => continue,
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => "\u{fffd}",
                _ => continue,
            };
            self.0.write_str(&text[plain_from..at])?;
            self.0.write_str(entity)?;
            plain_from = at + c.len_utf8();
        }
        self.0.write_str(&text[plain_from..])
    }
}

#[cfg(test)]
mod tests {
    use super::Esc;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            Esc(r#"<a href="x" title='y'>R&D</a>"#).to_string(),
            "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;R&amp;D&lt;/a&gt;"
        );
    }

    #[test]
    fn other_alphabets_stay_and_control_characters_do_not() {
        assert_eq!(
            Esc("клітина\u{0}\u{1b}[1m 細胞").to_string(),
            "клітина\u{fffd}\u{fffd}[1m 細胞"
        );
    }
}
