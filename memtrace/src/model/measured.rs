//! The numbers of one image or tree, taken out of the kernel's structs once and
//! brought into a form in which nothing can overflow or be negative any more.

use memtrace_ebpf::{
    Image, ImageKind, ImageState, Integral, MEMBERS, Member, Pages, VM_FIELDS, VM_MEANS, VmField,
    VmMean,
};

use super::summary::Amounts;

/// All members, in index order.
const MEMBERS_IN_ORDER: [Member; MEMBERS] =
    [Member::File, Member::Anon, Member::Swap, Member::Shmem];

/// RSS without overflow, whatever the members hold.
pub(super) const fn rss(pages: &Pages) -> i64 {
    pages[Member::File as usize]
        .saturating_add(pages[Member::Anon as usize])
        .saturating_add(pages[Member::Shmem as usize])
}

/// Pages as bytes; negative counts as nothing.
pub(super) const fn bytes(pages: i64, page_size: u64) -> u64 {
    if pages <= 0 {
        0
    } else {
        (pages as u64).saturating_mul(page_size)
    }
}

/// Signed difference of pages as bytes.
pub(super) const fn signed_bytes(pages: i64, page_size: u64) -> i64 {
    let size = if page_size > i64::MAX as u64 {
        i64::MAX
    } else {
        page_size as i64
    };
    pages.saturating_mul(size)
}

/// Members as byte amounts.
pub(super) const fn amounts(pages: &Pages, page_size: u64) -> Amounts {
    Amounts {
        anon: bytes(pages[Member::Anon as usize], page_size),
        file: bytes(pages[Member::File as usize], page_size),
        shmem: bytes(pages[Member::Shmem as usize], page_size),
        swap: bytes(pages[Member::Swap as usize], page_size),
    }
}

/// A time integral continued with `now` pages from `since` to `until`.
pub(super) fn completed(integral: Integral, now: i64, since: u64, until: u64) -> u128 {
    let rest = u128::from(until.saturating_sub(since))
        .saturating_mul(u128::from(now.max(0).unsigned_abs()));
    integral.page_ns().saturating_add(rest)
}

/// The mean of an integral in page-nanoseconds over `lifetime`, in bytes, rounded down.
pub(super) fn average(page_ns: u128, lifetime: u64, page_size: u64) -> u64 {
    if lifetime == 0 {
        return 0;
    }
    let bytes = page_ns.saturating_mul(u128::from(page_size)) / u128::from(lifetime);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Means of all members; [`Amounts::rss`] of it is within three bytes of the mean of RSS.
pub(super) fn averages(page_ns: &[u128; MEMBERS], lifetime: u64, page_size: u64) -> Amounts {
    let of = |member: Member| average(page_ns[member as usize], lifetime, page_size);
    Amounts {
        anon: of(Member::Anon),
        file: of(Member::File),
        shmem: of(Member::Shmem),
        swap: of(Member::Swap),
    }
}

/// Completes the integrals of all members.
pub(super) fn completed_members(
    integral: &[Integral; MEMBERS],
    now: &Pages,
    since: &[u64; MEMBERS],
    until: u64,
) -> [u128; MEMBERS] {
    MEMBERS_IN_ORDER.map(|member| {
        let m = member as usize;
        completed(integral[m], now[m], since[m], until)
    })
}

/// The integral of RSS among those of the members.
pub(super) const fn rss_integral(page_ns: &[u128; MEMBERS]) -> u128 {
    page_ns[Member::File as usize]
        .saturating_add(page_ns[Member::Anon as usize])
        .saturating_add(page_ns[Member::Shmem as usize])
}

/// One image as it ended or as it was when tracing ended, in pages.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) id: u64,
    pub(super) parent: u64,
    /// The number of the process that [`Measured::tgid`] is of.
    pub(super) process: u64,
    pub(super) tgid: u32,
    pub(super) state: Option<ImageState>,
    pub(super) kind: Option<ImageKind>,
    pub(super) born_at: u64,
    /// `None`: still alive.
    pub(super) ended_at: Option<u64>,
    /// Until when `integral` reaches.
    pub(super) until: u64,
    pub(super) cur: Pages,
    pub(super) peak: Pages,
    pub(super) peak_rss: i64,
    pub(super) peak_rss_at: u64,
    pub(super) own_peak: Pages,
    pub(super) peak_rss_swap: i64,
    pub(super) at_peak: Pages,
    pub(super) at_peak_shared: i64,
    pub(super) seq: u64,
    pub(super) integral: [u128; MEMBERS],
    pub(super) events: u64,
    pub(super) vm_peak: [u64; VM_FIELDS],
    pub(super) vm_integral: [u128; VM_MEANS],
    pub(super) hiwater_vm: u64,
    pub(super) peak_huge: i64,
    pub(super) hiwater_rss: u64,
    pub(super) text_bytes: u64,
    pub(super) inherited: i64,
    pub(super) shared: i64,
    pub(super) residual: i64,
}

impl Measured {
    /// An image that has ended: the record says when.
    pub(super) fn ended(image: &Image) -> Self {
        Self::new(image, Some(image.header.at), image.header.at)
    }

