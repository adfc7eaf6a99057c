//! The timeline: keeps the envelopes of windows, or sends each change. What the records
//! mean is told at [`ImageWindow`](memtrace_ebpf::ImageWindow)'s module.
//!
//! All that is needed is what an image and its tree hold now and what they held when
//! their windows were looked at last, so one call after each change does everything, in the moment of the
//! change. It is a function of its own for the verifier, see
//! `main`, and takes the image's address for the same reason. Without a
//! timeline the verifier removes the call.
//!
//! Nearly all changes belong to windows that are open. Those only widen them ([`widen`]), and need the tree's lock
//! no more than they do without a timeline; it is taken to send windows and to open others.

use core::cmp::max;

use memtrace_ebpf::{
    Change, ChangeKind, Image, ImageState, MEMBERS, SIZES, Size, SizesChange, Timeline, Tree,
    VmMean,
    event::{CHANGE, Header, IMAGE_WINDOW, SIZES_CHANGE, TREE_WINDOW},
    rss,
};

use crate::{
    accounting::{booked_at, slot},
    kernel::{config, key},
    segments, state, words,
};

/// A [`Timeline`].
#[inline(always)]
fn mode() -> u32 {
    if cfg!(feature = "lean") {
        return Timeline::Off as u32;
    }
    config!(timeline)
}

/// Whether there is one.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    mode() != Timeline::Off as u32
}

/// The image, and so its tree, has changed. To be called in the moment of the change, under the tree's lock.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn changed(image: *mut Image, at: u64) {
    if is_on() {
        // SAFETY: the caller vouches for the pointer.
        timeline_changed(key(image), at);
    }
}

/// [`changed`] for the image of `mm`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn timeline_changed(mm: u64, at: u64) -> u64 {
    let mode = mode();
    if mode == Timeline::Off as u32 {
        return 0;
    }
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let at = booked_at(tree, at);
        if mode == Timeline::EveryChange as u32 {
            send_changes(image, tree, at);
            return 0;
        }
        turn_tree(tree, (*image).tree, at);
        turn_image(image, tree);
        for member in 0..MEMBERS as u32 {
            widen_image(image, member);
            widen_tree(tree, member);
        }
        let window = &raw mut (*image).window;
        (*window).counted = counts(image).into();
        note_image(image, at);
        note_shared(tree);
        if (*tree).rss > (*tree).window.max_rss {
            words::copy(&raw mut (*tree).window.at_max, &raw const (*tree).cur);
            raise_tree(tree, at);
        }
        (*tree).at_max_is_cur = 0;
        note_tree(tree, at);
    }
    0
}

/// Whether each change is sent: then each takes the tree's lock, which keeps their order.
#[inline(always)]
pub(crate) fn sends_changes() -> bool {
    mode() == Timeline::EveryChange as u32
}

/// Whether nothing is to be sent for a change that is read at `at`: there is no timeline, or the windows that it
/// belongs to are open. To be called in a moment.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn is_within(image: *mut Image, tree: *mut Tree, at: u64) -> bool {
    if !is_on() {
        return true;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let (own, whole) = (&raw const (*image).window, &raw const (*tree).window);
        (*own).updates != 0
            && (*whole).updates != 0
            && (*own).start == (*whole).start
            && booked_at(tree, at) < (*whole).start + config!(window_ns)
    }
}

/// Widens the windows of an image and of its tree by a change of a member that is [within](is_within) them. To be
/// called in the moment of the change, when it is booked.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn widen(image: *mut Image, tree: *mut Tree, member: u32) {
    if !is_on() {
        return;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        // The time at which it is booked.
        let at = (*tree).latest;
        if (*tree).rss > (*tree).window.max_rss {
            // What images held at the maximum before is of no interest any more, also what this one did.
            keep_at_max(tree, member);
            raise_tree(tree, at);
        } else {
            (*tree).at_max_is_cur = 0;
            keep_for_max(image, tree);
        }
        widen_image(image, member);
        widen_tree(tree, member);
        note_image(image, at);
        if (*image).state == ImageState::Forking as u32 {
            note_shared(tree);
        }
        note_tree(tree, at);
    }
}

/// What is shared after fork has changed at the end of an image. To be called in a moment, under the tree's lock.
///
/// # Safety
///
/// `tree` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn shared_changed(tree: *mut Tree, index: u32, at: u64) {
    let mode = mode();
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if mode == Timeline::Windows as u32 && (*tree).window.updates != 0 {
            note_shared(tree);
        }
        if mode == Timeline::EveryChange as u32 {
            send_shared(tree, index, at);
        }
    }
}

