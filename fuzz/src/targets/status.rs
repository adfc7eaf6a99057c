//! `/proc/PID/status`, in which a process chooses its name: any bytes must give an answer or none.

use memtrace::procfs::Status;

/// Reads these bytes.
pub fn run(data: &[u8]) {
    let status = Status::parse(data);
    for name in ["Name", "RssAnon", "VmSwap", ""] {
        let Some(value) = status.field(name) else {
            assert_eq!(status.bytes(name), None, "a size without a line");
            continue;
        };
        assert!(!value.contains(&b'\n'), "a value of more than one line");
        if let Some(bytes) = status.bytes(name) {
            assert_eq!(bytes % 1024, 0);
            let text = String::from_utf8_lossy(value);
            let digits = text.split_whitespace().next().unwrap_or_default();
            assert_eq!(digits.parse::<u64>().ok(), Some(bytes / 1024), "{text}");
        }
    }
}
