//! Birth, updates and end of images.

use memtrace_ebpf::{
    CounterLayout, Image, ImageKind, ImageState, MEMBERS, ProcessFlags, Stat, event,
};

use crate::{
    accounting::{self, Update},
    counters, envelope, family,
    kernel::{Address, Struct, Typed, as_number, config, key, offset, probe},
    moment::{self, next_reading},
    segments, sizes,
    state::{self, Held},
};

/// The image of `mm`, made now if it is new and belongs to a tracked process.
#[inline(always)]
pub(crate) fn image_of(mm: Typed) -> Option<*mut Image> {
    let known = if state::may_be_image(mm.address()) {
        state::image(mm.address())
    } else {
        None
    };
    known.or_else(|| adopt(mm))
}

/// Finds out whether an unknown mm belongs to a tracked process, and if so makes
/// its image. `None` for everything else: most events of an untracked system end
/// at the first test.
#[inline(always)]
fn adopt(mm: Typed) -> Option<*mut Image> {
    let tgid = state::current_tgid();
    if !state::is_tracked(tgid) {
        return None;
    }
    let (users, at_owner, at_mm) = (
        mm.load::<i32>(offset!(mm_users)),
        offset!(mm_owner),
        offset!(task_mm),
    );
    if users == 0 {
        return None;
    }
    let current = Typed::current();
    if current.follow(at_mm).address() == mm.address() {
        // In use by a tracked process: its birth was missed, or this is the
        // root's image from before its exec, which is memtrace's own.
        let process = state::process(tgid)?;
        // SAFETY: `process` is a map value.
        if unsafe { (*process).flags } & ProcessFlags::PRE_EXEC != 0 {
            return None;
        }
        // There was no room for it. Should there be now, most of its life is missing.
        // SAFETY: as above.
        if unsafe { (*process).refused_mm } == mm.address() {
            return None;
        }
        return create_late(mm, tgid, ImageKind::Found);
    }
    if at_owner == memtrace_ebpf::ABSENT {
        // Without an owner a new image cannot be told from one that this process
        // only reclaims; it is taken in when its fork or exec completes.
        return None;
    }
    // mm_init_owner() (kernel/fork.c) sets the owner before the first page.
    let owner = mm.follow(at_owner);
    if owner.address() == current.address() {
        return create(mm, tgid, ImageKind::Exec);
    }
    // A fork child under construction: dup_task_struct() copied the creator's
    // tgid, and copy_mm() sets the child's mm only when it is complete.
    let owner_tgid = owner.load::<u32>(offset!(task_tgid));
    if owner.follow(at_mm).address() == 0 && owner_tgid == tgid {
        return create(mm, tgid, ImageKind::Fork);
    }
    None
}

/// Makes the image of `mm`, with nothing counted in it yet.
#[inline(always)]
pub(crate) fn create(mm: impl Struct, tgid: u32, kind: ImageKind) -> Option<*mut Image> {
    create_image(as_number(mm.address())?, tgid.into(), kind as u64);
    state::image(mm.address())
}

/// The same for an image whose birth was missed.
#[inline(always)]
pub(crate) fn create_late(mm: impl Struct, tgid: u32, kind: ImageKind) -> Option<*mut Image> {
    let image = create(mm, tgid, kind)?;
    state::count(Stat::Healed);
    Some(image)
}

