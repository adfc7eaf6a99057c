//! From the kernel's units to those of the result.

use memtrace_ebpf::{Member, Pages, SIZES, Size};

use super::{ImageSpan, SegmentsMoment, Sizes, TreeSpan};
use crate::model::{Amounts, measured::signed_bytes};

/// A number of pages; below 0 counts as nothing.
pub(super) const fn pages(value: i64) -> u64 {
    if value > 0 { value.unsigned_abs() } else { 0 }
}

/// Members by name, still in pages.
pub(super) const fn amounts(members: &Pages) -> Amounts {
    Amounts {
        anon: pages(members[Member::Anon as usize]),
        file: pages(members[Member::File as usize]),
        shmem: pages(members[Member::Shmem as usize]),
        swap: pages(members[Member::Swap as usize]),
    }
}

/// Sizes by name, still in the units of each.
pub(super) const fn sizes(raw: &[u64; SIZES]) -> Sizes {
    Sizes {
        total: raw[Size::Total as usize],
        data: raw[Size::Data as usize],
        stack: raw[Size::Stack as usize],
        exec: raw[Size::Exec as usize],
        heap: raw[Size::Heap as usize],
        page_tables: raw[Size::PageTables as usize],
        locked: raw[Size::Locked as usize],
    }
}

/// What turns pages into bytes and boot time into time since the tree's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    pub(super) zero: u64,
    pub(super) page_size: u64,
}

impl Units {
    pub(super) const fn ns(self, at: u64) -> u64 {
        at.saturating_sub(self.zero)
    }

    const fn bytes(self, pages: u64) -> u64 {
        pages.saturating_mul(self.page_size)
    }

    const fn amounts(self, pages: Amounts) -> Amounts {
        Amounts {
            anon: self.bytes(pages.anon),
            file: self.bytes(pages.file),
            shmem: self.bytes(pages.shmem),
            swap: self.bytes(pages.swap),
        }
    }

    pub(super) fn segments(self, moment: &SegmentsMoment) -> SegmentsMoment {
        SegmentsMoment {
            at_ns: self.ns(moment.at_ns),
            resident: moment
                .resident
                .map(|pages| signed_bytes(pages, self.page_size)),
        }
    }

    pub(super) const fn tree(self, span: TreeSpan) -> TreeSpan {
        TreeSpan {
            start_ns: self.ns(span.start_ns),
            min_rss: self.bytes(span.min_rss),
            max_rss: self.bytes(span.max_rss),
            max_at_ns: self.ns(span.max_at_ns),
            at_max: self.amounts(span.at_max),
            last: self.amounts(span.last),
            shared: self.bytes(span.shared),
        }
    }

    pub(super) const fn image(self, span: ImageSpan) -> ImageSpan {
        ImageSpan {
            start_ns: self.ns(span.start_ns),
            min_rss: self.bytes(span.min_rss),
            max_rss: self.bytes(span.max_rss),
            max_at_ns: self.ns(span.max_at_ns),
            max: self.amounts(span.max),
            last: self.amounts(span.last),
            at_tree_max: self.amounts(span.at_tree_max),
            sizes: Sizes {
                total: self.bytes(span.sizes.total),
                data: self.bytes(span.sizes.data),
                stack: self.bytes(span.sizes.stack),
                exec: self.bytes(span.sizes.exec),
                heap: span.sizes.heap,
                page_tables: span.sizes.page_tables,
                locked: self.bytes(span.sizes.locked),
            },
        }
    }
}