/// The virtual sizes of an image that a timeline has: the first of all that are kept.
#[inline(always)]
unsafe fn sizes(image: *mut Image) -> *const [u64; SIZES] {
    const {
        assert!(Size::Total as u32 == VmMean::Size as u32);
        assert!(Size::Data as u32 == VmMean::Data as u32);
        assert!(Size::Stack as u32 == VmMean::Stack as u32);
        assert!(Size::Exec as u32 == VmMean::Exec as u32);
        assert!(Size::Heap as u32 == VmMean::Heap as u32);
        assert!(Size::PageTables as u32 == VmMean::PageTables as u32);
        assert!(Size::Locked as u32 == VmMean::Locked as u32);
        assert!(SIZES == VmMean::Locked as usize + 1);
    }
    // SAFETY: a map value, see the callers.
    unsafe { (&raw const (*image).vm_cur).cast() }
}

#[inline(always)]
unsafe fn counts(image: *mut Image) -> bool {
    // SAFETY: a map value, see the callers.
    unsafe { (*image).state != ImageState::Execing as u32 }
}

/// Sends the tree's window and opens the next, if `at` is beyond it.
#[inline(always)]
unsafe fn turn_tree(tree: *mut Tree, index: u32, at: u64) {
    // SAFETY: a map value, see `timeline_changed`.
    unsafe {
        let width = config!(window_ns);
        if width == 0 {
            return;
        }
        let start = at - at % width;
        let window = &raw mut (*tree).window;
        let open = (*window).updates != 0;
        if open && start <= (*window).start {
            return;
        }
        if open {
            state::send_to_timeline(&*window);
        }
        let held = (*window).last;
        (*window).header.kind = TREE_WINDOW;
        (*window).header.tree = index;
        (*window).start = start;
        (*window).seq += 1;
        (*window).min_rss = rss(&held);
        (*window).max_rss = rss(&held);
        (*window).max_rss_at = start;
        (*window).min = held;
        (*window).max = held;
        (*window).at_max = held;
        (*window).updates = 0;
    }
}

/// Brings the image's window to the tree's, and keeps what the image held when the tree
/// was at its largest in it.
#[inline(always)]
unsafe fn turn_image(image: *mut Image, tree: *mut Tree) {
    // SAFETY: map values, see `timeline_changed`.
    unsafe {
        let window = &raw mut (*image).window;
        let held = (*window).last;
        let open = (*window).updates != 0;
        if !open || (*window).start != (*tree).window.start {
            if open {
                if segments::are_on() {
                    segments::segments_moment(key(image), (*window).header.at);
                }
                state::send_to_timeline(&*window);
            }
            (*window).header.kind = IMAGE_WINDOW;
            (*window).header.tree = (*image).tree;
            (*window).image = (*image).id;
            (*window).start = (*tree).window.start;
            (*window).min_rss = rss(&held);
            (*window).max_rss = rss(&held);
            (*window).max_rss_at = (*tree).window.start;
            (*window).min = held;
            (*window).max = held;
            (*window).updates = 0;
        }
    }
    // SAFETY: as above.
    unsafe { keep_for_max(image, tree) };
}

/// Keeps what the image held when the tree was at its largest in the window, if that has been since the image's last
/// change.
#[inline(always)]
unsafe fn keep_for_max(image: *mut Image, tree: *mut Tree) {
    // SAFETY: map values, see the callers.
    unsafe {
        let window = &raw mut (*image).window;
        if (*window).seq != (*tree).window.seq {
            let at_tree_max = &raw mut (*window).at_tree_max;
            if (*window).counted != 0 {
                words::copy(at_tree_max, &raw const (*window).last);
            } else {
                words::clear(at_tree_max);
            }
            (*window).seq = (*tree).window.seq;
        }
    }
}

/// What the image holds after a change of any of its members.
#[inline(always)]
unsafe fn note_image(image: *mut Image, at: u64) {
    // SAFETY: a map value, see the callers.
    unsafe {
        let window = &raw mut (*image).window;
        let resident = rss(&(*image).cur);
        if resident > (*window).max_rss {
            (*window).max_rss = resident;
            (*window).max_rss_at = max(at, (*window).start);
        }
        if resident < (*window).min_rss {
            (*window).min_rss = resident;
        }
        // A reading that was booked after a later one can have been the image's peak.
        let peak = (*image).peak_rss;
        if peak > (*window).max_rss && (*image).peak_rss_at >= (*window).start {
            (*window).max_rss = peak;
            (*window).max_rss_at = (*image).peak_rss_at;
        }
        if (*image).sizes_are_new != 0 {
            (*image).sizes_are_new = 0;
            words::copy(&raw mut (*window).sizes, sizes(image));
        }
        (*window).updates += 1;
        (*window).header.at = at;
    }
}

/// The tree has more than at any time of the window before.
#[inline(always)]
unsafe fn raise_tree(tree: *mut Tree, at: u64) {
    // SAFETY: a map value, see the callers.
    unsafe {
        let window = &raw mut (*tree).window;
        (*window).max_rss = (*tree).rss;
        (*window).max_rss_at = max(at, (*window).start);
        (*window).seq += 1;
    }
}

