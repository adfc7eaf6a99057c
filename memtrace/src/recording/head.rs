//! What is known before the command starts, as items.

use memtrace_ebpf::{Image, event};

use super::{
    items::{Parts, each_item, text},
    limit::{limit, put_limit},
    varint::{Malformed, put, zigzag},
};
use crate::model::Limit;

/// What is known before the command starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes per page.
    pub page_size: u64,
    /// Width of the timeline's windows, nanoseconds; 0: each change is recorded.
    pub width_ns: u64,
    /// When the recording was begun: `CLOCK_BOOTTIME` in nanoseconds.
    pub created_at: u64,
    /// What to add to `CLOCK_BOOTTIME` to get nanoseconds since 1970, as of then.
    pub realtime_offset_ns: i64,
    /// The command and its arguments as given to memtrace.
    pub command: Vec<Vec<u8>>,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The version of memtrace that recorded.
    pub memtrace: String,
    /// The tier in use.
    pub tier: String,
    /// What limits the result for as long as nothing better is known: that of a recording
    /// without an end.
    pub limits: Vec<Limit>,
    /// Kind and size in bytes of the records that the kernel side sent; for debugging only.
    pub record_sizes: Vec<(u32, u64)>,
}

impl Head {
    /// The sizes of this version's records.
    #[must_use]
    pub fn own_record_sizes() -> Vec<(u32, u64)> {
        [
            (event::FORK, size_of::<event::Fork>()),
            (event::EXEC, size_of::<event::Exec>()),
            (event::EXIT, size_of::<event::Exit>()),
            (event::FREED, size_of::<event::Freed>()),
            (event::IMAGE_END, size_of::<Image>()),
            (event::OOM, size_of::<event::Oom>()),
            (event::IMAGE_WINDOW, size_of::<memtrace_ebpf::ImageWindow>()),
            (event::TREE_WINDOW, size_of::<memtrace_ebpf::TreeWindow>()),
            (event::CHANGE, size_of::<memtrace_ebpf::Change>()),
            (event::SIZES_CHANGE, size_of::<memtrace_ebpf::SizesChange>()),
            (event::SEGMENTS, size_of::<memtrace_ebpf::SegmentsRecord>()),
            (
                event::SEGMENTS_CHANGE,
                size_of::<memtrace_ebpf::SegmentsChange>(),
            ),
            (event::CALL, size_of::<memtrace_ebpf::Call>()),
        ]
        .map(|(kind, size)| (kind, size as u64))
        .to_vec()
    }

    pub(super) fn parts(&self) -> Parts {
        let Self {
            page_size,
            width_ns,
            created_at,
            realtime_offset_ns,
            command,
            kernel,
            memtrace,
            tier,
            limits,
            record_sizes,
        } = self;
        let mut parts = Parts::default();
        parts.number(tag::PAGE_SIZE, *page_size);
        parts.number(tag::WIDTH, *width_ns);
        parts.number(tag::CREATED_AT, *created_at);
        parts.number(tag::REALTIME_OFFSET, zigzag(*realtime_offset_ns));
        parts.bytes(tag::KERNEL, kernel.as_bytes());
        parts.bytes(tag::MEMTRACE, memtrace.as_bytes());
        parts.bytes(tag::TIER, tier.as_bytes());
        for argument in command {
            parts.bytes(tag::ARGUMENT, argument);
        }
        for limit in limits {
            parts.item(tag::LIMIT, |body| put_limit(body, limit));
        }
        for (kind, size) in record_sizes {
            parts.item(tag::RECORD_SIZE, |body| {
                put(body, (*kind).into());
                put(body, *size);
            });
        }
        parts
    }

    pub(super) fn read(parts: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut head = Self::default();
        each_item(parts, |tag, mut body| {
            match tag {
                tag::PAGE_SIZE => head.page_size = body.number()?,
                tag::WIDTH => head.width_ns = body.number()?,
                tag::CREATED_AT => head.created_at = body.number()?,
                tag::REALTIME_OFFSET => head.realtime_offset_ns = body.signed()?,
                tag::KERNEL => head.kernel = text(body),
                tag::MEMTRACE => head.memtrace = text(body),
                tag::TIER => head.tier = text(body),
                tag::ARGUMENT => head.command.push(body.0.to_vec()),
                tag::LIMIT => head.limits.push(limit(body)?),
                tag::RECORD_SIZE => {
                    let kind = u32::try_from(body.number()?).map_err(|_| Malformed)?;
                    head.record_sizes.push((kind, body.number()?));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(head)
    }
}

/// Tags of a [`Head`].
mod tag {
    pub(super) const PAGE_SIZE: u64 = 1;
    pub(super) const WIDTH: u64 = 2;
    pub(super) const CREATED_AT: u64 = 3;
    pub(super) const REALTIME_OFFSET: u64 = 4;
    pub(super) const ARGUMENT: u64 = 5;
    pub(super) const KERNEL: u64 = 6;
    pub(super) const MEMTRACE: u64 = 7;
    pub(super) const TIER: u64 = 8;
    pub(super) const LIMIT: u64 = 9;
    pub(super) const RECORD_SIZE: u64 = 10;
}
