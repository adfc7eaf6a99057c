//! The page's script and style, and the policy that admits nothing else.
//!
//! The sources are plain ES modules. In the page they are one: lines that import are left out,
//! and `export` in front of a declaration is too. So no two files may declare the same name.
//!
//! What shows segments is left out where there are none: nobody calls it then.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::report::svg::paint::PLOT;

/// In an order in which each file only needs those before it when it is evaluated.
const MODULES: [&str; 14] = [
    include_str!("assets/format.js"),
    include_str!("assets/dom.js"),
    include_str!("assets/choose.js"),
    include_str!("assets/run.js"),
    include_str!("assets/state.js"),
    include_str!("assets/plot.js"),
    include_str!("assets/timeline.js"),
    include_str!("assets/holders.js"),
    include_str!("assets/commands.js"),
    include_str!("assets/tree.js"),
    include_str!("assets/table.js"),
    include_str!("assets/compare.js"),
    include_str!("assets/insight.js"),
    include_str!("assets/view.js"),
];

/// Where segments were told apart.
const SEGMENTS: &str = include_str!("assets/segments.js");

/// Begins when all others are there.
const MAIN: &str = include_str!("assets/main.js");

const STYLE: &str = include_str!("assets/page.css");

const SEGMENTS_STYLE: &str = include_str!("assets/segments.css");

/// What is embedded.
pub(super) struct Assets {
    /// Contents of the script element.
    pub(super) script: String,
    /// Contents of the style element.
    pub(super) style: String,
    /// The Content-Security-Policy.
    pub(super) policy: String,
}

impl Assets {
    /// `segments`: with what shows them.
    pub(super) fn new(segments: bool) -> Self {
        let mut script = String::from("\n");
        let of_segments = segments.then_some(&SEGMENTS);
        for module in MODULES.iter().chain(of_segments).chain([&MAIN]) {
            for line in module.lines() {
                if line.starts_with("import ") {
                    continue;
                }
                script.push_str(line.strip_prefix("export ").unwrap_or(line));
                script.push('\n');
            }
        }
        let of_segments = if segments { SEGMENTS_STYLE } else { "" };
        let style = format!("\n{STYLE}{of_segments}{PLOT}");
        let mut policy = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            policy,
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; \
             base-uri 'none'; form-action 'none'",
            hash(&script),
            hash(&style)
        );
        Self {
            script,
            style,
            policy,
        }
    }
}

fn hash(text: &str) -> String {
    base64(&Sha256::digest(text.as_bytes()))
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4_usize {
            let digit = bits >> (18 - 6 * i) & 63;
            if i <= chunk.len() {
                out.push(DIGITS.get(digit as usize).map_or('=', |&d| char::from(d)));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The examples of RFC 4648 and of NIST's SHA-256.
    #[test]
    fn hashes() {
        for (text, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
        assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    /// Nothing in the sources ends its element, and the sources fit in one module.
    #[test]
    fn sources_can_be_embedded() {
        let assets = Assets::new(true);
        for text in [&assets.script, &assets.style] {
            let small = text.to_lowercase();
            for end in ["</script", "</style", "<!--"] {
                assert!(!small.contains(end), "{end}");
            }
        }
        let mut names = BTreeSet::new();
        for line in assets.script.lines() {
            let words: Vec<&str> = line.split([' ', '(']).collect();
            if let ["const" | "let" | "function" | "class", name, ..] = words.as_slice() {
                assert!(names.insert((*name).to_owned()), "{name} is declared twice");
            }
        }
        assert!(names.len() > 20, "declarations were found");
        let size = assets.script.len() + assets.style.len();
        assert!(size <= 140_000, "{size} bytes");
    }
}
