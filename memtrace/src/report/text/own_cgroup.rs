//! What the kernel's own accounting says, where the command had a cgroup to itself.

use std::io;

use super::{
    super::{
        escape::{clip, escape},
        units::{counted, human},
    },
    line,
    page::Page,
};
use crate::model::Summary;

/// What is different about it than about RSS.
const MEANING: &str = "(the kernel's own accounting: page cache and memory of the kernel, too; a page is charged once, to whoever touched it first)";

pub(super) fn write(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let Some(told) = summary.own_cgroup.as_deref() else {
        return Ok(());
    };
    let mut amounts = vec![match told.peak {
        Some(peak) => format!("peak {}", human(peak)),
        None => "no peak, which kernels before 5.19 do not tell".to_owned(),
    }];
    if let Some(peak) = told.swap_peak.filter(|&peak| peak > 0) {
        amounts.push(format!("peak of swap {}", human(peak)));
    }
    if let Some(current) = told.current {
        amounts.push(format!("{} when the command had ended", human(current)));
    }
    line(out, "cgroup", &format!("{} {MEANING}", amounts.join(", ")))?;
    if let Some(killed) = told.events.oom_kill.filter(|&killed| killed > 0) {
        let whom = counted(killed, "process", "processes");
        line(out, "", &format!("the OOM killer ended {whom} in it"))?;
    }
    if told.remains {
        let path = clip(&escape(&told.path), out.width());
        line(
            out,
            "",
            &format!(
                "{path} was not removed, because processes or cgroups were left in it: remove it with rmdir when they are gone"
            ),
        )?;
    }
    Ok(())
}
