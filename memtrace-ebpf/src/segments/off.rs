//! Segments are not told apart: on the host, and in the object for most runs.

pub(crate) const fn are_on() -> bool {
    false
}

pub(crate) const fn from_functions() -> bool {
    false
}

pub(crate) const fn changed(_mm: u64, _member: u32, _peak: bool, _at: u64) {}

pub(crate) const fn settled(_mm: u64, _peak: bool, _at: u64) {}

pub(crate) const fn segments_end(_mm: u64, _at: u64) -> u64 {
    0
}

pub(crate) const fn segments_moment(_mm: u64, _at: u64) -> u64 {
    0
}

pub(crate) const fn segments_forked(_mm: u64, _parent: u64) -> u64 {
    0
}

pub(crate) const fn found(_mm: u64) {}

pub(crate) const fn found_lent(_mm: u64) {}

pub(crate) const fn look_again(_mm: u64) {}

#[cfg(not(test))]
pub(crate) const fn lent(_flags: u64) {}

#[cfg(not(test))]
pub(crate) mod context {
    pub(crate) const fn executed() {}
}
