//! `/proc/PID/status` (`proc_pid_status(5)`).

/// The text of a `/proc/PID/status`.
///
/// ```
/// use memtrace::procfs::Status;
/// let status = Status::parse(b"Name:\t\xff\nRssAnon:\t     124 kB\n");
/// assert_eq!(status.bytes("RssAnon"), Some(124 * 1024));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    text: &'a [u8],
}

impl<'a> Status<'a> {
    /// Takes the text, which need not be UTF-8: the name of a process can be any bytes
    /// (the kernel escapes line ends and backslashes in it, `proc_task_name()`,
    /// `fs/proc/array.c`).
    #[must_use]
    pub const fn parse(text: &'a [u8]) -> Self {
        Self { text }
    }

    /// The value of the first line of this name, without the white space around it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.text.split(|&byte| byte == b'\n').find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
            Some(value.trim_ascii())
        })
    }

    /// A size, in bytes; the kernel writes it in kibibytes (`124 kB`).
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<u64> {
        let digits = self.field(name)?.strip_suffix(b" kB")?.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let kib: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        kib.checked_mul(1024)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::Status;

    /// As the kernel writes it, with a name that is meant to mislead.
    #[test]
    fn sizes_are_found_whatever_the_name() {
        let text = b"Name:\t\xffRssAnon:\\n\x1b\nUmask:\t0022\nRssAnon:\t     124 kB\nVmSwap:\t       0 kB\n";
        let status = Status::parse(text);
        assert_eq!(status.bytes("RssAnon"), Some(126_976));
        assert_eq!(status.bytes("VmSwap"), Some(0));
        assert_eq!(status.bytes("Umask"), None);
        assert_eq!(status.bytes("RssFile"), None);
    }

    /// What is no size is none.
    #[test]
    fn malformed_sizes_are_refused() {
        for text in [
            "kB",
            " kB",
            "- kB",
            "+1 kB",
            "1",
            "1 MB",
            "1 2 kB",
            "99999999999999999999 kB",
            "18446744073709551615 kB",
        ] {
            let line = format!("X:\t{text}\n");
            assert_eq!(Status::parse(line.as_bytes()).bytes("X"), None, "{text:?}");
        }
    }

    proptest! {
        /// Any bytes have an answer, and a size put among them is read back.
        #[test]
        fn any_bytes_have_an_answer(before in vec(any::<u8>(), 0..60), kib in 0..u64::MAX / 1024) {
            let mut text = before.clone();
            let _ = Status::parse(&text).bytes("X");
            text.extend(format!("\nRssAnon:\t{kib:8} kB\n").bytes());
            if !before.split(|&b| b == b'\n').any(|line| line.starts_with(b"RssAnon:")) {
                prop_assert_eq!(Status::parse(&text).bytes("RssAnon"), Some(kib * 1024));
            }
        }
    }
}
