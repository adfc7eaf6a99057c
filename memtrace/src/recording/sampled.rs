//! What a result from samples is worth, as items.

use std::collections::BTreeMap;

use super::{
    items::{Parts, text},
    state::end,
    varint::{Bytes, Malformed, put, put_bytes},
};
use crate::model::{PeakRange, Sampled, Verdict};

const INCOMPLETE: u64 = 0;
const WITHIN: u64 = 1;
const EXACT: u64 = 2;

pub(super) fn put_sampled(parts: &mut Parts, sampled: &Sampled) {
    let Sampled {
        verdict,
        range,
        images,
        reasons,
        remarks,
    } = sampled;
    parts.item(end::SAMPLED, |body| {
        match verdict {
            Verdict::Incomplete => put(body, INCOMPLETE),
            Verdict::Within(bytes) => {
                put(body, WITHIN);
                put(body, *bytes);
            }
            Verdict::Exact => put(body, EXACT),
        }
        put(body, range.is_some().into());
        if let Some(range) = range {
            put_range(body, *range);
        }
        for texts in [reasons, remarks] {
            put(body, texts.len() as u64);
            for text in texts {
                put_bytes(body, text.as_bytes());
            }
        }
    });
    for (id, range) in images {
        parts.item(end::SAMPLED_IMAGE, |body| {
            put(body, *id);
            put_range(body, *range);
        });
    }
}

fn put_range(body: &mut Vec<u8>, PeakRange { low, high }: PeakRange) {
    put(body, low);
    put(body, high.is_some().into());
    if let Some(high) = high {
        put(body, high);
    }
}

/// All but what it says of images, which is in items of their own.
pub(super) fn sampled(mut body: Bytes<'_>) -> Result<Sampled, Malformed> {
    let verdict = match body.number()? {
        INCOMPLETE => Verdict::Incomplete,
        WITHIN => Verdict::Within(body.number()?),
        EXACT => Verdict::Exact,
        _ => return Err(Malformed),
    };
    let range = match body.number()? {
        0 => None,
        _ => Some(range(&mut body)?),
    };
    Ok(Sampled {
        verdict,
        range,
        images: BTreeMap::new(),
        reasons: texts(&mut body)?,
        remarks: texts(&mut body)?,
    })
}

/// What it says of one image.
pub(super) fn sampled_image(mut body: Bytes<'_>) -> Result<(u64, PeakRange), Malformed> {
    Ok((body.number()?, range(&mut body)?))
}

fn range(body: &mut Bytes<'_>) -> Result<PeakRange, Malformed> {
    let low = body.number()?;
    let high = match body.number()? {
        0 => None,
        _ => Some(body.number()?),
    };
    Ok(PeakRange { low, high })
}

fn texts(body: &mut Bytes<'_>) -> Result<Vec<String>, Malformed> {
    let mut texts = Vec::new();
    // Each takes a byte at least, so no number asks for more than the file holds.
    for _ in 0..body.number()? {
        texts.push(text(Bytes(body.bytes()?)));
    }
    Ok(texts)
}
