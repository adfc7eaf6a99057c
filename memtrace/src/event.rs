//! What the kernel side tells: one [`Event`] per record of the ring buffer.
//!
//! Bytes become typed values here and nowhere else, for records that come from
//! the ring as well as for records read back from a file. [`Event::decode`] is
//! total: any bytes give an event or an error. [`Event::bytes`] is its inverse.

use std::fmt;

use memtrace_ebpf::{
    Call, Change, Image, ImageWindow, SegmentsChange, SegmentsRecord, SizesChange, TreeWindow,
    event::{
        CALL, CHANGE, EXEC, EXIT, Exec, Exit, FORK, FREED, Fork, Freed, Header, IMAGE_END,
        IMAGE_WINDOW, OOM, Oom, SEGMENTS, SEGMENTS_CHANGE, SIZES_CHANGE, TREE_WINDOW,
    },
};

/// One record of the kernel side.
///
/// Records of different CPUs may arrive slightly out of order; compare
/// [`Event::at`] where order matters.
#[derive(Clone, Debug)]
pub enum Event {
    /// A process was created, or the root registered itself.
    Fork(Fork),
    /// A process runs a new program.
    Exec(Box<Exec>),
    /// All threads of a process have begun to exit.
    Exit(Exit),
    /// The kernel has let go of a process that ended.
    Freed(Freed),
    /// An address space ended; its final numbers.
    ImageEnd(Box<Image>),
    /// The OOM killer chose a process.
    Oom(Oom),
    /// What an image held in one window of the timeline.
    ImageWindow(Box<ImageWindow>),
    /// What the tree held in one window of the timeline.
    TreeWindow(Box<TreeWindow>),
    /// One counter of one image changed, where the timeline has each change.
    Change(Change),
    /// Virtual sizes of an image changed, where the timeline has each change.
    SizesChange(Box<SizesChange>),
    /// Segments of an address space that ended.
    Segments(Box<SegmentsRecord>),
    /// What the segments of an image hold, where the timeline has them.
    SegmentsChange(Box<SegmentsChange>),
    /// A system call that changes mappings, or a major page fault.
    Call(Box<Call>),
}

/// Why bytes are not an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not even a header.
    #[error("a record of {len} bytes is shorter than its {}-byte header", size_of::<Header>())]
    TooShort {
        /// Length of the record.
        len: usize,
    },
    /// A kind that this version does not know.
    #[error(
        "unknown record kind {kind}: the records were written by another version of memtrace, read them with that one"
    )]
    UnknownKind {
        /// The header's kind.
        kind: u32,
    },
    /// The kind is known, but its records have another length.
    #[error(
        "a record of kind {kind} has {len} bytes instead of {expected}: it was cut, or written by another version of memtrace"
    )]
    WrongLength {
        /// The header's kind.
        kind: u32,
        /// Length of the record.
        len: usize,
        /// Length of records of this kind.
        expected: usize,
    },
}

mod sealed {
    use super::{
        Call, Change, Exec, Exit, Fork, Freed, Header, Image, ImageWindow, Oom, SegmentsChange,
        SegmentsRecord, SizesChange, TreeWindow,
    };

    /// Types that are valid for any bytes and have no padding.
    ///
    /// # Safety
    ///
    /// Implement it only for `repr(C)` types for which both hold.
    pub(super) unsafe trait Plain: Copy {}

