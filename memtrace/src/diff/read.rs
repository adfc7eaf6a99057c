//! A result from JSON, `memtrace.summary/1`.

use std::{
    collections::HashSet,
    io::{self, Read as _},
};

use serde::Deserialize;

use super::side::{Numbers, Part, Side, bounds, name};
use crate::{
    model::{PeakRange, Verdict},
    report::json::SCHEMA,
};

/// More than a result of a million processes has.
const LARGEST: u64 = 1 << 30;

/// Why a file is no result.
#[derive(Debug, thiserror::Error)]
pub enum DiffReadError {
    /// It cannot be read, or is no JSON of the right form.
    #[error("it is no result of memtrace: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON of something else.
    #[error("its schema is '{0}', not {SCHEMA}: give a file of `memtrace run --json FILE`")]
    Schema(String),
    /// The certificate has a verdict that this version does not know.
    #[error("its certificate says '{0}', which this version does not know")]
    Verdict(String),
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    wall_ns: u64,
    certificate: Certificate,
    tree: Tree,
    #[serde(default)]
    processes: Vec<Process>,
    #[serde(default)]
    other_images: Vec<Image>,
}

#[derive(Deserialize)]
struct Certificate {
    verdict: String,
    #[serde(default)]
    within_bytes: u64,
}

#[derive(Deserialize)]
struct Tree {
    peak_rss_bytes: u64,
    peak_rss_low_bytes: Option<u64>,
    peak_rss_high_bytes: Option<u64>,
    average_rss_bytes: u64,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    kind: String,
    ran: bool,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    exe: String,
    #[serde(default)]
    comm: String,
    start_ns: u64,
    lifetime_ns: u64,
    peak_rss_bytes: u64,
    average_rss_bytes: u64,
    at_tree_peak: Amounts,
}

#[derive(Deserialize)]
struct Amounts {
    anon_bytes: u64,
    file_bytes: u64,
    shmem_bytes: u64,
}

#[derive(Deserialize)]
struct OnlySchema {
    schema: String,
}

/// Reads a result.
///
/// # Errors
///
/// When it is none, or cannot be read.
pub fn read_json(input: impl io::Read) -> Result<Side, DiffReadError> {
    let mut bytes = Vec::new();
    input
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(serde_json::Error::io)?;
    // First, so that a result of another command of memtrace is called what it is.
    let OnlySchema { schema } = serde_json::from_slice(&bytes)?;
    if schema != SCHEMA {
        return Err(DiffReadError::Schema(schema));
    }
    let document: Document = serde_json::from_slice(&bytes)?;
    side(document)
}

fn side(document: Document) -> Result<Side, DiffReadError> {
    let Document {
        command,
        wall_ns,
        certificate,
        tree,
        processes,
        other_images,
    } = document;
    let verdict = match certificate.verdict.as_str() {
        "exact" => Verdict::Exact,
        "within" => Verdict::Within(certificate.within_bytes),
        "incomplete" => Verdict::Incomplete,
        _ => return Err(DiffReadError::Verdict(certificate.verdict)),
    };
    let range = tree.peak_rss_low_bytes.map(|low| PeakRange {
        low,
        high: tree.peak_rss_high_bytes,
    });
    let count = processes.len() as u64;
    let mut seen = HashSet::new();
    let parts = processes
        .into_iter()
        .flat_map(|process| process.images)
        .chain(other_images)
        // An image that is shared stands with each process that uses it; `kind` is the
        // owner's where it is not `shared`, but the owner may not be known.
        .filter(|image| image.ran && image.kind != "shared" && seen.insert(image.id))
        .map(part)
        .collect();
    Ok(Side {
        command,
        total: Numbers {
            peak: tree.peak_rss_bytes,
            average: tree.average_rss_bytes,
            at_tree_peak: tree.peak_rss_bytes,
            count,
            time_ns: wall_ns,
        },
        peak_bounds: bounds(tree.peak_rss_bytes, range, verdict),
        verdict,
        parts,
    })
}

fn part(image: Image) -> Part {
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let program = [
        image.command.first().map_or("", String::as_str),
        &image.exe,
        &image.comm,
    ]
    .into_iter()
    .map(base)
    .find(|name| !name.is_empty())
    .unwrap_or_else(|| "?".to_owned());
    let Amounts {
        anon_bytes,
        file_bytes,
        shmem_bytes,
    } = image.at_tree_peak;
    Part {
        name: name(&program, image.kind == "fork"),
        command: image.command,
        start_ns: image.start_ns,
        numbers: Numbers {
            peak: image.peak_rss_bytes,
            average: image.average_rss_bytes,
            at_tree_peak: anon_bytes
                .saturating_add(file_bytes)
                .saturating_add(shmem_bytes),
            count: 1,
            time_ns: image.lifetime_ns,
        },
    }
}
