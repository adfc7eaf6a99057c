//! The timeline: keeps the envelopes of windows, or sends each change. What the records
//! mean is told at [`ImageWindow`](memtrace_ebpf::ImageWindow)'s module.
//!
//! **Windows.** Before something changes, the windows that the change belongs to are [opened](open), and what was
//! before is sent. Then each change of a counter tells of itself [before](before_change) and [after](after_change),
//! in its moment. Nearly all are increases in windows that are open: those have nothing to write down, for
//! what is held since the last fall is what is held now (`grown`).
//!
//! **Each change** is sent after it: all that is needed is what an image and its tree hold now and what was sent last.
//!
//! Functions of their own for the verifier, see `main`, take the image's address for the same reason. Without a
//! timeline the verifier removes the calls.

use memtrace_ebpf::{
    Change, ChangeKind, Image, ImageState, MEMBERS, Member, SIZES, Size, SizesChange, Timeline,
    Tree, VmMean,
    event::{CHANGE, Header, IMAGE_WINDOW, SIZES_CHANGE, TREE_WINDOW},
    rss,
};

use crate::{
    accounting::{booked_at, slot},
    kernel::{config, key},
    moment, segments, state, words,
};

/// A [`Timeline`].
#[inline(always)]
fn mode() -> u32 {
    if cfg!(feature = "lean") {
        return Timeline::Off as u32;
    }
    config!(timeline)
}

/// Whether it has windows.
#[inline(always)]
fn has_windows() -> bool {
    mode() == Timeline::Windows as u32
}

/// Whether each change is sent: then each takes the tree's lock, which keeps their order.
#[inline(always)]
pub(crate) fn sends_changes() -> bool {
    mode() == Timeline::EveryChange as u32
}

/// Whether nothing is to be sent for a change that is read at `at`: there are no windows, or those that it
/// belongs to are open. It stays so while the tree's lock is held, for others are opened under it, and as long as a
/// moment takes.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn is_within(image: *mut Image, tree: *mut Tree, at: u64) -> bool {
    if !has_windows() {
        return true;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let (own, whole) = (&raw const (*image).window, &raw const (*tree).window);
        (*own).updates != 0
            && (*own).start == (*whole).start
            && booked_at(tree, at) < (*whole).start + config!(window_ns)
    }
}

/// Opens the windows that a change of the image read at `at` belongs to, unless they are. To be called before the
/// change, under the tree's lock and not in a moment.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn open(image: *mut Image, tree: *mut Tree, at: u64) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if !is_within(image, tree, at) {
            timeline_open(key(image), at);
        }
    }
}

/// [`open`], for the image of `mm`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn timeline_open(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    moment::begin(tree);
    // SAFETY: map values.
    unsafe {
        let at = booked_at(tree, at);
        turn_tree(tree, (*image).tree, at);
        turn_image(image, tree);
    }
    moment::end(tree);
    0
}

/// A member of the image is about to change by `delta`, and with it the tree's sum, if the image counts. To be
/// called in the moment of the change, when its windows are open.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn before_change(image: *mut Image, tree: *mut Tree, member: u32, delta: i64) {
    if !has_windows() {
        return;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let rises = delta > 0 && member != Member::Swap as u32 && counts(image);
        if rises && (*tree).rss + delta > (*tree).window.max_rss {
            // What images held at the maximum before is of no interest any more, also what this one did.
            return;
        }
        if !rises {
            (*image).keep_growth();
            (*tree).keep_growth();
        }
        keep_for_max(image, tree);
    }
}

/// It has changed so.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn after_change(image: *mut Image, tree: *mut Tree, member: u32, delta: i64) {
    if has_windows() && delta < 0 {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            widen_down(image, tree, member);
            lower(image, tree);
        }
    }
}

/// Anything of the image is about to change. To be called in the moment of that, when the windows that it
/// belongs to are open.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn before_any(image: *mut Image) {
    if has_windows() {
        // SAFETY: the caller vouches for the pointer.
        timeline_before(key(image));
    }
}

/// [`before_any`], for the image of `mm`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn timeline_before(mm: u64) -> u64 {
    if let Some((image, tree)) = state::image_and_tree(mm) {
        // SAFETY: map values.
        unsafe {
            (*image).keep_growth();
            (*tree).keep_growth();
            keep_for_max(image, tree);
        }
    }
    0
}

/// What was to change after [`before_any`] has changed, at `at`; or one counter has, and its change is to be sent.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn after_any(image: *mut Image, at: u64) {
    if mode() != Timeline::Off as u32 {
        // SAFETY: the caller vouches for the pointer.
        timeline_changed(key(image), at);
    }
}

