//! Calls that change mappings, one line each, as strace writes them.

use std::io;

use memtrace_ebpf::CallKind;

use super::{escape::escape, units::grouped};
use crate::{model::Summary, recording::CallRecord};

/// Writes the line above all others.
///
/// # Errors
///
/// Those of the writer.
pub fn head(out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>14}  {:>7}  {:>15}  {:>10}  call",
        "time", "tid", "RSS, bytes", "took, us"
    )
}

/// Writes one call.
///
/// # Errors
///
/// Those of the writer.
pub fn line(call: &CallRecord, summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    let image = summary.images.get(call.image);
    let name = image.map_or_else(String::new, |image| escape(image.program.name()));
    let change = match call.rss_change {
        0 => "0".to_owned(),
        more if more > 0 => format!("+{}", grouped(more.unsigned_abs())),
        less => format!("-{}", grouped(less.unsigned_abs())),
    };
    writeln!(
        out,
        "{:>14}  {:>7}  {change:>15}  {:>10.1}  {} [{name}]",
        format!(
            "+{}.{:06} s",
            call.at_ns / 1_000_000_000,
            call.at_ns / 1000 % 1_000_000
        ),
        call.tid,
        micros(call.duration_ns),
        text(call),
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "shown with one digit behind the point"
)]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// The call with its arguments and its result.
#[must_use]
pub fn text(call: &CallRecord) -> String {
    let CallRecord {
        kind,
        address,
        len,
        argument,
        flags,
        result,
        ..
    } = *call;
    let done = done(kind, result);
    match kind {
        CallKind::Brk => {
            let from = i128::from(result) - i128::from(len);
            format!("brk({address:#x}) = {done} ({from:+})")
        }
        CallKind::Mmap => format!(
            "mmap({address:#x}, {len}, {}, {}) = {done}",
            protection(argument),
            map_flags(flags)
        ),
        CallKind::Munmap => format!("munmap({address:#x}, {len}) = {done}"),
        CallKind::Mremap => {
            format!("mremap({address:#x}, {len}, {argument}, {flags:#x}) = {done}")
        }
        CallKind::Mprotect => {
            format!(
                "mprotect({address:#x}, {len}, {}) = {done}",
                protection(argument)
            )
        }
        CallKind::Madvise => {
            format!(
                "madvise({address:#x}, {len}, {}) = {done}",
                advice(argument)
            )
        }
        CallKind::MajorFault => format!("major fault at {address:#x}"),
    }
}

/// A result: an address, 0 or an error.
fn done(kind: CallKind, result: i64) -> String {
    // The kernel's errors (IS_ERR_VALUE(), include/linux/err.h).
    if (-4095..0).contains(&result) {
        let number = i32::try_from(-result).unwrap_or(0);
        let error = io::Error::from_raw_os_error(number);
        return format!("-1 ({error})");
    }
    match kind {
        CallKind::Brk | CallKind::Mmap | CallKind::Mremap => format!("{result:#x}"),
        _ => result.to_string(),
    }
}

