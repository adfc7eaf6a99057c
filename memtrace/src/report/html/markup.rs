//! Text made harmless for markup.

/// `text` for the content of an element or a quoted attribute of HTML or XML.
///
/// Names must have been through [`escape`](crate::report::escape::escape) before: it makes
/// controls and what changes the direction of text visible.
pub(in crate::report) fn escape_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML has no way to write them.
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// JSON for a script element. What could end the element or open a comment in it only occurs
/// in strings, where it can be written as an escape.
pub(super) fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 64);
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::escape;

    /// Names that would be markup are text.
    #[test]
    fn hostile_names_are_text() {
        for (name, text) in [
            (
                &b"</script><img src=x onerror=alert(1)>"[..],
                "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;",
            ),
            (b"\" onload='x'", "&quot; onload=&#39;x&#39;"),
            (b"a&amp;b", "a&amp;amp;b"),
            (b"<!--\xff]]>", "&lt;!--\\xff]]&gt;"),
            ("\u{202e}evil\u{2028}".as_bytes(), "\\u{202e}evil\\u{2028}"),
        ] {
            assert_eq!(escape_markup(&escape(name)), text);
        }
    }

    proptest! {
        /// No text can leave its element or attribute, or be invalid in XML.
        #[test]
        fn nothing_is_markup(text in any::<String>()) {
            let escaped = escape_markup(&text);
            let markup = ['<', '>', '"', '\''];
            prop_assert!(!escaped.contains(markup));
            prop_assert!(!escaped.contains(|c: char| c < ' ' && !"\t\n\r".contains(c)));
        }

        /// The data mean the same, and cannot leave the script element.
        #[test]
        fn json_stays_json(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap_or_default();
            let escaped = escape_json(&json);
            let ends = ['<', '>', '&', '\u{2028}', '\u{2029}'];
            prop_assert!(!escaped.contains(ends));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).ok(), Some(text));
        }
    }
}
