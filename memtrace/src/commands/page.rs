//! The page of `--html`: drawn when the run is over, from what was recorded of it.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
};

use memtrace::{
    launch::{Claim, Made, OutputError, claim_output},
    recording::{LoadOptions, ReadError, load},
    report::{Run, html, subject::subject},
};

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("cannot draw the page: {0}")]
    Read(#[from] ReadError),
    #[error("cannot write the page: {0}")]
    Write(#[from] io::Error),
}

/// A page that will be drawn. Dropped before, it takes a file away that was made for it.
#[derive(Debug)]
pub(super) struct Page {
    out: File,
    /// The file has contents.
    replaces: bool,
    made: Option<Made>,
    /// Keeps the recording open: without `-o` it has no name.
    recording: File,
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(made) = self.made.take() {
            made.remove();
        }
    }
}

impl Page {
    /// Opens the page at `path`, to be drawn from `recording`.
    pub(super) fn open(path: &Path, recording: &File) -> Result<Self, OutputError> {
        let failed = |source| OutputError::Open {
            path: path.to_owned(),
            sudo_uid: None,
            source,
        };
        let recording = recording.try_clone().map_err(failed)?;
        let Claim {
            file,
            replaces,
            made,
        } = claim_output(path, true)?;
        Ok(Self {
            out: file,
            replaces,
            made,
            recording,
        })
    }

    /// Draws it, with a line at a limit.
    pub(super) fn draw(mut self, limit: Option<u64>) -> Result<(), PageError> {
        // Opened anew: it may be open for writing only.
        let path = format!("/proc/self/fd/{}", self.recording.as_raw_fd());
        let loaded = load(path, &LoadOptions::default())?;
        let title = subject(&loaded.summary);
        let run = Run {
            summary: &loaded.summary,
            timeline: &loaded.timeline,
            title: &title,
            notes: &loaded.notes,
            limit,
        };
        if self.replaces {
            self.out.set_len(0)?;
        }
        let mut out = BufWriter::new(&self.out);
        html::html(&mut out, &[run])?;
        out.flush()?;
        // It is there to stay.
        self.made = None;
        drop(out);
        Ok(())
    }
}
