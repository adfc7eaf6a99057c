//! A look as plain lines, as `top -b` writes them.

use std::{cmp::Reverse, fmt::Write as _};

use super::{
    look::{Look, Process, certainty},
    text::{age, amount, harmless, time},
};
use crate::units::{counted, grouped, human};

/// The totals, the `rows` processes that hold most, and all that ended since the last look, with
/// their peaks. There is an empty line at the end, so that looks can be told apart.
#[must_use]
pub fn lines(look: &Look, rows: usize) -> String {
    let mut out = String::new();
    totals(&mut out, look);
    out.push_str("    PID      RES      SHR     SWAP     VIRT     PEAK    AGE COMMAND\n");
    let mut processes: Vec<&Process> = look.processes.iter().collect();
    processes.sort_by_key(|process| (Reverse(process.res), process.pid, process.id));
    for process in processes.iter().take(rows) {
        let Process {
            res,
            shr,
            swap,
            virt,
            ..
        } = process;
        let held = [*res, *shr, *swap, *virt].map(amount);
        line(&mut out, process, &held, look.at_ns);
    }
    let more = processes.len().saturating_sub(rows);
    if more > 0 {
        let more = counted(more as u64, "process holds", "processes hold");
        let _ = writeln!(out, "        {more} less");
    }
    let mut ended: Vec<&Process> = look.newly_ended.iter().collect();
    ended.sort_by_key(|process| (process.ended_ns, process.id));
    for process in ended {
        let held = ["ended", "-", "-", "-"].map(str::to_owned);
        line(&mut out, process, &held, look.at_ns);
    }
    out.push('\n');
    out
}

fn totals(out: &mut String, look: &Look) {
    let limit = look
        .limit
        .map_or_else(String::new, |limit| format!(", limit {}", human(limit)));
    let certainty = certainty(look.lost, look.off);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "memtrace at {}: {} ({} B), peak {} ({} B) at {}{limit}",
        time(look.at_ns),
        human(look.rss),
        grouped(look.rss),
        human(look.peak_rss),
        grouped(look.peak_rss),
        time(look.peak_at_ns),
    );
    let _ = writeln!(
        out,
        "{} alive, {} ended, {}; {certainty}",
        counted(look.alive, "process", "processes"),
        grouped(look.ended),
        look.updates.map_or_else(
            || "sampled".to_owned(),
            |updates| counted(updates, "update", "updates")
        ),
    );
}

fn line(out: &mut String, process: &Process, held: &[String; 4], now: u64) {
    let called = if process.command.is_empty() {
        &process.name
    } else {
        &process.command
    };
    let _ = write!(out, "{:>7}", process.pid);
    for text in held {
        let _ = write!(out, " {text:>8}");
    }
    let _ = writeln!(
        out,
        " {:>8} {:>6} {}",
        amount(process.peak),
        age(process.age(now)),
        harmless(called),
    );
}
