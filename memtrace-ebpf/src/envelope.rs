//! The timeline: keeps the envelopes of windows, or sends each change. What the records
//! mean is told at [`ImageWindow`](memtrace_ebpf::ImageWindow)'s module.
//!
//! All that is needed is what an image and its tree hold now and what they held when
//! their windows were looked at last, so one call after each change does everything, under
//! the tree's lock. It is a function of its own for the verifier, see
//! `main`, and takes the image's address for the same reason. Without a
//! timeline the verifier removes the call.

use core::cmp::max;

use memtrace_ebpf::{
    Change, ChangeKind, Image, ImageState, MEMBERS, Pages, SIZES, Size, SizesChange, Timeline,
    Tree,
    event::{CHANGE, Header, IMAGE_WINDOW, SIZES_CHANGE, TREE_WINDOW},
    rss,
};

use crate::{
    accounting::slot,
    kernel::{Struct, config, key, offset},
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

/// The image, and so its tree, has changed. Call under the tree's lock.
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
        if mode == Timeline::EveryChange as u32 {
            send_changes(image, tree, at);
            return 0;
        }
        turn_tree(tree, (*image).tree, at);
        turn_image(image, tree);
        widen_image(image, at);
        widen_tree(tree, at);
    }
    0
}

/// What is shared after fork has changed at the end of an image. Call under the tree's lock.
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
            (*tree).window.shared = (*tree).shared;
            (*tree).window.uncertain = (*tree).uncertain;
        }
        if mode == Timeline::EveryChange as u32 {
            send_shared(tree, index, at);
        }
    }
}

/// Notes the virtual sizes of an image that are not kept otherwise. Call under the tree's
/// lock.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_sizes(image: *mut Image, mm: impl Struct) {
    if !is_on() {
        return;
    }
    // SAFETY: `image` as the caller vouches.
    unsafe {
        let start: u64 = mm.load(offset!(mm_start_brk));
        let end: u64 = mm.load(offset!(mm_brk));
        let mut sizes = [0; SIZES];
        sizes[Size::Total as usize] = mm.load(offset!(mm_total_vm));
        sizes[Size::Data as usize] = mm.load(offset!(mm_data_vm));
        sizes[Size::Stack as usize] = mm.load(offset!(mm_stack_vm));
        sizes[Size::Exec as usize] = mm.load(offset!(mm_exec_vm));
        sizes[Size::PageTables as usize] = mm.load(offset!(mm_pgtables_bytes));
        sizes[Size::Locked as usize] = mm.load(offset!(mm_locked_vm));
        if end > start && start != 0 {
            sizes[Size::Heap as usize] = end - start;
        }
        (*image).sizes = sizes;
    }
}

#[inline(always)]
unsafe fn counts(image: *mut Image) -> bool {
    // SAFETY: a map value, see the callers.
    unsafe { (*image).state != ImageState::Execing as u32 }
}

/// Sends the tree's window and opens the next, if `at` is beyond it. Clocks are read
/// before the lock is taken, so `at` can also be a little before it.
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
        if (*window).seq != (*tree).window.seq {
            let at_tree_max = &raw mut (*window).at_tree_max;
            if (*window).counted != 0 {
                words::copy(at_tree_max, &held);
            } else {
                words::clear(at_tree_max);
            }
            (*window).seq = (*tree).window.seq;
        }
    }
}

#[inline(always)]
unsafe fn widen_image(image: *mut Image, at: u64) {
    // SAFETY: a map value, see `timeline_changed`.
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
        widen_members(
            &raw mut (*image).cur,
            &raw mut (*window).min,
            &raw mut (*window).max,
        );
        (*window).last = (*image).cur;
        (*window).sizes = (*image).sizes;
        (*window).counted = counts(image).into();
        (*window).updates += 1;
        (*window).header.at = at;
    }
}

#[inline(always)]
unsafe fn widen_tree(tree: *mut Tree, at: u64) {
    // SAFETY: a map value, see `timeline_changed`.
    unsafe {
        let window = &raw mut (*tree).window;
        let resident = (*tree).rss;
        if resident > (*window).max_rss {
            (*window).max_rss = resident;
            (*window).max_rss_at = max(at, (*window).start);
            (*window).at_max = (*tree).cur;
            (*window).seq += 1;
        }
        if resident < (*window).min_rss {
            (*window).min_rss = resident;
        }
        widen_members(
            &raw mut (*tree).cur,
            &raw mut (*window).min,
            &raw mut (*window).max,
        );
        (*window).last = (*tree).cur;
        (*window).shared = (*tree).shared;
        (*window).uncertain = (*tree).uncertain;
        (*window).updates += 1;
        (*window).header.at = at;
    }
}

#[inline(always)]
unsafe fn widen_members(now: *mut Pages, least: *mut Pages, largest: *mut Pages) {
    for member in 0..MEMBERS as u32 {
        // SAFETY: map values, see the callers.
        unsafe {
            let value = *slot(now, member);
            let (least, largest) = (slot(least, member), slot(largest, member));
            if value < *least {
                *least = value;
            }
            if value > *largest {
                *largest = value;
            }
        }
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
        if (*sent).sizes != (*image).sizes {
            (*sent).sizes = (*image).sizes;
            state::send_to_timeline(&SizesChange {
                header: header(SIZES_CHANGE),
                image: (*image).id,
                sizes: (*image).sizes,
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
