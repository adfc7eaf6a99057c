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

#[cfg(test)]
mod tests {
    use super::{
        super::{Options, page::Page},
        write,
    };
    use crate::model::{CgroupEvents, OwnCgroup, Summary, testing::golden::make};

    fn shown(summary: &Summary) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(Options::default(), &mut out);
        write(summary, &mut page).expect("memory does not fail");
        String::from_utf8(out).expect("reports are UTF-8")
    }

    /// Nothing without one; what old kernels do not tell is said to be missing.
    #[test]
    fn what_is_told_is_shown() {
        let mut summary = make();
        assert_eq!(shown(&summary), "");
        summary.own_cgroup = Some(Box::new(OwnCgroup {
            peak: Some(3 << 20),
            swap_peak: Some(0),
            current: Some(1 << 20),
            ..OwnCgroup::default()
        }));
        let text = shown(&summary);
        let begin = "cgroup    peak 3.0 MiB, 1.0 MiB when the command had ended (the kernel's";
        assert!(text.starts_with(begin), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        summary.own_cgroup = Some(Box::default());
        let text = shown(&summary);
        assert!(
            text.contains("no peak, which kernels before 5.19"),
            "{text}"
        );
    }

    /// What must not be overlooked, with names that may be anything.
    #[test]
    fn kills_and_what_was_left_are_told() {
        let mut summary = make();
        summary.own_cgroup = Some(Box::new(OwnCgroup {
            path: b"/a\nb".to_vec(),
            events: CgroupEvents {
                oom_kill: Some(2),
                ..CgroupEvents::default()
            },
            remains: true,
            ..OwnCgroup::default()
        }));
        let text = shown(&summary);
        assert!(
            text.contains("\n          the OOM killer ended 2 processes in it\n"),
            "{text}"
        );
        assert!(
            text.contains("\n          /a\\nb was not removed"),
            "{text}"
        );
    }
}
