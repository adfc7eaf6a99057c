//! How the command ended, if not with status 0, and which processes a signal ended that nobody
//! asks a program to end with.

use std::{borrow::Cow, collections::BTreeMap, io};

use nix::sys::signal::Signal;

use super::{
    super::{
        escape::{clip, escape},
        units::human,
    },
    INDENT, line,
    page::Page,
};
use crate::model::{Outcome, ProcessSummary, Summary};

/// Victims of the OOM killer that are named one by one.
const VICTIMS: usize = 8;

pub(super) fn write(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let mut texts = Vec::new();
    texts.extend(summary.outcome.as_ref().and_then(of_command));
    victims(summary, &mut texts);
    crashes(summary, out.width().saturating_sub(INDENT), &mut texts);
    texts.extend(super::ended_by_limit(summary));
    for (i, text) in texts.iter().enumerate() {
        let label = if i == 0 { "ended" } else { "" };
        line(out, label, text)?;
    }
    Ok(())
}

/// `exit status 3`, `killed by signal 9 (SIGKILL)`; nothing for success.
fn of_command(outcome: &Outcome) -> Option<String> {
    match (outcome.exit_status, outcome.signal) {
        (_, Some(signal)) => {
            let core = if outcome.core_dumped {
                ", core dumped"
            } else {
                ""
            };
            Some(format!("killed by {}{core}", name(signal)))
        }
        (Some(0) | None, None) => None,
        (Some(status), None) => Some(format!("exit status {status}")),
    }
}

/// `signal 9 (SIGKILL)`.
fn name(signal: u8) -> String {
    // The C library's first real-time signal, as kill(1) counts them.
    const FIRST: u8 = 34;
    let name: Cow<'_, str> = match Signal::try_from(i32::from(signal)) {
        Ok(known) => known.as_str().into(),
        Err(_) if signal == FIRST => "SIGRTMIN".into(),
        Err(_) if signal > FIRST => format!("SIGRTMIN+{}", signal - FIRST).into(),
        Err(_) => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

/// `hold [19809]`.
fn who(summary: &Summary, process: &ProcessSummary) -> String {
    let image = summary.last_image(process);
    let name = image.map_or(&process.comm[..], |image| image.program.name());
    format!("{} [{}]", escape(name), process.pid)
}

/// Whom the OOM killer took, and the most that each had held.
fn victims(summary: &Summary, texts: &mut Vec<String>) {
    let victims: Vec<&ProcessSummary> = summary
        .processes
        .iter()
        .filter(|process| process.oom_killed)
        .collect();
    for process in victims.iter().take(VICTIMS) {
        let held = summary
            .last_image(process)
            .map_or_else(String::new, |image| {
                format!(" at {}", human(image.peak_rss))
            });
        texts.push(format!("killed by OOM: {}{held}", who(summary, process)));
    }
    let rest = victims.len().saturating_sub(VICTIMS);
    if rest > 0 {
        texts.push(format!(
            "killed by OOM: {rest} more (--per-process names them)"
        ));
    }
}

/// Other processes than the command that a signal ended, by signal, but for those that end
/// programs in good order: a pipe without a reader, a polite request.
fn crashes(summary: &Summary, room: usize, texts: &mut Vec<String>) {
    let ordinary = [libc::SIGPIPE, libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
    let mut by_signal: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for process in &summary.processes {
        if let Some(signal) = process.outcome.and_then(|outcome| outcome.signal)
            && !process.root
            && !process.oom_killed
            && !ordinary.contains(&i32::from(signal))
        {
            let names = by_signal.entry(signal).or_default();
            names.push(who(summary, process));
        }
    }
    for (signal, names) in by_signal {
        let count = match names.len() {
            1 => String::new(),
            count => format!(" ({count})"),
        };
        let text = format!("killed by {}{count}: {}", name(signal), names.join(", "));
        texts.push(clip(&text, room));
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Options, page::Page},
        name, write,
    };
    use crate::model::{Outcome, Summary, testing::golden::make};

    fn shown(summary: &Summary) -> String {
        let mut out = Vec::new();
        let options = Options {
            width: 60,
            ..Options::default()
        };
        write(summary, &mut Page::new(options, &mut out)).expect("memory does not fail");
        String::from_utf8(out).expect("reports are UTF-8")
    }

    /// Names as kill(1) has them.
    #[test]
    fn signals_have_names() {
        for (signal, text) in [
            (9, "signal 9 (SIGKILL)"),
            (31, "signal 31 (SIGSYS)"),
            (33, "signal 33"),
            (34, "signal 34 (SIGRTMIN)"),
            (64, "signal 64 (SIGRTMIN+30)"),
        ] {
            assert_eq!(name(signal), text);
        }
    }

    /// Every kind of end, and none for a command that did well.
    #[test]
    fn ends() {
        let mut summary = make();
        for (status, text) in [
            (0, ""),
            (3 << 8, "exit status 3\n"),
            (9, "killed by signal 9 (SIGKILL)\n"),
            (11 | 0x80, "killed by signal 11 (SIGSEGV), core dumped\n"),
        ] {
            summary.outcome = Some(Outcome::from_wait_status(status));
            let victim = "killed by OOM: cc [102] at 120.0 KiB\n";
            let label = if text.is_empty() { "" } else { "          " };
            assert_eq!(shown(&summary), format!("ended     {text}{label}{victim}"));
        }
        summary.outcome = None;
        for (oom_killed, status, text) in [
            (false, 0, ""),
            (false, 15, ""),
            (false, 13, ""),
            (
                false,
                6,
                "ended     killed by signal 6 (SIGABRT): cc [102]\n",
            ),
            (true, 9, "ended     killed by OOM: cc [102] at 120.0 KiB\n"),
        ] {
            for process in &mut summary.processes {
                if process.pid == 102 {
                    process.oom_killed = oom_killed;
                    process.outcome = Some(Outcome::from_wait_status(status));
                }
            }
            assert_eq!(shown(&summary), text, "{status}");
        }
        for process in &mut summary.processes {
            process.oom_killed = false;
            process.outcome = Some(Outcome::from_wait_status(9));
        }
        assert_eq!(
            shown(&summary),
            "ended     killed by signal 9 (SIGKILL) (3): cc [101], cc ...\n"
        );
    }
}
