//! The layout of a classic tracepoint's record, from tracefs. Needed only where the
//! counters' own layout is unknown.

use std::{fs, path::PathBuf};

use super::{Access, KernelError};

/// The offset of `size` in the record of `kmem:rss_stat`.
///
/// # Errors
///
/// When tracefs is not mounted or the record has no such field of eight bytes.
pub fn rss_stat_size() -> Result<u32, KernelError> {
    let root = Access::of_this_process()
        .tracefs
        .ok_or(KernelError::NoTracefs)?;
    let path: PathBuf = root.join("events/kmem/rss_stat/format");
    let text = fs::read_to_string(&path).map_err(|source| KernelError::Read {
        path: path.clone(),
        source,
    })?;
    size_offset(&text).ok_or(KernelError::RecordFormat { path })
}

/// Finds the line `field:long size; offset:24; size:8; signed:1;` (with tabs between; as
/// `trace_print_entry_header()`, `kernel/trace/trace_events.c`, writes them).
fn size_offset(format: &str) -> Option<u32> {
    let line = format.lines().find(|line| {
        line.split(';')
            .next()
            .is_some_and(|field| field.trim().starts_with("field:") && field.ends_with(" size"))
    })?;
    let value = |name: &str| -> Option<u32> {
        line.split(';')
            .find_map(|part| part.trim().strip_prefix(name))?
            .trim()
            .parse()
            .ok()
    };
    (value("size:")? == 8).then(|| value("offset:")).flatten()
}

#[cfg(test)]
mod tests {
    use super::size_offset;

    /// The file as 6.18 has it.
    #[test]
    fn the_offset_of_size_is_found() {
        let format = "name: rss_stat\nID: 500\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
            \tfield:unsigned int mm_id;\toffset:8;\tsize:4;\tsigned:0;\n\
            \tfield:unsigned int curr;\toffset:12;\tsize:4;\tsigned:0;\n\
            \tfield:int member;\toffset:16;\tsize:4;\tsigned:1;\n\
            \tfield:long size;\toffset:24;\tsize:8;\tsigned:1;\n\n\
            print fmt: \"mm_id=%u\", REC->mm_id\n";
        assert_eq!(size_offset(format), Some(24));
    }

    /// A 32-bit size, or none, is refused rather than misread.
    #[test]
    fn other_records_are_refused() {
        assert_eq!(
            size_offset("\tfield:long size;\toffset:20;\tsize:4;\tsigned:1;"),
            None
        );
        assert_eq!(
            size_offset("\tfield:long resize;\toffset:24;\tsize:8;\tsigned:1;"),
            None
        );
        assert_eq!(size_offset("\tfield:long size;\toffset:x;\tsize:8;"), None);
        assert_eq!(size_offset(""), None);
    }
}
