//! Bytes of the kernel as text, and as they are where that would lose anything: in base64
//! (RFC 4648), and in hex, as the first versions have it.

use serde::Serialize;

/// A list of strings and, where that loses anything, their bytes.
#[derive(Serialize)]
pub(super) struct Strings {
    command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_raw: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_bytes: Option<Vec<String>>,
}

impl Strings {
    pub(super) fn new(args: &[Vec<u8>]) -> Self {
        let lossless = args.iter().all(|arg| std::str::from_utf8(arg).is_ok());
        let all = |form: fn(&[u8]) -> String| {
            (!lossless).then(|| args.iter().map(|arg| form(arg)).collect())
        };
        Self {
            command: args.iter().map(|arg| lossy(arg)).collect(),
            command_raw: all(hex),
            command_bytes: all(base64),
        }
    }
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The bytes in hex if they are not UTF-8.
pub(super) fn raw(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| hex(bytes))
}

/// The bytes in base64 if they are not UTF-8.
pub(super) fn exact(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| base64(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

fn base64(bytes: &[u8]) -> String {
    let digit = |six: u32| {
        let six = u8::try_from(six & 63).unwrap_or(0);
        char::from(match six {
            0..=25 => b'A' + six,
            26..=51 => b'a' + (six - 26),
            52..=61 => b'0' + (six - 52),
            62 => b'+',
            _ => b'/',
        })
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            // One byte makes two digits, two make three.
            text.push(if index <= three.len() {
                digit(bits >> shift)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, exact};

    /// The examples of RFC 4648, section 10, and both digits that are no letters.
    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"fooba", "Zm9vYmE="),
            (b"foobar", "Zm9vYmFy"),
            (b"\xfb\xff\xfe\x00", "+//+AA=="),
        ] {
            assert_eq!(base64(bytes), text, "{bytes:?}");
        }
    }

    #[test]
    fn only_what_is_not_utf8_needs_it() {
        assert_eq!(exact("ä".as_bytes()), None);
        assert_eq!(exact(b"\xe4").as_deref(), Some("5A=="));
    }
}
