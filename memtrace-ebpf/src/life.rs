//! Updates of images.

use memtrace_ebpf::{Image, ImageKind, ImageState, Stat};

use crate::{
    accounting::{self, Update},
    counters, ends, envelope, family,
    kernel::{Struct, Typed, as_number, config, key, offset},
    moment::{self, next_reading},
    segments, sizes,
    state::{self, Held},
};

/// Books the present value of one member, for which see [`counters::sum`].
#[inline(always)]
pub(crate) fn update(mm: Typed, member: impl Fn() -> u32, image: *mut Image) {
    // Where numbers change in moments, nothing is read under the lock.
    let locks_first = !moment::are_apart();
    // SAFETY: map values.
    unsafe {
        let Some(tree) = state::tree((*image).tree) else {
            return;
        };
        let mut held = Held::NOT;
        if locks_first {
            held = state::lock(tree);
            if !is_of(mm, image) {
                state::unlock(tree, held);
                return;
            }
        }
        let ending = is_ending(mm);
        let reading = next_reading(image);
        counters::touch(image);
        let value = counters::sum(mm, &member, image, false);
        let mut update = Update {
            member: member(),
            value,
            at: state::now(),
            ending,
            reading,
        };
        if !locks_first {
            if book_alone(mm, image, tree, &update) {
                return;
            }
            held = state::lock(tree);
            if !is_of(mm, image) {
                state::unlock(tree, held);
                return;
            }
            update.ending = is_ending(mm);
        }
        let ended = book_with_others(mm, image, tree, &update);
        state::unlock(tree, held);
        if ended {
            state::remove_image(key(image));
        }
    }
}

/// Whether an update of the image concerns no other one, and no more than its own numbers and its tree's.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn is_alone(image: *mut Image, ending: bool) -> bool {
    // SAFETY: as the caller vouches.
    unsafe {
        // What comes with the first update of its end, and perhaps with the last, is more than that.
        let stage = if ending { ends::event_reason::BEGUN } else { 0 };
        (*image).state != ImageState::Execing as u32
            && (*image).end_reason == stage
            && !family::has_relatives(image)
    }
}

/// Books an update without the tree's lock, where that is possible; else false. Nearly all are booked so.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
unsafe fn book_alone(
    mm: Typed,
    image: *mut Image,
    tree: *mut memtrace_ebpf::Tree,
    update: &Update,
) -> bool {
    let ending = update.ending;
    // SAFETY: as the caller vouches; what changes does so in a moment.
    unsafe {
        if envelope::sends_changes()
            || segments::are_on()
            || (ending && config!(ends_at_exit_mmap) == 0)
            || !is_alone(image, ending)
        {
            return false;
        }
        let mut whole = 0;
        // One that is being copied has them when that is done.
        if !ending && (*image).state == ImageState::Active as u32 {
            // By its own number: the map's element can be another's by now.
            let number = || as_number(mm.address()).unwrap_or(0);
            sizes::note_others(image, mm, number, update.at);
            whole = sizes::whole(image, mm);
        }
        moment::begin(tree);
        // Still: meanwhile it can have ended, and the map's element be another's.
        let alone = key(image) == mm.address()
            && is_alone(image, ending)
            && envelope::is_within(image, tree, update.at);
        if alone {
            sizes::raise_whole(image, whole);
            accounting::book(image, tree, update);
        }
        moment::end(tree);
        alone
    }
}

/// Books an update with all that it means for others, and ends the image if that was its last page and
/// images end so: true then. Call under the tree's lock.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
unsafe fn book_with_others(
    mm: Typed,
    image: *mut Image,
    tree: *mut memtrace_ebpf::Tree,
    update: &Update,
) -> bool {
    // SAFETY: as the caller vouches.
    unsafe {
        let increases = update.value > accounting::current(image, update.member);
        prepare(mm, image, update.ending, increases, update.at);
        complete(image, tree, update)
    }
}

/// Books one member's value, which `value` finds out under the tree's lock, told
/// whether the image is being torn down.
#[inline(always)]
pub(crate) fn update_with(
    mm: Typed,
    member: u32,
    image: *mut Image,
    value: impl FnOnce(bool) -> i64,
) {
    // SAFETY: map values, under the lock of the image's tree.
    unsafe {
        let Some(tree) = state::tree((*image).tree) else {
            return;
        };
        let held = state::lock(tree);
        if !is_of(mm, image) {
            state::unlock(tree, held);
            return;
        }
        let ending = is_ending(mm);
        // Here, so that no booking goes back in time.
        let at = state::now();
        let update = Update {
            member,
            value: value(ending),
            at,
            ending,
            reading: 0,
        };
        let ended = book_with_others(mm, image, tree, &update);
        state::unlock(tree, held);
        if ended {
            state::remove_image(key(image));
        }
    }
}

/// Whether the map element that was looked up for `mm` still is its image. While the tree's lock was
/// waited for the image can have ended, and the element be another's: then `mm` is as good as gone, and
/// its last values are booked. Call under the tree's lock.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn is_of(mm: Typed, image: *mut Image) -> bool {
    // SAFETY: as the caller vouches.
    let is = unsafe { key(image) == mm.address() && !has_ended(image) };
    if !is {
        outlived(as_number(mm.address()).unwrap_or(0));
    }
    is
}