    // SAFETY: `repr(C)` integers and arrays of them; the sizes asserted beside the
    // definitions equal the sums of the fields, so there is no padding.
    unsafe impl Plain for Header {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for Fork {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for Exec {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for Exit {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for Freed {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for Oom {}
    // SAFETY: `repr(C)` integers and arrays of them; `u32`s come in pairs and the
    // `u16` array fills whole words (stated beside its definition), so no padding.
    unsafe impl Plain for Image {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for ImageWindow {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for TreeWindow {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for Change {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for SizesChange {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for SegmentsRecord {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for SegmentsChange {}
    // SAFETY: as for `Header`.
    unsafe impl Plain for Call {}
}

use sealed::Plain;

/// Reads a `T` from the start of `bytes`, or nothing if they are too few.
fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the slice holds at least `size_of::<T>()` initialised bytes, any
    // bytes are a valid `T` (`Plain`), and the read does not assume alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes of `value`.
fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: the pointer is valid for `size_of::<T>()` bytes for as long as the
    // borrow lasts, and all of them are initialised (`Plain`: no padding).
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

/// Reads a record that must be exactly one `T`.
fn exactly<T: Plain>(kind: u32, bytes: &[u8]) -> Result<T, DecodeError> {
    let expected = size_of::<T>();
    let wrong = DecodeError::WrongLength {
        kind,
        len: bytes.len(),
        expected,
    };
    if bytes.len() != expected {
        return Err(wrong);
    }
    read(bytes).ok_or(wrong)
}

impl Event {
    /// The event in one record.
    ///
    /// # Errors
    ///
    /// If `bytes` are no record of this version. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Header = read(bytes).ok_or(DecodeError::TooShort { len: bytes.len() })?;
        let kind = header.kind;
        match kind {
            FORK => exactly(kind, bytes).map(Self::Fork),
            EXEC => exactly(kind, bytes).map(|exec| Self::Exec(Box::new(exec))),
            EXIT => exactly(kind, bytes).map(Self::Exit),
            FREED => exactly(kind, bytes).map(Self::Freed),
            IMAGE_END => exactly(kind, bytes).map(|image| Self::ImageEnd(Box::new(image))),
            OOM => exactly(kind, bytes).map(Self::Oom),
            IMAGE_WINDOW => exactly(kind, bytes).map(|window| Self::ImageWindow(Box::new(window))),
            TREE_WINDOW => exactly(kind, bytes).map(|window| Self::TreeWindow(Box::new(window))),
            CHANGE => exactly(kind, bytes).map(Self::Change),
            SIZES_CHANGE => exactly(kind, bytes).map(|change| Self::SizesChange(Box::new(change))),
            CALL => exactly(kind, bytes).map(|call| Self::Call(Box::new(call))),
            SEGMENTS_CHANGE => {
                exactly(kind, bytes).map(|change| Self::SegmentsChange(Box::new(change)))
            }
            SEGMENTS => exactly(kind, bytes).map(|segments| Self::Segments(Box::new(segments))),
            kind => Err(DecodeError::UnknownKind { kind }),
        }
    }

    /// The record as the kernel side wrote it: what [`Event::decode`] takes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Fork(fork) => bytes_of(fork),
            Self::Exec(exec) => bytes_of(exec.as_ref()),
            Self::Exit(exit) => bytes_of(exit),
            Self::Freed(freed) => bytes_of(freed),
            Self::ImageEnd(image) => bytes_of(image.as_ref()),
            Self::Oom(oom) => bytes_of(oom),
            Self::ImageWindow(window) => bytes_of(window.as_ref()),
            Self::TreeWindow(window) => bytes_of(window.as_ref()),
            Self::Change(change) => bytes_of(change),
            Self::SizesChange(change) => bytes_of(change.as_ref()),
            Self::Segments(segments) => bytes_of(segments.as_ref()),
            Self::SegmentsChange(change) => bytes_of(change.as_ref()),
            Self::Call(call) => bytes_of(call.as_ref()),
        }
    }

    /// The record's header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        match self {
            Self::Fork(fork) => &fork.header,
            Self::Exec(exec) => &exec.header,
            Self::Exit(exit) => &exit.header,
            Self::Freed(freed) => &freed.header,
            Self::ImageEnd(image) => &image.header,
            Self::Oom(oom) => &oom.header,
            Self::ImageWindow(window) => &window.header,
            Self::TreeWindow(window) => &window.header,
            Self::Change(change) => &change.header,
            Self::SizesChange(change) => &change.header,
            Self::Segments(segments) => &segments.header,
            Self::SegmentsChange(change) => &change.header,
            Self::Call(call) => &call.header,
        }
    }

