//! What the command's own cgroup told, as an item.

use super::{
    items::Parts,
    state::end,
    varint::{Bytes, Malformed, put, put_bytes},
};
use crate::model::OwnCgroup;

const REMAINS: u64 = 1;

pub(super) fn put_own_cgroup(parts: &mut Parts, told: &OwnCgroup) {
    let mut told = told.clone();
    let flags = if told.remains { REMAINS } else { 0 };
    parts.item(end::OWN_CGROUP, |body| {
        put_bytes(body, &told.path);
        put(body, flags);
        let numbers = told.numbers();
        let known = numbers.iter().rev();
        put(
            body,
            known.fold(0, |mask, number| mask << 1 | u64::from(number.is_some())),
        );
        for number in numbers.into_iter().filter_map(|number| *number) {
            put(body, number);
        }
    });
}

/// Numbers that a newer memtrace added come last, and are left out.
pub(super) fn own_cgroup(mut body: Bytes<'_>) -> Result<OwnCgroup, Malformed> {
    let mut told = OwnCgroup {
        path: body.bytes()?.to_vec(),
        remains: body.number()? & REMAINS != 0,
        ..OwnCgroup::default()
    };
    let known = body.number()?;
    for (bit, number) in told.numbers().into_iter().enumerate() {
        if known >> bit & 1 != 0 {
            *number = Some(body.number()?);
        }
    }
    Ok(told)
}
