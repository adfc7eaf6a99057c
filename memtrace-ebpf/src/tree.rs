//! A tree: a root process and everything it or its descendants create.

use crate::{Integral, MEMBERS, Pages, TreeWindow};

/// How many stretches of the recent past a [`Tree`] remembers.
pub const EPOCHS: usize = 8;

/// How many trees there can be at a time.
pub const MAX_TREES: u32 = 64;

/// Totals of one tree; an array map's value.
///
/// Updates are ordered, so that peak, breakdown and footprint belong to one and the same moment: by
/// [`Tree::moment`], with [`Tree::lock`] around it for what concerns several images; on older kernels
/// ([`Config::spin_lock`](crate::Config::spin_lock) is 0) by [`Tree::lock`] alone.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tree {
    /// Its index.
    pub index: u64,
    /// 1 while a program updates the tree and what concerns several of its images.
    pub lock: u64,
    /// 1 while numbers change that belong to one moment.
    pub moment: u64,
    /// How often a program gave up waiting for the lock and went on without it, although the totals
    /// depended on it.
    pub unlocked: u64,
    /// Sum of its images, by member.
    pub cur: Pages,
    /// Sum of RSS.
    pub rss: i64,
    /// Peak of [`Tree::rss`].
    pub peak_rss: i64,
    /// When that was.
    pub peak_rss_at: u64,
    /// How many times a new peak was reached; see [`Image::seq`](crate::Image::seq).
    pub peak_seq: u64,
    /// Peak of the sum of each member.
    pub peak: Pages,
    /// Peak of RSS + swap.
    pub peak_rss_swap: i64,
    /// RSS + swap after an increase that may be a swap-in; see [`Image::held_rss_swap`](crate::Image::held_rss_swap).
    pub held_rss_swap: i64,
    /// Time integral of each member's sum.
    pub integral: [Integral; MEMBERS],
    /// Until when each member is integrated.
    pub integral_at: [u64; MEMBERS],
    /// Pages counted in more than one image because of fork: upper bound.
    pub shared: i64,
    /// By how much [`Tree::shared`] may be too high.
    pub uncertain: i64,
    /// Sum of its images' [`Image::held_shared`](crate::Image::held_shared): so many more pages may be
    /// counted in more than one image.
    pub held_shared: i64,
    /// What [`Tree::shared`] is to be at the next moment that belongs together: in the hands of who has
    /// the lock.
    pub shared_next: i64,
    /// The same for [`Tree::uncertain`].
    pub uncertain_next: i64,
    /// The same for [`Tree::held_shared`].
    pub held_shared_next: i64,
    /// Pages of images that are being copied ([`ImageState::Forking`](crate::ImageState::Forking)): part of
    /// [`Tree::shared`], and not of [`Tree::shared_next`], for they change in moments and without the lock.
    pub copying: i64,
    /// Peak of the footprint's low bound, `rss - shared`, with [`Tree::files`] for all pages of files
    /// and shared memory.
    pub peak_footprint_low: i64,
    /// When that was.
    pub peak_footprint_low_at: u64,
    /// Peak of the footprint's high bound, `rss - shared + min(shared, uncertain)`.
    pub peak_footprint_high: i64,
    /// When that was.
    pub peak_footprint_high_at: u64,
    /// Pages of files and shared memory in the image that has most of them: as many, at least, are
    /// not the same ones.
    pub files: i64,
    /// That image's id.
    pub files_of: u64,
    /// Time integral of [`Tree::files`].
    pub files_integral: Integral,
    /// Until when it is integrated.
    pub files_integral_at: u64,
    /// Time integral of [`Tree::shared`].
    pub shared_integral: Integral,
    /// Until when it is integrated.
    pub shared_integral_at: u64,
    /// The recent past, for doubts that are found late: [`EPOCHS`] stretches of time,
    /// the present one at `epoch % EPOCHS`.
    pub epoch: u64,
    /// When each began; 0 if it has not been.
    pub epoch_start: [u64; EPOCHS],
    /// The largest high bound of the footprint in each.
    pub epoch_high: [i64; EPOCHS],
    /// The largest RSS in each.
    pub epoch_rss: [i64; EPOCHS],
    /// Sum of its images' huge pages; see [`Image::huge`](crate::Image::huge).
    pub huge: i64,
    /// Peak of [`Tree::huge`].
    pub peak_huge: i64,
    /// When something was booked last: nothing is booked for a time before.
    pub latest: u64,
    /// When its first image became active.
    pub started_at: u64,
    /// Counter updates of its images.
    pub events: u64,
    /// Images born in it.
    pub images: u64,
    /// Processes born in it, the root included.
    pub processes: u64,
    /// Processes alive.
    pub live: i64,
    /// Threads alive, those of single-threaded processes included; counted only where
    /// threads hold back changes of the counters (up to 6.1).
    pub threads: i64,
    /// The most threads alive at a time.
    pub peak_threads: i64,
    /// How often the record of who shares with whom was not kept; the footprint's own
    /// bounds are void then.
    pub family_lost: u64,
    /// [`Tree::events`] when [`Tree::window`] was opened.
    pub events_before: u64,
    /// The timeline's open window, if one is, but for [what it has grown to](Tree::complete_window). Where each
    /// change is sent, what was sent last; no window is open then.
    pub window: TreeWindow,
}

/// The one value of the control map.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Control {
    /// Last image id given out.
    pub last_image: u64,
    /// Last process id given out.
    pub last_process: u64,
    /// tgid, in the initial PID namespace, of the process that registered as root; 0 before.
    pub root_tgid: u32,
    /// 1 once the per-CPU offsets are known.
    pub offsets_ready: u32,
    /// How many processes were taken in that ran before.
    pub attached: u64,
    /// How often a process was not taken in, because one has to come first whose memory it has.
    pub waiting: u32,
    /// No meaning.
    pub reserved: u32,
    /// [`Process::id`](crate::Process::id) of the creator of the one that is being taken in, or 0.
    pub creator: u64,
    /// For each tree the address of the first image, in the order of families, of those that were there before
    /// tracing began and of their heirs; 0 if there is none.
    pub first_attached: [u64; MAX_TREES as usize],
    /// `this_cpu` offset of every CPU, for per-CPU pointers of the kernel.
    pub cpu_offset: [u64; crate::MAX_CPUS],
}

const _: () = assert!(size_of::<Tree>().is_multiple_of(8));
const _: () = assert!(size_of::<Control>() == 48 + 8 * MAX_TREES as usize + 8 * crate::MAX_CPUS);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, only 64-bit words and a window, which has no padding either.
unsafe impl aya::Pod for Tree {}
#[cfg(feature = "user")]
// SAFETY: `repr(C)`, u64s and an even number of u32s: no padding.
unsafe impl aya::Pod for Control {}