/// Makes an image in the state that its kind begins with. A function of its own for
/// the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn create_image(mm: u64, tgid: u64, kind: u64) -> u64 {
    // Made by whom it belongs to, or by whose child.
    let (Some(image), Some(process)) = (
        state::nascent_image(),
        state::process(state::current_tgid()),
    ) else {
        return 0;
    };
    // SAFETY: a map value.
    let (index, owner) = unsafe { ((*process).tree, (*process).id) };
    let Some(tree) = state::tree(index) else {
        return 0;
    };
    let mut stage = ImageState::Active;
    let (mut parent_id, mut freed_before) = (0, 0);
    if kind == ImageKind::Fork as u64 {
        stage = ImageState::Forking;
        let parent = Typed::current().follow(offset!(task_mm)).address();
        if let Some(parent) = state::image(parent) {
            // SAFETY: a map value.
            (parent_id, freed_before) = unsafe { ((*parent).id, (*parent).freed) };
        }
    } else if kind == ImageKind::Exec as u64 {
        stage = ImageState::Execing;
    }
    let now = state::now();
    // SAFETY: map values.
    unsafe {
        (*image).id = state::next_image_id();
        (*image).mm = mm;
        (*image).parent = parent_id;
        (*image).freed_before = freed_before;
        (*image).tgid = tgid as u32;
        (*image).tree = index;
        (*image).process = owner;
        (*image).kind = kind as u32;
        (*image).born_at = now;
        (*image).integral_at = [now; MEMBERS];
        (*image).vm_integral_at = now;
        (*image).seq = (*tree).peak_seq;
        (*image).state = stage as u32;
        if !state::insert_image(mm, image) {
            // Another CPU was faster: that one is as good.
            return 0;
        }
        crate::atomic::add(&raw mut (*tree).images, 1);
        if (*tree).started_at == 0 && stage as u32 == ImageState::Active as u32 {
            (*tree).started_at = now;
        }
    }
    1
}

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
        let stage = if ending { event_reason::BEGUN } else { 0 };
        (*image).state == ImageState::Active as u32
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
        if envelope::is_on()
            || segments::are_on()
            || (ending && config!(ends_at_exit_mmap) == 0)
            || !is_alone(image, ending)
        {
            return false;
        }
        let mut whole = 0;
        if !ending {
            // By its own number: the map's element can be another's by now.
            let number = || as_number(mm.address()).unwrap_or(0);
            sizes::note_others(image, mm, number, update.at);
            whole = sizes::whole(mm);
        }
        moment::begin(tree);
        // Still: meanwhile it can have ended, and the map's element be another's.
        let alone = key(image) == mm.address() && is_alone(image, ending);
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
    let is =
        unsafe { key(image) == mm.address() && (*image).end_reason & event_reason::ENDED == 0 };
    if !is {
        outlived(as_number(mm.address()).unwrap_or(0));
    }
    is
}

/// What was looked up for `mm` is not its image any more. A function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn outlived(mm: u64) -> u64 {
    state::count(Stat::Outlived);
    if state::image(mm).is_some() {
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
            enter_successor(key(image), at);
            begin_end(key(image), at);
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
            finish_image(key(image), update.at, event_reason::ALL_ZERO);
        }
        ended
    }
}

