//! What the pages of processes that ran before tracing are for: the programs know their number alone, and book what
//! comes and goes. `/proc/PID/smaps` tells the rest.
//!
//! A reading is exact if nothing was booked to the image meanwhile, and it has as many pages of each kind as are booked:
//! a change that is under way has not been booked yet, and shows there. Otherwise it is made again.

use std::{collections::BTreeSet, thread, time::Duration};

use memtrace_ebpf::{
    Base, Image, ImageKind, MEMBERS, Member, Pages, SEGMENTS, Segment, SegmentsRecord, VmField,
};

use super::cross_check::is_in_use;
use crate::{
    attend::{Subject as _, View},
    probe::{Probe, ProbeError},
    procfs::smaps::{self, Held, Layout},
};

/// How long to wait before everything that did not hold still is read again.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
];

/// An image of which it is to be found out.
struct Open {
    /// A process that has it, by its id here.
    pid: u32,
    /// The same in the initial PID namespace.
    tgid: u32,
    /// Its `mm_struct`.
    mm: u64,
    /// [`Image::id`].
    image: u64,
    layout: Layout,
    /// The best that was found, if anything was.
    base: Option<Base>,
}

/// An image and its segments at one moment.
struct Seen {
    image: Image,
    segments: SegmentsRecord,
}

/// Finds out what pages of those that were taken in are for, and has the programs add it to what they have. `meanwhile`
/// is called after every reading, which can take a while. What is not found stays unknown, and is said to be.
pub(super) fn find(
    probe: &mut Probe,
    view: View,
    page_size: u64,
    mut meanwhile: impl FnMut(&mut Probe),
) -> Result<(), ProbeError> {
    let mut open = attached(probe, view)?;
    for (number, pause) in PAUSES.into_iter().enumerate() {
        if open.is_empty() {
            break;
        }
        thread::sleep(pause);
        for one in &mut open {
            one.read(probe, page_size)?;
            meanwhile(probe);
        }
        let is_last = number + 1 == PAUSES.len();
        let done = |one: &Open| one.base.filter(|base| is_last || base.within == 0);
        let bases: Vec<(u64, Base)> = open
            .iter()
            .filter_map(|one| Some((one.mm, done(one)?)))
            .collect();
        probe.base_segments(&bases)?;
        open.retain(|one| done(one).is_none());
    }
    for Open { pid, .. } in open {
        log::info!("what the pages of process {pid} were for before is not known");
    }
    probe.end_bases()
}

/// Every image that was there before tracing.
fn attached(probe: &Probe, view: View) -> Result<Vec<Open>, ProbeError> {
    let mut open = Vec::new();
    let mut seen = BTreeSet::new();
    for member in view.of(probe).members() {
        let Some(process) = probe.process(member.key)? else {
            continue;
        };
        let image = probe.image(process.mm)?.filter(|image| {
            image.kind == ImageKind::Attached as u32
                && image.id == process.image
                && is_in_use(image)
        });
        let (Some(image), Ok(pid)) = (image, u32::try_from(member.pid)) else {
            continue;
        };
        if seen.insert(image.id) {
            open.push(Open {
                pid,
                tgid: member.key,
                mm: process.mm,
                image: image.id,
                layout: Layout::of_process(pid),
                base: None,
            });
        }
    }
    Ok(open)
}

impl Open {
    /// Reads once, and keeps what is better than before.
    fn read(&mut self, probe: &Probe, page_size: u64) -> Result<(), ProbeError> {
        let Some(before) = self.look(probe)? else {
            return Ok(());
        };
        let text = match smaps::text_of(self.pid) {
            Ok(text) if text.is_empty() => return Ok(()),
            Ok(text) => text,
            Err(error) => {
                log::info!("what pages were for before is not known: {error}");
                return Ok(());
            }
        };
        // Of the same process still.
        let Some(after) = self.look(probe)? else {
            return Ok(());
        };
        let theirs = smaps::segments(&text, &self.layout);
        let undecided = smaps::undecided(&text, &borders(&after.image, &self.layout, page_size));
        let mut base = base(&before, &theirs, &after, page_size);
        base.within = base.within.saturating_add(undecided / page_size.max(1));
        if self.base.is_none_or(|known| base.within < known.within) {
            self.base = Some(base);
        }
        Ok(())
    }

    /// What is booked, if the process has the image still.
    fn look(&self, probe: &Probe) -> Result<Option<Seen>, ProbeError> {
        let Some(process) = probe.process(self.tgid)? else {
            return Ok(None);
        };
        if (process.mm, process.image) != (self.mm, self.image) {
            return Ok(None);
        }
        let segments = probe.segments_of(self.mm)?;
        // After them: it shows each change before they do.
        let image = probe.image(self.mm)?;
        Ok(segments
            .zip(image)
            .filter(|(segments, image)| {
                (segments.image, image.id) == (self.image, self.image) && is_in_use(image)
            })
            .map(|(segments, image)| Seen { image, segments }))
    }
}

/// Where the heap begins and ends for the programs.
fn borders(image: &Image, layout: &Layout, page_size: u64) -> [u64; 2] {
    let start = layout.start_brk;
    let size = image.vm_peak[VmField::Heap as usize];
    let end = start
        .saturating_add(size)
        .checked_next_multiple_of(page_size.max(1));
    [start, end.unwrap_or(start)]
}

