//! Births of images.

use memtrace_ebpf::Image;
use memtrace_ebpf::{ImageKind, ImageState, MEMBERS, ProcessFlags, Stat};

use crate::{
    creation,
    kernel::{Struct, Typed, as_number, offset},
    state,
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
        // SAFETY: as above.
        if unsafe { creation::has_been_attached(process) } {
            // It ran before, and is just being taken in (`adoption`), with all that it has by then.
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
    // Made by whom it belongs to, or by whose child; or found to be there.
    let mut maker = state::current_tgid();
    if kind == ImageKind::Attached as u64 {
        maker = tgid as u32;
    }
    let (Some(image), Some(process)) = (state::nascent_image(kind), state::process(maker)) else {
        return 0;
    };
    // SAFETY: a map value.
    let (index, branch, owner) = unsafe { ((*process).tree, (*process).branch, (*process).id) };
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
    } else if kind == ImageKind::Exec as u64 || kind == ImageKind::Attached as u64 {
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
        (*image).branch = branch.into();
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