    /// When it happened: `CLOCK_BOOTTIME`, nanoseconds.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.header().at
    }
}

impl fmt::Display for Event {
    /// One line for debug logs; numbers only, so that it needs no escaping.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at();
        match self {
            Self::Fork(e) => {
                write!(
                    f,
                    "{at} fork pid={} creator={} image={}",
                    e.tgid, e.creator, e.image
                )
            }
            Self::Exec(e) => {
                write!(
                    f,
                    "{at} exec pid={} image={} old_image={}",
                    e.tgid, e.image, e.old_image
                )
            }
            Self::Exit(e) => write!(f, "{at} exit pid={} status={:#x}", e.tgid, e.wait_status),
            Self::Freed(e) => write!(f, "{at} freed process={} runtime={}", e.process, e.runtime),
            Self::ImageEnd(e) => {
                write!(
                    f,
                    "{at} image-end image={} pid={} peak_rss={}",
                    e.id, e.tgid, e.peak_rss
                )
            }
            Self::Oom(e) => write!(f, "{at} oom pid={}", e.tgid),
            Self::ImageWindow(e) => {
                write!(
                    f,
                    "{at} image-window image={} start={} max_rss={}",
                    e.image, e.start, e.max_rss
                )
            }
            Self::TreeWindow(e) => {
                write!(
                    f,
                    "{at} tree-window start={} max_rss={}",
                    e.start, e.max_rss
                )
            }
            Self::Change(e) => {
                write!(
                    f,
                    "{at} change image={} kind={} member={} value={}",
                    e.image, e.kind, e.member, e.value
                )
            }
            Self::SizesChange(e) => {
                write!(
                    f,
                    "{at} sizes-change image={} total={}",
                    e.image, e.sizes[0]
                )
            }
            Self::Call(e) => write!(f, "{at} call image={} kind={}", e.image, e.kind),
            Self::SegmentsChange(e) => write!(f, "{at} segments-change image={}", e.image),
            Self::Segments(e) => {
                write!(f, "{at} segments image={} untold={}", e.image, e.untold)
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SIZES: [(u32, usize); 13] = [
        (FORK, size_of::<Fork>()),
        (EXEC, size_of::<Exec>()),
        (EXIT, size_of::<Exit>()),
        (FREED, size_of::<Freed>()),
        (IMAGE_END, size_of::<Image>()),
        (OOM, size_of::<Oom>()),
        (IMAGE_WINDOW, size_of::<ImageWindow>()),
        (TREE_WINDOW, size_of::<TreeWindow>()),
        (CHANGE, size_of::<Change>()),
        (SIZES_CHANGE, size_of::<SizesChange>()),
        (SEGMENTS, size_of::<SegmentsRecord>()),
        (SEGMENTS_CHANGE, size_of::<SegmentsChange>()),
        (CALL, size_of::<Call>()),
    ];

    /// Arbitrary bytes with a header of a known kind and exactly its length.
    fn record() -> impl Strategy<Value = Vec<u8>> {
        (0..SIZES.len()).prop_flat_map(|i| {
            let (kind, size) = SIZES[i];
            vec(any::<u8>(), size).prop_map(move |mut bytes| {
                bytes[..4].copy_from_slice(&kind.to_ne_bytes());
                bytes
            })
        })
    }

    proptest! {
        /// No input makes the decoder panic, and only known kinds decode.
        #[test]
        fn any_bytes_decode_or_fail(bytes in vec(any::<u8>(), 0..2000)) {
            if let Ok(event) = Event::decode(&bytes) {
                prop_assert_eq!(event.bytes(), &bytes[..]);
            }
        }

        /// What was decoded is written back byte for byte.
        #[test]
        fn records_round_trip(bytes in record()) {
            let event = Event::decode(&bytes).unwrap();
            prop_assert_eq!(event.bytes(), &bytes[..]);
            prop_assert_eq!(event.at(), u64::from_ne_bytes(bytes[8..16].try_into().unwrap()));
        }

        /// A record that lost or gained bytes is refused, wherever it lies in memory.
        #[test]
        fn wrong_lengths_are_refused(bytes in record(), cut in 1_usize..64, grow in any::<bool>()) {
            let mut bytes = bytes;
            let kind = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
            let expected = bytes.len();
            if grow {
                bytes.resize(expected + cut, 0);
            } else {
                bytes.truncate(expected.saturating_sub(cut));
            }
            let wanted = if bytes.len() < size_of::<Header>() {
                DecodeError::TooShort { len: bytes.len() }
            } else {
                DecodeError::WrongLength { kind, len: bytes.len(), expected }
            };
            prop_assert_eq!(Event::decode(&bytes).unwrap_err(), wanted);
        }

        /// Alignment of the source does not matter.
        #[test]
        fn unaligned_records_decode(bytes in record(), shift in 1_usize..8) {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&bytes);
            let event = Event::decode(&shifted[shift..]).unwrap();
            prop_assert_eq!(event.bytes(), &bytes[..]);
        }
    }

    /// Kinds from the future are named, not guessed.
    #[test]
    fn unknown_kinds_are_refused() {
        let mut bytes = [0_u8; 24];
        bytes[0] = 99;
        assert_eq!(
            Event::decode(&bytes).unwrap_err(),
            DecodeError::UnknownKind { kind: 99 }
        );
    }
}