/// Whether the image has ended, and perhaps still is in the map.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
unsafe fn has_ended(image: *mut Image) -> bool {
    // SAFETY: as the caller vouches.
    unsafe { (*image).end_reason & ends::event_reason::ENDED != 0 }
}

/// What was looked up for `mm` is not its image any more. A function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn outlived(mm: u64) -> u64 {
    state::count(Stat::Outlived);
    if let Some(image) = state::image(mm)
        // SAFETY: a map value.
        && !unsafe { has_ended(image) }
    {
        // An address space that is not gone: this value is missing.
        state::count(Stat::MapBusy);
    }
    0
}

/// Books a value of an image that is in use. Call under the tree's lock.
///
/// # Safety
///
/// Both must point at map values.
#[inline(always)]
pub(crate) unsafe fn book_value(
    mm: impl Struct,
    image: *mut Image,
    tree: *mut memtrace_ebpf::Tree,
    member: u32,
    value: i64,
    increases: bool,
) {
    let at = state::now();
    let update = Update {
        member,
        value,
        at,
        ending: false,
        reading: 0,
    };
    // SAFETY: as the caller vouches.
    unsafe {
        // The caller's stack has no room for looking at them.
        sizes::note_sizes_of(key(image), at);
        prepare_living(mm, image, increases, at);
        accounting::book_locked(image, tree, &update);
    }
}

/// Has the last user of the address space left?
#[inline(always)]
pub(crate) fn is_ending(mm: impl Struct) -> bool {
    mm.load::<i32>(offset!(mm_users)) == 0
}

/// What an update needs of the mm itself, before its value is booked.
///
/// # Safety
///
/// Both must point at map values; call under the tree's lock.
#[inline(always)]
pub(crate) unsafe fn prepare(
    mm: impl Struct,
    image: *mut Image,
    ending: bool,
    increases: bool,
    at: u64,
) {
    // SAFETY: as the caller vouches.
    unsafe {
        if !ending {
            sizes::note_sizes(image, mm, at);
            prepare_living(mm, image, increases, at);
        } else if (*image).end_reason == 0 {
            // Here and not in it: the frames of functions that call one another add up, and may take 512
            // bytes together.
            sizes::note_sizes_of(key(image), at);
            ends::enter_successor(key(image), at);
            ends::begin_end(key(image), at);
        }
    }
}

/// [`prepare`] without the sizes, while the address space has users.
///
/// # Safety
///
/// As for [`prepare`].
#[inline(always)]
unsafe fn prepare_living(mm: impl Struct, image: *mut Image, increases: bool, at: u64) {
    // SAFETY: as the caller vouches.
    unsafe {
        if family::has_relatives(image) {
            family::family_before_update(key(image), increases.into(), at);
        }
        activate(mm, image, at);
    }
}

/// Books the value, and ends the image if that was its last page and images end so: true then.
///
/// # Safety
///
/// Both must point at map values; call under the tree's lock.
#[inline(always)]
pub(crate) unsafe fn complete(
    image: *mut Image,
    tree: *mut memtrace_ebpf::Tree,
    update: &Update,
) -> bool {
    // SAFETY: as the caller vouches.
    unsafe {
        accounting::book_locked(image, tree, update);
        let ended = config!(ends_at_exit_mmap) == 0 && update.ending && is_empty(image);
        if ended {
            ends::finish_image(key(image), update.at, ends::event_reason::ALL_ZERO);
        }
        ended
    }
}

/// [`complete`] for an update that was [prepared](prepare) before, under the lock of the tree at `index`, which has
/// been given back since.
#[inline(always)]
pub(crate) fn complete_later(mm: u64, index: u32, update: &Update) {
    let Some(tree) = state::tree(index) else {
        return;
    };
    // SAFETY: map values, under the tree's lock.
    unsafe {
        let held = state::lock(tree);
        let mut ended = false;
        // Looked up under the lock, it stays what it is; who ends it takes it out of the map without.
        match state::image(mm) {
            Some(image) if !has_ended(image) => ended = complete(image, tree, update),
            _ => {
                outlived(mm);
            }
        }
        state::unlock(tree, held);
        if ended {
            state::remove_image(mm);
        }
    }
}

/// Are all counters 0?
#[inline(always)]
unsafe fn is_empty(image: *mut Image) -> bool {
    // SAFETY: a map value, see the caller.
    unsafe {
        let cur = &(*image).cur;
        cur[0] | cur[1] | cur[2] | cur[3] == 0
    }
}

/// A new program's image counts from its first update as the task's own
/// (`exec_mmap()` has switched to it), a copied one from its first page.
#[inline(always)]
unsafe fn activate(mm: impl Struct, image: *mut Image, at: u64) {
    // SAFETY: map values, see the caller.
    unsafe {
        if !is_executed(image) {
            return;
        }
        if Typed::current().follow(offset!(task_mm)).address() == mm.address() {
            accounting::enter_tree(key(image), at);
        }
    }
}

/// Whether execve is building the image.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn is_executed(image: *mut Image) -> bool {
    // SAFETY: as the caller vouches.
    unsafe {
        (*image).state == ImageState::Execing as u32 && (*image).kind != ImageKind::Attached as u32
    }
}
