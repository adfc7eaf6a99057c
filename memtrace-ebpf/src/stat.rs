//! Counters of everything that a program saw or could lose.

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Index into the per-CPU statistics map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Stat {
            $($(#[$doc])* $name,)*
        }

        impl Stat {
            /// All of them, in index order.
            pub const ALL: [Self; [$($text,)*].len()] = [$(Self::$name,)*];

            /// What it counts, in words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

stats! {
    /// Records that found the ring buffer full.
    RingFull = "records lost, ring buffer full",
    /// Images that found the image map full.
    ImagesFull = "images lost, image map full",
    /// Processes that found the process map full.
    ProcessesFull = "processes lost, process map full",
    /// A map update or deletion that failed for another reason (`-EBUSY`).
    MapBusy = "map updates refused by the kernel",
    /// A read of kernel memory that failed.
    ReadFailed = "reads of kernel memory that failed",
    /// A counter value below 0, taken for 0 (a sum read while shares moved).
    Negative = "sums below zero, taken for zero",
    /// A sum that was read again because a CPU's share moved meanwhile.
    Torn = "sums read again",
    /// A sum that stayed unverified: the lowest reading was taken.
    Unverified = "sums that could not be verified",
    /// An image of a tracked process that was found by a later event than its first.
    Healed = "images found late",
    /// A process that was found by a later event than its creation.
    ProcessHealed = "processes found late",
    /// Images that ended with counters that were not 0.
    Residual = "images that ended with a residual",
    /// Threads that found the map of thread caches full (up to 6.1).
    CachesFull = "thread caches lost, cache map full",
    /// Flushes of a thread's cache that another thread's update had booked already (up to 6.1).
    CacheOverlap = "flushes of thread caches that overlapped",
    /// An update that was not ordered by the tree's lock.
    Unlocked = "updates without the tree's lock",
    /// Records of the timeline that found its ring buffer full. Peaks do not depend on them.
    TimelineFull = "timeline records lost, ring buffer full",
    /// A further program on an event had none to go on in.
    NotContinued = "programs that could not go on",
    /// Images for whose segments there was no room.
    SegmentsFull = "images without segments, segment map full",
    /// Updates of an image that ended while they waited for the tree's lock.
    Outlived = "updates that came after the end of their image",
    /// Images and processes for which the kernel found no memory.
    NoMemory = "images or processes lost, the kernel had no memory for them",
    /// Processes that were taken in without their memory, which is that of one that is not followed.
    Borrowed = "processes that have the memory of one that does not belong to the tree, which is not counted",
    /// With segments: changes whose event one program was skipped for, and a further one looked at. Counted by
    /// userspace.
    SegmentsCaughtUp = "changes of counters that a further program caught up on: what their segments are is not certain",
}
