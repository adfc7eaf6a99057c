//! Who held what at the peak: like processes in one line, every line to the byte,
//! and the lines sum to the peak.

use std::{collections::BTreeMap, io};

use super::{
    super::units::{grouped, human},
    INDENT, line,
    page::Page,
    who,
};
use crate::{
    model::{Amounts, ImageSummary, Summary},
    report::escape::{clip, escape},
};

/// Lines before the rest is summed up as "others".
const LINES: usize = 8;

/// Images that run the same program.
struct Group<'a> {
    /// Largest first, with what each held.
    members: Vec<(&'a ImageSummary, u64)>,
    /// What all of them held together.
    held: Amounts,
}

pub(super) fn write(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let mut groups: BTreeMap<&[u8], Group<'_>> = BTreeMap::new();
    // Holders come largest first, so members do too.
    for holder in &summary.tree.at_peak {
        let Some(image) = summary.images.get(holder.image) else {
            continue;
        };
        let group = groups.entry(image.program.name()).or_insert_with(|| Group {
            members: Vec::new(),
            held: Amounts::default(),
        });
        group.members.push((image, holder.held.rss()));
        group.held = group.held.plus(&holder.held);
    }
    let mut groups: Vec<Group<'_>> = groups.into_values().collect();
    // Stable: groups of the same size stay ordered by name.
    groups.sort_by_key(|group| std::cmp::Reverse(group.held.rss()));
    // "1 other" would take the line that it saves.
    let shown = if groups.len() <= LINES + 1 {
        groups.len()
    } else {
        LINES
    };
    let digits = grouped(summary.tree.peak_rss).len();
    for (i, group) in groups.iter().take(shown).enumerate() {
        let amount = amount(group.held.rss(), digits, out);
        let kinds = kinds(&group.held);
        let room = out
            .width()
            .saturating_sub(INDENT + amount.len() + 3 + kinds.len());
        let label = if i == 0 { "at peak" } else { "" };
        line(
            out,
            label,
            &format!("{amount}  {} {kinds}", describe(group, room.max(20))),
        )?;
    }
    let (mut count, mut rest) = (0_usize, Amounts::default());
    for group in groups.iter().skip(shown) {
        count += group.members.len();
        rest = rest.plus(&group.held);
    }
    if count > 0 {
        line(
            out,
            "",
            &format!(
                "{}  {count} others {}",
                amount(rest.rss(), digits, out),
                kinds(&rest)
            ),
        )?;
    }
    Ok(())
}

/// `  120.0 MiB  125,829,120 B`.
fn amount(bytes: u64, digits: usize, out: &Page<'_>) -> String {
    if out.is_narrow() {
        return format!("{:>11}", human(bytes));
    }
    format!("{:>11}  {:>digits$} B", human(bytes), grouped(bytes))
}

/// `(anon 100.0 MiB, file 20.0 MiB)`, `(all anon)`: what it consisted of.
fn kinds(held: &Amounts) -> String {
    let all = [
        ("anon", held.anon),
        ("file", held.file),
        ("shmem", held.shmem),
    ];
    let some: Vec<_> = all.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    if let [(name, _)] = some[..] {
        return format!("(all {name})");
    }
    let parts: Vec<String> = some
        .iter()
        .map(|(name, bytes)| format!("{name} {}", human(*bytes)))
        .collect();
    format!("({})", parts.join(", "))
}

fn describe(group: &Group<'_>, room: usize) -> String {
    let (Some((first, max)), Some((_, median))) = (
        group.members.first(),
        group.members.get(group.members.len() / 2),
    ) else {
        return String::new();
    };
    if group.members.len() == 1 {
        return who(first, room);
    }
    let statistics = format!(
        " x{}, median {}, max {}",
        grouped(group.members.len() as u64),
        human(*median),
        human(*max)
    );
    let name = escape(first.program.name());
    format!(
        "{}{statistics}",
        clip(&name, room.saturating_sub(statistics.len()).max(8))
    )
}
