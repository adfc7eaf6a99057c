//! The constants of the format, and its two structures of fixed size: the preamble of a
//! file and the header of a block. `docs/format.md` is the specification.

/// The first eight bytes of every recording.
pub(super) const MAGIC: [u8; 8] = *b"MEMTRACE";
/// Version of the framing. A reader refuses newer ones.
pub(super) const VERSION: u16 = 1;
/// Version of what is in the blocks. It grows when something is added; readers of older
/// schemas skip what they do not know.
pub(super) const SCHEMA: u16 = 4;
/// Length of the preamble.
pub(super) const PREAMBLE_LEN: usize = 16;

/// The first four bytes of every block: no text, and no number that is small.
pub(super) const SYNC: [u8; 4] = [0xb1, 0x4b, 0xc4, 0xf7];
/// Length of a block's header.
pub(super) const HEADER_LEN: usize = 48;

/// A block is closed when it holds this much before compression.
pub(super) const BLOCK_LEN: usize = 64 << 10;
/// No block is larger than this before compression: one item can exceed [`BLOCK_LEN`].
pub(super) const MAX_RAW_LEN: u32 = 4 << 20;
/// What is compressed further than this is stored as it is, so that a small file cannot
/// unfold into a large one.
pub(super) const MAX_RATIO: u32 = 64;
/// The largest state, over all its blocks, before compression.
pub(super) const MAX_GROUP_LEN: usize = 256 << 20;

/// What a block holds.
pub(super) mod kind {
    /// What is known before the command starts.
    pub(crate) const HEAD: u8 = 1;
    /// Records of the timeline, in columns.
    pub(crate) const EVENTS: u8 = 2;
    /// Records of processes and of images that ended.
    pub(crate) const PROCS: u8 = 3;
    /// What all records before it add up to, so that readers can begin here.
    pub(crate) const SNAPSHOT: u8 = 4;
    /// The kernel side's state with the peaks so far.
    pub(crate) const CHECKPOINT: u8 = 5;
    /// Records that were lost.
    pub(crate) const LOSS: u8 = 6;
    /// Everything that was known at the end.
    pub(crate) const END: u8 = 7;
}

/// How a block's contents are stored.
pub(super) mod codec {
    /// As they are.
    pub(crate) const STORED: u8 = 0;
    /// One zstd frame.
    pub(crate) const ZSTD: u8 = 1;
}

/// Bits of [`BlockHeader::flags`].
pub(super) mod flag {
    /// The next block continues this one's contents.
    pub(crate) const CONTINUED: u16 = 1;
    /// PROCS: the next block holds the timeline of the same stretch of time. EVENTS: so
    /// did the block before, of processes.
    pub(crate) const JOINED: u16 = 2;
    /// This block continues the contents of the one before.
    pub(crate) const CONTINUES: u16 = 4;

    /// The flags of one of several blocks that belong together.
    pub(crate) const fn of_part(index: usize, parts: usize) -> u16 {
        let continues = if index > 0 { CONTINUES } else { 0 };
        let continued = if index + 1 < parts { CONTINUED } else { 0 };
        continues | continued
    }
}

/// The preamble of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    pub(super) version: u16,
    pub(super) schema: u16,
}

impl Preamble {
    pub(super) const CURRENT: Self = Self {
        version: VERSION,
        schema: SCHEMA,
    };

    pub(super) fn to_bytes(self) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.schema.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if the magic or the checksum are wrong.
    pub(super) fn parse(bytes: &[u8; PREAMBLE_LEN]) -> Option<Self> {
        let whole = bytes[..8] == MAGIC && u32_at(bytes, 12) == crc32c::crc32c(&bytes[..12]);
        whole.then(|| Self {
            version: u16_at(bytes, 8),
            schema: u16_at(bytes, 10),
        })
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockHeader {
    /// One of [`kind`].
    pub(super) kind: u8,
    /// One of [`codec`].
    pub(super) codec: u8,
    /// Bits of [`flag`].
    pub(super) flags: u16,
    /// How many records or items.
    pub(super) count: u32,
    /// Length of the contents before compression.
    pub(super) raw_len: u32,
    /// Length of the contents in the file.
    pub(super) stored_len: u32,
    /// CRC-32C of the contents in the file.
    pub(super) payload_crc: u32,
    /// The least time in it, `CLOCK_BOOTTIME` in nanoseconds.
    pub(super) first_at: u64,
    /// The greatest.
    pub(super) last_at: u64,
    /// How many blocks are before this one in the file.
    pub(super) sequence: u32,
}

impl BlockHeader {
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let Self {
            kind,
            codec,
            flags,
            count,
            raw_len,
            stored_len,
            payload_crc,
            first_at,
            last_at,
            sequence,
        } = self;
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&SYNC);
        bytes[4] = kind;
        bytes[5] = codec;
        bytes[6..8].copy_from_slice(&flags.to_le_bytes());
        bytes[8..12].copy_from_slice(&count.to_le_bytes());
        bytes[12..16].copy_from_slice(&raw_len.to_le_bytes());
        bytes[16..20].copy_from_slice(&stored_len.to_le_bytes());
        bytes[20..24].copy_from_slice(&payload_crc.to_le_bytes());
        bytes[24..32].copy_from_slice(&first_at.to_le_bytes());
        bytes[32..40].copy_from_slice(&last_at.to_le_bytes());
        bytes[40..44].copy_from_slice(&sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if these are not the bytes of a header that a writer would write.
    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        if bytes[..4] != SYNC || u32_at(bytes, 44) != crc32c::crc32c(&bytes[..44]) {
            return None;
        }
        let header = Self {
            kind: bytes[4],
            codec: bytes[5],
            flags: u16_at(bytes, 6),
            count: u32_at(bytes, 8),
            raw_len: u32_at(bytes, 12),
            stored_len: u32_at(bytes, 16),
            payload_crc: u32_at(bytes, 20),
            first_at: u64_at(bytes, 24),
            last_at: u64_at(bytes, 32),
            sequence: u32_at(bytes, 40),
        };
        header.is_plausible().then_some(header)
    }

    /// Within the limits that keep a reader's memory bounded by the file.
    fn is_plausible(&self) -> bool {
        self.raw_len <= MAX_RAW_LEN
            && self.stored_len <= MAX_RAW_LEN
            && u64::from(self.raw_len) <= u64::from(self.stored_len) * u64::from(MAX_RATIO)
            && self.count <= self.raw_len
            && (self.codec != codec::STORED || self.raw_len == self.stored_len)
    }

    /// Header and contents together.
    pub(super) fn block_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.stored_len)
    }

    pub(super) const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