/// What each segment has beyond what is booked to it, by what smaps has between two looks.
fn base(before: &Seen, theirs: &[Held; SEGMENTS], after: &Seen, page_size: u64) -> Base {
    let mut base = Base {
        image: after.image.id,
        within: moved(&before.image, &after.image),
        ..Base::default()
    };
    let mut all: Pages = [0; MEMBERS];
    for segment in Segment::ALL {
        if segment == Segment::Unknown {
            continue;
        }
        let index = segment as usize;
        let theirs = pages(segment, &theirs[index], page_size);
        for member in 0..MEMBERS {
            all[member] = all[member].saturating_add(theirs[member]);
            base.held[index][member] =
                theirs[member].saturating_sub(after.segments.cur[index][member]);
        }
    }
    let both = after.segments.booked.iter().zip(&after.image.cur);
    for (all, (booked, counted)) in all.iter().zip(both) {
        let differs = all.abs_diff(*booked);
        let is_behind = counted.abs_diff(*booked);
        base.within = base
            .within
            .saturating_add(differs)
            .saturating_add(is_behind);
    }
    let is_quiet = before.image.events == after.image.events
        && before.image.cur == after.image.cur
        && before.segments.cur == after.segments.cur;
    if !is_quiet {
        // Something did come and go.
        base.within = base.within.max(1);
    }
    base
}

/// Members of a segment as they are booked, pages. Swapped-out pages of shared memory are the file's.
fn pages(segment: Segment, held: &Held, page_size: u64) -> Pages {
    let pages = |bytes: u64| i64::try_from(bytes / page_size.max(1)).unwrap_or(i64::MAX);
    let mut all = [0; MEMBERS];
    let rest = held.resident.saturating_sub(held.anon);
    all[Member::Anon as usize] = pages(held.anon);
    if segment == Segment::Shmem {
        all[Member::Shmem as usize] = pages(rest);
    } else {
        all[Member::File as usize] = pages(rest);
        all[Member::Swap as usize] = pages(held.swapped);
    }
    all
}

/// So many pages at most came to a segment or left it between two looks: what goes is counted, what comes is what there is
/// more of; and who goes to swap goes.
fn moved(before: &Image, after: &Image) -> u64 {
    let went = after.freed.saturating_sub(before.freed);
    let differs = |(one, other): (&i64, &i64)| one.abs_diff(*other);
    let more: u64 = before.cur.iter().zip(&after.cur).map(differs).sum();
    went.saturating_mul(2).saturating_add(more)
}

#[cfg(test)]
mod tests {
    use memtrace_ebpf::{Image, Member, SEGMENTS, Segment, SegmentsRecord};

    use super::{Seen, base};
    use crate::{blank, procfs::smaps::Held};

    const PAGE: u64 = 4096;

    /// An image of 10 anonymous pages, of which one more has come to the heap than went.
    fn seen() -> Seen {
        let mut image = Image {
            id: 7,
            events: 3,
            ..blank::IMAGE
        };
        image.cur[Member::Anon as usize] = 10;
        let mut segments = SegmentsRecord {
            image: 7,
            booked: image.cur,
            ..blank::SEGMENTS
        };
        segments.cur[Segment::Heap as usize][Member::Anon as usize] = 1;
        segments.cur[Segment::Stack as usize][Member::Anon as usize] = -2;
        segments.cur[Segment::Unknown as usize][Member::Anon as usize] = 11;
        Seen { image, segments }
    }

    fn theirs() -> [Held; SEGMENTS] {
        let mut all = [Held::default(); SEGMENTS];
        for (segment, pages) in [(Segment::Heap, 7), (Segment::Stack, 3)] {
            all[segment as usize] = Held {
                resident: pages * PAGE,
                anon: pages * PAGE,
                ..Held::default()
            };
        }
        all
    }

    #[test]
    fn what_was_there_is_what_there_is_without_what_came() {
        let base = base(&seen(), &theirs(), &seen(), PAGE);
        assert_eq!((base.image, base.within), (7, 0));
        let anon = |segment: Segment| base.held[segment as usize][Member::Anon as usize];
        assert_eq!((anon(Segment::Heap), anon(Segment::Stack)), (6, 5));
        assert_eq!(base.held[Segment::Unknown as usize], [0; 4]);
    }

    /// Whatever happened in between may have been seen or not.
    #[test]
    fn what_does_not_hold_still_has_a_bound() {
        let mut after = seen();
        after.image.events += 2;
        assert_eq!(base(&seen(), &theirs(), &after, PAGE).within, 1);
        // Three pages went, and three came.
        after.image.freed += 3;
        assert_eq!(base(&seen(), &theirs(), &after, PAGE).within, 6);
        // Four more were counted, but are not booked to a segment, nor in smaps.
        after.image.cur[Member::Anon as usize] += 4;
        assert_eq!(base(&seen(), &theirs(), &after, PAGE).within, 6 + 4 + 4);
        // A change that is under way.
        let mut under_way = theirs();
        under_way[Segment::Anon as usize].resident = PAGE;
        assert_eq!(base(&seen(), &under_way, &seen(), PAGE).within, 1);
    }
}