/// The address space has been torn down: its image ends, if it has not with the last update.
#[inline(always)]
pub(crate) fn torn_down(mm: Typed) {
    let Some(image) = state::image(mm.address()) else {
        return;
    };
    // SAFETY: map values, under the tree's lock.
    unsafe {
        let index = (*image).tree;
        let Some(tree) = state::tree(index) else {
            return;
        };
        let held = state::lock(tree);
        if !is_of(mm, image) {
            state::unlock(tree, held);
            return;
        }
        let at = state::now();
        if counters::may_lack_cpus() {
            let reading = next_reading(image);
            let values = counters::sums(mm, image);
            accounting::settle(image, tree, &values, reading, at);
        }
        finish_image(key(image), at, event_reason::EXIT_MMAP);
        state::unlock(tree, held);
        state::remove_image(mm.address());
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

/// [`Image::end_reason`].
pub(crate) mod event_reason {
    pub(crate) const ALL_ZERO: u64 = 1;
    pub(crate) const EXIT_MMAP: u64 = 2;
    /// Either of them.
    pub(crate) const ENDED: u32 = (ALL_ZERO | EXIT_MMAP) as u32;
    /// The end has begun; never sent.
    pub(crate) const BEGUN: u32 = 4;
}

/// A new program's image counts from its first update as the task's own
/// (`exec_mmap()` has switched to it), a copied one from its first page.
#[inline(always)]
unsafe fn activate(mm: impl Struct, image: *mut Image, at: u64) {
    // SAFETY: map values, see the caller.
    unsafe {
        if (*image).state != ImageState::Execing as u32 {
            return;
        }
        if Typed::current().follow(offset!(task_mm)).address() == mm.address() {
            accounting::enter_tree(key(image), at);
        }
    }
}

/// The old image's end begins, in the task that has executed another program: from
/// `exec_mmap()` on the new image is what it has, with the pages of its arguments, and counts before the
/// old one's go.
#[inline(always)]
unsafe fn enter_successor(mm: u64, at: u64) {
    // SAFETY: a map value.
    unsafe {
        let own = Typed::current().follow(offset!(task_mm)).address();
        if own != mm
            && let Some(image) = state::image(own)
            && (*image).state == ImageState::Execing as u32
        {
            accounting::enter_tree(own, at);
        }
    }
}

/// The first update after the last user left: everything is still as it was in
/// life but for the pages of this update. Once per image, so it may look the image up again:
/// a function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn begin_end(mm: u64, at: u64) -> u64 {
    let Some(image) = state::image(mm) else {
        return 0;
    };
    let fields = Address::new(mm);
    // SAFETY: a map value.
    unsafe {
        (*image).end_reason = event_reason::BEGUN;
        note_text(fields, image);
        note_hiwater(fields, image);
        if family::has_relatives(image) {
            family::family_before_update(mm, 0, at);
            family::family_before_end(mm, at);
        }
    }
    0
}

/// What the kernel takes for the image's peak RSS: `get_mm_hiwater_rss()`, with
/// `get_mm_rss()` reading the shared counts only.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_hiwater(mm: impl Struct, image: *mut Image) {
    // SAFETY: `image` as the caller vouches.
    unsafe {
        if !cfg!(feature = "lean") && config!(layout) == CounterLayout::Classic as u32 {
            return;
        }
        let base = offset!(mm_rss_stat) + offset!(counter_count);
        let stride = offset!(counter_stride);
        let mut now = 0_i64;
        // Not by typed loads: verifiers do not walk into an array of atomic_long_t (6.1).
        let file = probe::<i64>(mm.address(), base).unwrap_or(0);
        let anon = probe::<i64>(mm.address(), base + stride).unwrap_or(0);
        let shmem = probe::<i64>(mm.address(), base + 3 * stride).unwrap_or(0);
        if file > 0 {
            now += file;
        }
        if anon > 0 {
            now += anon;
        }
        if shmem > 0 {
            now += shmem;
        }
        let kept: u64 = mm.load(offset!(mm_hiwater_rss));
        let high = if kept > now as u64 { kept } else { now as u64 };
        if high > (*image).hiwater_rss {
            (*image).hiwater_rss = high;
        }
    }
}

/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn note_text(mm: impl Struct, image: *mut Image) {
    // SAFETY: `image` as the caller vouches.
    unsafe {
        let start: u64 = mm.load(offset!(mm_start_code));
        let end: u64 = mm.load(offset!(mm_end_code));
        let page = 1_u64 << config!(page_shift);
        if end > start {
            (*image).text_bytes = ((end + page - 1) & !(page - 1)) - (start & !(page - 1));
        }
    }
}

/// Ends the image of `mm`: its totals are final. The caller removes it from the
/// map. Call under the tree's lock.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn finish_image(mm: u64, at: u64, reason: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values.
    unsafe {
        moment::begin(tree);
        accounting::integrate_all(image, at);
        if (*image).held_rss_swap > (*image).peak_rss_swap {
            (*image).peak_rss_swap = (*image).held_rss_swap;
        }
        moment::end(tree);
        if segments::are_on() {
            segments::segments_end(mm, at);
        }
        if family::has_relatives(image) {
            family::family_leave(mm);
            family::family_take_over((*image).tree.into(), at);
            envelope::shared_changed(tree, (*image).tree, at);
        }
        let mut residual = 0;
        // Nothing is booked to it from here on.
        moment::begin(tree);
        for member in 0..MEMBERS {
            residual += *(&raw const (*image).cur).cast::<i64>().add(member);
        }
        (*image).residual = residual;
        (*image).end_reason = reason as u32;
        sizes::set_huge(image, tree, 0);
        moment::end(tree);
        if residual != 0 {
            state::count(Stat::Residual);
        }
        (*image).header.kind = event::IMAGE_END;
        (*image).header.tree = (*image).tree;
        (*image).header.at = at;
        state::send(&*image);
    }
    0
}