/// [`after_any`], for the image of `mm`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn timeline_changed(mm: u64, at: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        let at = booked_at(tree, at);
        if sends_changes() {
            send_changes(image, tree, at);
            return 0;
        }
        for member in 0..MEMBERS as u32 {
            widen_down(image, tree, member);
        }
        lower(image, tree);
        (*image).window.counted = counts(image).into();
        (*image).window.header.at = at;
        (*tree).window.header.at = at;
    }
    0
}

/// The image's virtual sizes are others, as seen at `at`. To be called in a moment.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn sizes_changed(image: *mut Image, tree: *mut Tree, at: u64) {
    if !has_windows() {
        return;
    }
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if is_within(image, tree, at) {
            words::copy(&raw mut (*image).window.sizes, sizes(image));
        } else {
            (*image).sizes_are_new = 1;
        }
    }
}

/// The image ends, and its window with it. To be called in a moment.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn ended(image: *mut Image) {
    if has_windows() {
        // SAFETY: the caller vouches for the pointer.
        unsafe { (*image).complete_window() };
    }
}

/// What is shared after fork has changed at the end of an image. To be called in a moment, under the tree's lock.
///
/// # Safety
///
/// `tree` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn shared_changed(tree: *mut Tree, index: u32, at: u64) {
    if sends_changes() {
        // SAFETY: the caller vouches for the pointer.
        unsafe { send_shared(tree, index, at) };
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
    // SAFETY: a map value, see `timeline_open`.
    unsafe {
        let width = config!(window_ns);
        if width == 0 {
            return;
        }
        let start = at - at % width;
        let window = &raw mut (*tree).window;
        if (*window).updates != 0 {
            if start <= (*window).start {
                return;
            }
            (*tree).complete_window();
            state::send_to_timeline(&*window);
        }
        (*window).header.kind = TREE_WINDOW;
        (*window).header.tree = index;
        (*window).header.at = start;
        (*window).start = start;
        (*window).seq += 1;
        (*window).min_rss = (*tree).rss;
        (*window).max_rss = (*tree).rss;
        (*window).max_rss_at = start;
        let held = &raw const (*tree).cur;
        words::copy(&raw mut (*window).min, held);
        words::copy(&raw mut (*window).max, held);
        words::copy(&raw mut (*window).at_max, held);
        (*window).updates = 1;
        (*tree).events_before = (*tree).events;
    }
}

/// Brings the image's window to the tree's, and keeps what the image held when the tree
/// was at its largest in it.
#[inline(always)]
unsafe fn turn_image(image: *mut Image, tree: *mut Tree) {
    // SAFETY: map values, see `timeline_open`.
    unsafe {
        let window = &raw mut (*image).window;
        let start = (*tree).window.start;
        let is_open = (*window).updates != 0;
        if is_open && (*window).start == start {
            return;
        }
        if is_open {
            (*image).complete_window();
            if segments::are_on() {
                segments::segments_moment(key(image), (*window).header.at);
            }
            state::send_to_timeline(&*window);
        }
        let held = &raw const (*image).cur;
        (*window).header.kind = IMAGE_WINDOW;
        (*window).header.tree = (*image).tree;
        (*window).header.at = start;
        (*window).image = (*image).id;
        (*window).start = start;
        (*window).min_rss = rss(&*held);
        (*window).max_rss = rss(&*held);
        (*window).max_rss_at = start;
        words::copy(&raw mut (*window).min, held);
        words::copy(&raw mut (*window).max, held);
        if (*image).sizes_are_new != 0 {
            (*image).sizes_are_new = 0;
            words::copy(&raw mut (*window).sizes, sizes(image));
        }
        keep_for_max(image, tree);
        // As of the change that it is opened for; `enter_tree()` says when that is another.
        (*window).counted = counts(image).into();
        (*window).updates = 1;
        (*image).events_before = (*image).events;
    }
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
                words::copy(at_tree_max, &raw const (*image).cur);
            } else {
                words::clear(at_tree_max);
            }
            (*window).seq = (*tree).window.seq;
        }
    }
}

/// One member of the image, and so its sum, has perhaps fallen.
#[inline(always)]
unsafe fn widen_down(image: *mut Image, tree: *mut Tree, member: u32) {
    // SAFETY: map values, see the callers.
    unsafe {
        let least = slot(&raw mut (*image).window.min, member);
        let now = *slot(&raw mut (*image).cur, member);
        if now < *least {
            *least = now;
        }
        let least = slot(&raw mut (*tree).window.min, member);
        let now = *slot(&raw mut (*tree).cur, member);
        if now < *least {
            *least = now;
        }
    }
}

/// RSS has perhaps fallen.
#[inline(always)]
unsafe fn lower(image: *mut Image, tree: *mut Tree) {
    // SAFETY: map values, see the callers.
    unsafe {
        let resident = rss(&(*image).cur);
        if resident < (*image).window.min_rss {
            (*image).window.min_rss = resident;
        }
        if (*tree).rss < (*tree).window.min_rss {
            (*tree).window.min_rss = (*tree).rss;
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