fn protection(bits: u64) -> String {
    const NAMES: [(u64, &str); 3] = [(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")];
    if bits == 0 {
        return "PROT_NONE".to_owned();
    }
    names(bits, &NAMES)
}

fn map_flags(bits: u64) -> String {
    const NAMES: [(u64, &str); 10] = [
        (0x10, "MAP_FIXED"),
        (0x20, "MAP_ANONYMOUS"),
        (0x100, "MAP_GROWSDOWN"),
        (0x800, "MAP_DENYWRITE"),
        (0x2000, "MAP_LOCKED"),
        (0x4000, "MAP_NORESERVE"),
        (0x8000, "MAP_POPULATE"),
        (0x2_0000, "MAP_STACK"),
        (0x4_0000, "MAP_HUGETLB"),
        (0x10_0000, "MAP_FIXED_NOREPLACE"),
    ];
    let kind = match bits & 0xf {
        1 => "MAP_SHARED",
        2 => "MAP_PRIVATE",
        3 => "MAP_SHARED_VALIDATE",
        _ => "0",
    };
    match bits & !0xf {
        0 => kind.to_owned(),
        rest => format!("{kind}|{}", names(rest, &NAMES)),
    }
}

/// Names of bits, and what is left as a number.
fn names(bits: u64, known: &[(u64, &str)]) -> String {
    let mut left = bits;
    let mut parts: Vec<String> = Vec::new();
    for (bit, name) in known {
        if bits & bit != 0 {
            parts.push((*name).to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        parts.push(format!("{left:#x}"));
    }
    parts.join("|")
}

fn advice(number: u64) -> String {
    const NAMES: [(u64, &str); 16] = [
        (0, "MADV_NORMAL"),
        (1, "MADV_RANDOM"),
        (2, "MADV_SEQUENTIAL"),
        (3, "MADV_WILLNEED"),
        (4, "MADV_DONTNEED"),
        (8, "MADV_FREE"),
        (9, "MADV_REMOVE"),
        (12, "MADV_MERGEABLE"),
        (14, "MADV_HUGEPAGE"),
        (15, "MADV_NOHUGEPAGE"),
        (16, "MADV_DONTDUMP"),
        (20, "MADV_COLD"),
        (21, "MADV_PAGEOUT"),
        (22, "MADV_POPULATE_READ"),
        (23, "MADV_POPULATE_WRITE"),
        (25, "MADV_COLLAPSE"),
    ];
    let found = NAMES.iter().find(|(known, _)| *known == number);
    found.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use memtrace_ebpf::CallKind;

    use super::{CallRecord, text};

    #[test]
    fn calls_read_as_strace_writes_them() {
        let call = |kind, address, len, argument, flags, result| CallRecord {
            image: 0,
            tid: 1,
            kind,
            at_ns: 0,
            duration_ns: 0,
            address,
            len,
            argument,
            flags,
            result,
            rss_change: 0,
        };
        for (call, expected) in [
            (
                call(CallKind::Mmap, 0, 8192, 3, 0x22, 0x7f00_0000_0000),
                "mmap(0x0, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS) = 0x7f0000000000",
            ),
            (
                call(CallKind::Mmap, 0x1000, 1, 0, 0x8000_0012, -12),
                "mmap(0x1000, 1, PROT_NONE, MAP_PRIVATE|MAP_FIXED|0x80000000) = -1 (Cannot allocate memory (os error 12))",
            ),
            (
                call(CallKind::Brk, 0x3000, 0x1000, 0, 0, 0x3000),
                "brk(0x3000) = 0x3000 (+8192)",
            ),
            (
                call(CallKind::Brk, 0, 0x1000, 0, 0, 0x1000),
                "brk(0x0) = 0x1000 (+0)",
            ),
            (
                call(CallKind::Munmap, 0x1000, 4096, 0, 0, 0),
                "munmap(0x1000, 4096) = 0",
            ),
            (
                call(CallKind::Mremap, 0x1000, 4096, 8192, 1, 0x5000),
                "mremap(0x1000, 4096, 8192, 0x1) = 0x5000",
            ),
            (
                call(CallKind::Mprotect, 0x1000, 4096, 5, 0, 0),
                "mprotect(0x1000, 4096, PROT_READ|PROT_EXEC) = 0",
            ),
            (
                call(CallKind::Madvise, 0x1000, 4096, 4, 0, 0),
                "madvise(0x1000, 4096, MADV_DONTNEED) = 0",
            ),
            (
                call(CallKind::Madvise, 0x1000, 4096, 99, 0, -22),
                "madvise(0x1000, 4096, 99) = -1 (Invalid argument (os error 22))",
            ),
            (
                call(CallKind::MajorFault, 0xabc, 0, 0, 0, 1),
                "major fault at 0xabc",
            ),
        ] {
            assert_eq!(text(&call), expected);
        }
    }
}
