//! What limits a result, in bytes.

use super::{
    items::text,
    varint::{Bytes, Malformed, put, put_bytes},
};
use crate::model::Limit;

/// 0 for no bound, or 1 and the bound; then the reason.
pub(super) fn put_limit(body: &mut Vec<u8>, limit: &Limit) {
    let Limit {
        reason,
        bound_bytes,
    } = limit;
    match bound_bytes {
        None => body.push(0),
        Some(bytes) => {
            body.push(1);
            put(body, *bytes);
        }
    }
    put_bytes(body, reason.as_bytes());
}

pub(super) fn limit(mut body: Bytes<'_>) -> Result<Limit, Malformed> {
    let bound_bytes = match body.number()? {
        0 => None,
        1 => Some(body.number()?),
        _ => return Err(Malformed),
    };
    Ok(Limit {
        reason: text(Bytes(body.bytes()?)),
        bound_bytes,
    })
}
