//! The file: one write(2) per block, and whole blocks only.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom, Write as _},
};

use zstd::bulk::Compressor;

use super::{
    super::{
        Head, WriteError,
        format::{BlockHeader, HEADER_LEN, MAX_RATIO, PREAMBLE_LEN, Preamble, codec, flag, kind},
    },
    queue::{Block, Lost},
};

/// zstd's own default: on records of the timeline, higher levels gain less than a tenth
/// and take more than twice as long.
const LEVEL: i32 = 3;

/// What has become of the recording.
#[derive(Debug, Default)]
pub(super) struct Written {
    error: Option<io::Error>,
    records_missing: u64,
    ended: bool,
}

impl Written {
    pub(super) fn result(self) -> Result<(), WriteError> {
        let Self {
            error,
            records_missing: records,
            ended,
        } = self;
        match error {
            Some(source) => Err(WriteError::Write {
                source,
                records,
                ended,
            }),
            None if records > 0 => Err(WriteError::Slow { records }),
            None => Ok(()),
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// Where the last whole block ends.
    len: u64,
    sequence: u32,
    /// Half a block is in it and cannot be taken back.
    broken: bool,
    compressor: Option<Compressing>,
    /// Header and contents, as they are written.
    buffer: Vec<u8>,
    written: Written,
}

/// A compressor, which has no `Debug`.
struct Compressing(Compressor<'static>);

impl std::fmt::Debug for Compressing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressing")
    }
}

impl Output {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            len: 0,
            sequence: 0,
            broken: false,
            // Without one, blocks are stored as they are.
            compressor: Compressor::new(LEVEL).ok().map(Compressing),
            buffer: Vec::new(),
            written: Written::default(),
        }
    }

    /// Writes the preamble and what is known before the run.
    pub(super) fn begin(&mut self, head: &Head) -> io::Result<()> {
        let mut bytes = Preamble::CURRENT.to_bytes().to_vec();
        let parts = head.parts().parts;
        let all = parts.len();
        for (index, (raw, count)) in parts.into_iter().enumerate() {
            self.encode(&Block {
                kind: kind::HEAD,
                flags: flag::of_part(index, all),
                count,
                first_at: head.created_at,
                last_at: head.created_at,
                raw,
            });
            bytes.extend_from_slice(&self.buffer);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.file.write_all(&bytes)?;
        debug_assert!(bytes.len() > PREAMBLE_LEN + HEADER_LEN);
        self.len = bytes.len() as u64;
        Ok(())
    }

    /// Fills the buffer with a block as it stands in the file.
    fn encode(&mut self, block: &Block) {
        let Block {
            kind,
            flags,
            count,
            first_at,
            last_at,
            ref raw,
        } = *block;
        self.buffer.clear();
        self.buffer.resize(HEADER_LEN, 0);
        let compressed = self
            .compressor
            .as_mut()
            .and_then(|compressor| compressor.0.compress(raw).ok())
            .filter(|compressed| {
                compressed.len() < raw.len()
                    && compressed.len().saturating_mul(MAX_RATIO as usize) >= raw.len()
            });
        let codec = if compressed.is_some() {
            codec::ZSTD
        } else {
            codec::STORED
        };
        let contents = compressed.as_deref().unwrap_or(raw);
        let header = BlockHeader {
            kind,
            codec,
            flags,
            count,
            // Far below 4 GiB: an item is at most an argument of a command.
            raw_len: u32::try_from(raw.len()).unwrap_or(u32::MAX),
            stored_len: u32::try_from(contents.len()).unwrap_or(u32::MAX),
            payload_crc: crc32c::crc32c(contents),
            first_at,
            last_at,
            sequence: self.sequence,
        };
        self.buffer.extend_from_slice(contents);
        for (to, from) in self.buffer.iter_mut().zip(header.to_bytes()) {
            *to = from;
        }
    }

    /// Writes one block, or takes back what of it could be written.
    ///
    /// # Errors
    ///
    /// What is lost; why is kept for the end.
    pub(super) fn write(&mut self, block: &Block) -> Result<(), Lost> {
        if self.broken {
            return Err(self.failed(block, None));
        }
        self.encode(block);
        if let Err(error) = self.file.write_all(&self.buffer) {
            let taken_back = self
                .file
                .set_len(self.len)
                .and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
            self.broken = taken_back.is_err();
            return Err(self.failed(block, Some(error)));
        }
        self.len += self.buffer.len() as u64;
        self.sequence = self.sequence.wrapping_add(1);
        self.written.ended = block.kind == kind::END && block.flags & flag::CONTINUED == 0;
        Ok(())
    }

    fn failed(&mut self, block: &Block, error: Option<io::Error>) -> Lost {
        let reason = match error.as_ref().or(self.written.error.as_ref()) {
            Some(error) => format!("the file could not be written: {error}"),
            None => "the file could not be written".to_owned(),
        };
        let lost = Lost::of(block, &reason);
        self.written.records_missing = self.written.records_missing.saturating_add(lost.records);
        if self.written.error.is_none() {
            self.written.error = error;
        }
        lost
    }

    /// What has become of it, with what was left out because the disk was slow.
    pub(super) fn written(self, dropped: u64) -> Written {
        let mut written = self.written;
        written.records_missing = written.records_missing.saturating_add(dropped);
        written
    }
}
