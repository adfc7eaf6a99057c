//! Which types have a certain name: a hash table without allocation per entry.

/// How many bytes of a name are hashed. A limit keeps the index linear in the number of
/// types even if all of them point at one huge string.
const HASHED: usize = 40;

/// A chained hash table: `heads` has the last entry of each bucket, `next` the one before.
#[derive(Debug)]
pub(super) struct Names {
    heads: Vec<u32>,
    /// (type, index + 1 of the next entry of the bucket, 0 at its end).
    entries: Vec<(u32, u32)>,
}

impl Names {
    /// Indexes `(type, offset of its name)` pairs.
    pub(super) fn new(named: Vec<(u32, u32)>, strings: &[u8]) -> Self {
        let buckets = named.len().next_power_of_two();
        let mut heads = vec![0_u32; buckets];
        // In place: the offset of a name is not needed any more once it is hashed.
        let mut entries = named;
        for (index, (_, place)) in entries.iter_mut().enumerate() {
            let bytes = strings.get(*place as usize..).unwrap_or_default();
            if let Some(head) = heads.get_mut(hash(bytes) & (buckets - 1)) {
                *place = std::mem::replace(head, index as u32 + 1);
            }
        }
        Self { heads, entries }
    }

    /// Types that may have this name, in descending order.
    pub(super) fn candidates(&self, name: &str) -> impl Iterator<Item = u32> {
        let bucket = hash(name.as_bytes()) & (self.heads.len() - 1);
        let mut at = self.heads.get(bucket).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let &(id, next) = self.entries.get((at as usize).checked_sub(1)?)?;
            at = next;
            Some(id)
        })
    }
}

/// FNV-1a over the bytes up to the first NUL.
fn hash(bytes: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    for byte in bytes.iter().take(HASHED).take_while(|byte| **byte != 0) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    // The low bits choose the bucket; the high ones are mixed better.
    (hash ^ (hash >> 15)) as usize
}

/// Whether the NUL-terminated string at `offset` is `name`.
pub(super) fn is(strings: &[u8], offset: u32, name: &[u8]) -> bool {
    strings
        .get(offset as usize..)
        .and_then(|rest| rest.strip_prefix(name))
        .is_some_and(|rest| rest.first() == Some(&0))
}