    /// An image that lives at `now`.
    pub(super) fn alive(image: &Image, now: u64) -> Self {
        let mut measured = Self::new(image, None, now);
        // An increase that only waited for a swap-in to be taken back, and was not.
        measured.peak_rss_swap = measured.peak_rss_swap.max(image.held_rss_swap);
        measured
    }

    fn new(image: &Image, ended_at: Option<u64>, until: u64) -> Self {
        Self {
            id: image.id,
            parent: image.parent,
            process: image.process,
            tgid: image.tgid,
            state: state(image.state),
            kind: kind(image.kind),
            born_at: image.born_at,
            ended_at,
            until,
            cur: image.cur,
            peak: image.peak,
            peak_rss: image.peak_rss,
            peak_rss_at: image.peak_rss_at,
            own_peak: image.own_peak,
            peak_rss_swap: image.peak_rss_swap,
            at_peak: image.at_peak,
            at_peak_shared: image.at_peak_shared,
            seq: image.seq,
            integral: completed_members(&image.integral, &image.cur, &image.integral_at, until),
            events: image.events,
            vm_peak: image.vm_peak,
            vm_integral: completed_sizes(image, until),
            hiwater_vm: image.hiwater_vm.max(image.vm_cur[VmMean::Size as usize]),
            peak_huge: image.peak_huge,
            hiwater_rss: image.hiwater_rss,
            text_bytes: image.text_bytes,
            inherited: image.inherited,
            shared: image.shared,
            residual: image.residual,
        }
    }

    /// Whether its pages are part of the tree's sum: an image under construction by
    /// execve is not, its pages are still charged to the old image.
    pub(super) fn counted(&self) -> bool {
        self.state != Some(ImageState::Execing)
    }

    pub(super) const fn is_alive(&self) -> bool {
        self.ended_at.is_none()
    }

    /// What it held when the tree was at its peak number `peak_seq`.
    ///
    /// Before a value changes, an image whose `seq` is old saves that value under
    /// the tree's `seq`. So an old `seq` means that nothing changed since the peak:
    /// the image holds now what it held then, and an ended one held nothing.
    pub(super) fn at_peak(&self, peak_seq: u64) -> Pages {
        if !self.counted() {
            [0; MEMBERS]
        } else if self.seq >= peak_seq {
            self.at_peak
        } else if self.is_alive() {
            self.cur
        } else {
            [0; MEMBERS]
        }
    }

    /// How much of [`Measured::at_peak`] it may have shared with relatives.
    pub(super) fn shared_at_peak(&self, peak_seq: u64) -> i64 {
        let shared = if self.seq >= peak_seq {
            self.at_peak_shared
        } else {
            self.shared
        };
        shared.min(rss(&self.at_peak(peak_seq)))
    }

    /// What is impossible in its numbers, if anything.
    pub(super) fn nonsense(&self, peak_seq: u64) -> Option<&'static str> {
        let negative = |pages: &Pages| pages.iter().any(|&n| n < 0);
        if self.state.is_none() || self.kind.is_none() {
            Some("its state or kind is unknown")
        } else if negative(&self.cur)
            || negative(&self.peak)
            || negative(&self.own_peak)
            || negative(&self.at_peak)
            || self.inherited < 0
        {
            Some("a number is negative")
        } else if self.counted()
            && (self.peak_rss < rss(&self.cur)
                || self.peak_rss < rss(&self.at_peak)
                || self.peak_rss_swap < self.peak_rss
                || (0..MEMBERS)
                    .any(|m| self.peak[m] < self.cur[m].max(self.own_peak[m]).max(self.at_peak[m])))
        {
            Some("a peak is below a value that was reached")
        } else if self.peak_rss > rss(&self.peak) {
            Some("the peak is above the sum of its members' peaks")
        } else if self.seq > peak_seq {
            Some("it refers to a tree peak that never was")
        } else {
            None
        }
    }

    /// The peak of one size of virtual memory, in its own unit.
    pub(super) const fn vm(&self, field: VmField) -> u64 {
        self.vm_peak[field as usize]
    }
}

/// The integrals of virtual sizes up to `until`, with the present values from where
/// they stop.
fn completed_sizes(image: &Image, until: u64) -> [u128; VM_MEANS] {
    let missing = u128::from(until.saturating_sub(image.vm_integral_at));
    let mut integrals = [0; VM_MEANS];
    let parts = image.vm_integral.iter().zip(&image.vm_cur);
    for (integral, (kept, now)) in integrals.iter_mut().zip(parts) {
        *integral = kept
            .page_ns()
            .saturating_add(missing.saturating_mul(u128::from(*now)));
    }
    integrals
}

const fn state(raw: u32) -> Option<ImageState> {
    match raw {
        1 => Some(ImageState::Forking),
        2 => Some(ImageState::Execing),
        3 => Some(ImageState::Active),
        _ => None,
    }
}

const fn kind(raw: u32) -> Option<ImageKind> {
    match raw {
        1 => Some(ImageKind::Fork),
        2 => Some(ImageKind::Exec),
        3 => Some(ImageKind::Found),
        4 => Some(ImageKind::Attached),
        _ => None,
    }
}
