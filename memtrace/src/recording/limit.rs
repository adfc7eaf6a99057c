//! What limits a result, in bytes.

use super::{
    items::text,
    varint::{Bytes, Malformed, put, put_bytes},
};
use crate::model::{Limit, Limited};

const RSS_SWAP: u8 = 1;

/// 0 for no bound, or 1 and the bound; then the reason; then what it limits unless that is RSS, which
/// a reader that does not know it takes it for.
pub(super) fn put_limit(body: &mut Vec<u8>, limit: &Limit) {
    let Limit {
        reason,
        bound_bytes,
        of,
    } = limit;
    match bound_bytes {
        None => body.push(0),
        Some(bytes) => {
            body.push(1);
            put(body, *bytes);
        }
    }
    put_bytes(body, reason.as_bytes());
    match of {
        Limited::Rss => {}
        Limited::RssSwap => body.push(RSS_SWAP),
    }
}

pub(super) fn limit(mut body: Bytes<'_>) -> Result<Limit, Malformed> {
    let bound_bytes = match body.number()? {
        0 => None,
        1 => Some(body.number()?),
        _ => return Err(Malformed),
    };
    let reason = text(Bytes(body.bytes()?));
    let of = if !body.is_empty() && body.number()? == u64::from(RSS_SWAP) {
        Limited::RssSwap
    } else {
        Limited::Rss
    };
    Ok(Limit {
        reason,
        bound_bytes,
        of,
    })
}
