//! What tools report where the usual numbers fail, beside what is true.

use std::fs;

use anyhow::{Context as _, Result};
use memtrace_tests::{Lab, mib, workloads};

use crate::{progress, results::Reported};

/// Two cases.
pub(crate) fn measure(lab: &Lab) -> Result<Vec<Reported>> {
    progress("what is reported");
    let mut found = two_children(lab)?;
    found.extend(small_child_of_a_big_parent(lab)?);
    Ok(found)
}

/// Two processes that hold 100 MiB each at the same moment.
fn two_children(lab: &Lab) -> Result<Vec<Reported>> {
    let both = format!(
        "fork{{ anon {0} nap-us 400000 }} fork{{ anon {0} nap-us 400000 }} wait wait",
        mib(100)
    );
    let row = |tool: &str, bytes| Reported {
        what: "two children that hold 100 MiB each at the same time".to_owned(),
        truth: "200 MiB and the pages of their programs".to_owned(),
        tool: tool.to_owned(),
        bytes,
    };
    let summary = lab.trace(&both)?.summary;
    Ok(vec![
        row(
            "memtrace, peak of the tree",
            Some(summary.tree.peak_rss_bytes),
        ),
        row("/usr/bin/time, %M", gnu_time(lab, &lab.script(&both))?),
    ])
}

/// A program started by a process that holds 400 MiB.
fn small_child_of_a_big_parent(lab: &Lab) -> Result<Vec<Reported>> {
    let words = format!("anon {} vfork{{ exec{{ NOTHING }} }} wait", mib(400));
    let summary = lab.trace(&words)?.summary;
    let images = summary.images_of(workloads::NOTHING);
    let image = images.first().context("the program was not seen")?;
    let row = |tool: &str, bytes| Reported {
        what: "a static program that ends at once, started by a process with 400 MiB".to_owned(),
        truth: "some pages".to_owned(),
        tool: tool.to_owned(),
        bytes,
    };
    Ok(vec![
        row("memtrace, peak of the image", Some(image.peak_rss_bytes)),
        row("ru_maxrss of wait4(2)", image.kernel.maxrss_bytes),
    ])
}

/// GNU time's `%M` for a command line, in bytes; nothing if it is not installed.
fn gnu_time(lab: &Lab, line: &[String]) -> Result<Option<u64>> {
    if !workloads::installed("time") {
        return Ok(None);
    }
    let output = lab.path("gnu-time");
    let path = output.display().to_string();
    let mut command = ["/usr/bin/time", "-o", &path, "-f", "%M"]
        .map(str::to_owned)
        .to_vec();
    command.extend_from_slice(line);
    lab.to_end(&mut lab.fixed(&command))?.success()?;
    let kib: u64 = fs::read_to_string(&output)?.trim().parse()?;
    Ok(Some(kib * 1024))
}