/// Keeps the members' sums at the maximum. While it grows, only the one that changed has to be copied.
#[inline(always)]
unsafe fn keep_at_max(tree: *mut Tree, member: u32) {
    // SAFETY: a map value, see the callers.
    unsafe {
        let (cur, at_max) = (&raw mut (*tree).cur, &raw mut (*tree).window.at_max);
        if (*tree).at_max_is_cur != 0 {
            *slot(at_max, member) = *slot(cur, member);
            return;
        }
        words::copy(at_max, cur);
        (*tree).at_max_is_cur = 1;
    }
}

/// The same for the tree.
#[inline(always)]
unsafe fn note_tree(tree: *mut Tree, at: u64) {
    // SAFETY: a map value, see the callers.
    unsafe {
        let window = &raw mut (*tree).window;
        let resident = (*tree).rss;
        if resident < (*window).min_rss {
            (*window).min_rss = resident;
        }
        (*window).updates += 1;
        (*window).header.at = at;
    }
}

/// What is shared after fork.
#[inline(always)]
unsafe fn note_shared(tree: *mut Tree) {
    // SAFETY: a map value, see the callers.
    unsafe {
        (*tree).window.shared = (*tree).shared;
        (*tree).window.uncertain = (*tree).uncertain;
    }
}

/// One member of the image has perhaps changed.
#[inline(always)]
unsafe fn widen_image(image: *mut Image, member: u32) {
    // SAFETY: a map value, see the callers.
    unsafe {
        let window = &raw mut (*image).window;
        widen_member(
            *slot(&raw mut (*image).cur, member),
            slot(&raw mut (*window).min, member),
            slot(&raw mut (*window).max, member),
            slot(&raw mut (*window).last, member),
        );
    }
}

/// And so its sum.
#[inline(always)]
unsafe fn widen_tree(tree: *mut Tree, member: u32) {
    // SAFETY: a map value, see the callers.
    unsafe {
        let window = &raw mut (*tree).window;
        widen_member(
            *slot(&raw mut (*tree).cur, member),
            slot(&raw mut (*window).min, member),
            slot(&raw mut (*window).max, member),
            slot(&raw mut (*window).last, member),
        );
    }
}

#[inline(always)]
unsafe fn widen_member(value: i64, least: *mut i64, largest: *mut i64, last: *mut i64) {
    // SAFETY: fields of map values, see the callers.
    unsafe {
        if value < *least {
            *least = value;
        }
        if value > *largest {
            *largest = value;
        }
        *last = value;
    }
}

/// Sends what differs from what was sent last.
#[inline(always)]
unsafe fn send_changes(image: *mut Image, tree: *mut Tree, at: u64) {
    // SAFETY: map values, see `timeline_changed`.
    unsafe {
        let sent = &raw mut (*image).window;
        let counted = counts(image);
        let index = (*image).tree;
        let header = |kind| Header {
            kind,
            tree: index,
            at,
        };
        if (*sent).sizes != *sizes(image) {
            (*sent).sizes = *sizes(image);
            state::send_to_timeline(&SizesChange {
                header: header(SIZES_CHANGE),
                image: (*image).id,
                sizes: (*sent).sizes,
            });
        }
        if counted && (*sent).counted == 0 {
            (*sent).counted = 1;
            let [file, anon, swap, shmem] = (*sent).last;
            if file | anon | swap | shmem != 0 {
                state::send_to_timeline(&Change {
                    header: header(CHANGE),
                    image: (*image).id,
                    value: 0,
                    member: 0,
                    kind: ChangeKind::Enters as u32,
                });
            }
        }
        let kind = if counted {
            ChangeKind::Counted as u32
        } else {
            ChangeKind::Uncounted as u32
        };
        // See `Change`: what falls goes first.
        for rises in [false, true] {
            for member in 0..MEMBERS as u32 {
                let value = *slot(&raw mut (*image).cur, member);
                let before = slot(&raw mut (*sent).last, member);
                if value != *before && (value > *before) == rises {
                    *before = value;
                    state::send_to_timeline(&Change {
                        header: header(CHANGE),
                        image: (*image).id,
                        value,
                        member,
                        kind,
                    });
                }
            }
        }
        send_shared(tree, index, at);
    }
}

#[inline(always)]
unsafe fn send_shared(tree: *mut Tree, index: u32, at: u64) {
    // SAFETY: a map value, see the callers.
    unsafe {
        if (*tree).window.shared == (*tree).shared {
            return;
        }
        (*tree).window.shared = (*tree).shared;
        state::send_to_timeline(&Change {
            header: Header {
                kind: CHANGE,
                tree: index,
                at,
            },
            image: 0,
            value: (*tree).shared,
            member: 0,
            kind: ChangeKind::Shared as u32,
        });
    }
}
