//! Bytes of the kernel as text, and as hex where that would lose anything.

use serde::Serialize;

/// A list of strings and, where that loses anything, their bytes.
#[derive(Serialize)]
pub(super) struct Strings {
    command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_raw: Option<Vec<String>>,
}

impl Strings {
    pub(super) fn new(args: &[Vec<u8>]) -> Self {
        let lossless = args.iter().all(|arg| std::str::from_utf8(arg).is_ok());
        Self {
            command: args.iter().map(|arg| lossy(arg)).collect(),
            command_raw: (!lossless).then(|| args.iter().map(|arg| hex(arg)).collect()),
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

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('?');
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}
