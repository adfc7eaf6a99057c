//! The summary for programs: the contract `memtrace.summary/1`.
//!
//! Bytes and nanoseconds, named as such. Fields may be added within version 1,
//! never renamed or removed. Strings are UTF-8; where the kernel's bytes are not,
//! each bad sequence becomes U+FFFD, and fields `*_bytes` hold the bytes in base64, `*_raw` in
//! hex. All fields are in `docs/json.md`.
//!
//! An image of kind `shared` repeats the numbers of the image that is shared, with
//! its `id` and the `owner_pid`: deduplicate by `id` before summing over processes.

mod certificate;
mod own_cgroup;
mod process;
mod segments;
mod strings;
mod tree;

use std::io;

use serde::Serialize;

use self::{
    certificate::CertificateDoc,
    own_cgroup::OwnCgroupDoc,
    process::{ImageDoc, ProcessDoc},
    strings::Strings,
    tree::TreeDoc,
};
use crate::model::{EndedByLimit, Outcome, Summary};

/// Name and version of the contract.
pub const SCHEMA: &str = "memtrace.summary/1";

/// Writes the summary as one line of JSON with a newline.
///
/// # Errors
///
/// Those of the writer.
pub fn write(summary: &Summary, out: &mut dyn io::Write) -> io::Result<()> {
    write_with_notes(summary, &[], out)
}

/// The same for a recording that is cut or damaged: what is wrong with it is in the field
/// `recording_notes`, which is there only then.
///
/// # Errors
///
/// Those of the writer.
pub fn write_with_notes(
    summary: &Summary,
    notes: &[String],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let document = Document {
        recording_notes: notes.to_vec(),
        ..Document::new(summary)
    };
    serde_json::to_writer(&mut *out, &document).map_err(io::Error::from)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(flatten)]
    command: Strings,
    exit_status: Option<u8>,
    signal: Option<u8>,
    wall_ns: u64,
    /// Nobody knows them of what was attached to, or runs.
    user_ns: Option<u64>,
    system_ns: Option<u64>,
    start_unix_ns: Option<u64>,
    page_size_bytes: u64,
    kernel_maxrss_bytes: Option<u64>,
    /// Only if memtrace ended the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by_limit: Option<EndedDoc>,
    /// Only if the command had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_cgroup: Option<OwnCgroupDoc>,
    certificate: CertificateDoc,
    tree: TreeDoc,
    processes: Vec<ProcessDoc>,
    /// Of what is followed without an end.
    #[serde(skip_serializing_if = "is_zero")]
    only_counted_processes: u64,
    /// Images that belong to no known process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_images: Vec<ImageDoc>,
    /// What is wrong with the recording that this was made from, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recording_notes: Vec<String>,
}

impl Document {
    fn new(summary: &Summary) -> Self {
        let (exit_status, signal) = status(summary.outcome);
        // While the command runs nobody is told.
        let is_known = summary.attached().is_none() && summary.outcome.is_some();
        let homeless = summary.images.iter().filter(|image| image.owner.is_none());
        Self {
            schema: SCHEMA,
            command: Strings::new(&summary.command),
            exit_status,
            signal,
            wall_ns: summary.wall_ns,
            user_ns: is_known.then_some(summary.user_ns),
            system_ns: is_known.then_some(summary.system_ns),
            start_unix_ns: summary.started_unix_ns,
            page_size_bytes: summary.page_size,
            kernel_maxrss_bytes: summary.kernel_maxrss,
            ended_by_limit: summary.ended_by_limit.as_ref().map(EndedDoc::from),
            own_cgroup: summary.own_cgroup.as_deref().map(OwnCgroupDoc::from),
            certificate: CertificateDoc::from(&summary.certificate),
            tree: TreeDoc::new(summary),
            processes: summary
                .processes
                .iter()
                .map(|p| ProcessDoc::new(summary, p))
                .collect(),
            only_counted_processes: summary.only_counted.processes,
            other_images: homeless.map(|image| ImageDoc::new(image, None)).collect(),
            recording_notes: Vec::new(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How a limit ended the tree.
#[derive(Serialize)]
struct EndedDoc {
    limit_bytes: u64,
    seen_rss_bytes: u64,
    noticed_at_ns: u64,
    terminated: u64,
    killed: u64,
    command_had_ended: bool,
    failures: Vec<String>,
}

impl From<&EndedByLimit> for EndedDoc {
    fn from(ended: &EndedByLimit) -> Self {
        let EndedByLimit {
            limit,
            seen_rss,
            noticed_at_ns,
            terminated,
            killed,
            command_had_ended,
            failures,
        } = ended;
        Self {
            limit_bytes: *limit,
            seen_rss_bytes: *seen_rss,
            noticed_at_ns: *noticed_at_ns,
            terminated: *terminated,
            killed: *killed,
            command_had_ended: *command_had_ended,
            failures: failures.clone(),
        }
    }
}

fn status(outcome: Option<Outcome>) -> (Option<u8>, Option<u8>) {
    outcome.map_or((None, None), |outcome| {
        (outcome.exit_status, outcome.signal)
    })
}
