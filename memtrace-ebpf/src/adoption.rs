//! Processes that ran before tracing began.
//!
//! The hooks are attached already. A process is first put among those that are followed, so that from there
//! on its own hooks tell of all that becomes of it; then its image is made, and what its address space holds is
//! read, as a whole and at once. Updates until then are not needed, and those after that find the image.

use memtrace_ebpf::{
    Image, ImageKind, ImageState, Process, ProcessFlags, Stat, TOUCHED_CPUS, Wanted, rss,
};

use crate::{
    accounting, atomic, births, counters, creation, departure, ends, family,
    kernel::{Address, Struct, Typed, as_number, config, key, offset},
    segments, sizes, state,
};

/// Looks at a thread of the machine, and takes its process in if that belongs to a tree: if it was asked
/// for, or its parent is followed. True if it did.
#[inline(always)]
pub(crate) fn came_across(task: Typed) -> bool {
    let tgid = task.load::<u32>(offset!(task_tgid));
    // Not who goes through them either.
    if state::is_tracked(tgid) || tgid == state::current_tgid() {
        return false;
    }
    let mm = task.follow(offset!(task_mm));
    // One that has let go of its address space: another of its threads may have it.
    if mm.address() == 0 {
        return false;
    }
    let signal = task.follow(offset!(task_signal));
    let is_exiting = signal.load::<i32>(offset!(signal_live)) <= 0;
    if is_known(mm.address(), is_exiting) {
        return false;
    }
    let Some(number) = as_number(task.address()) else {
        return false;
    };
    let what = belongs(number);
    if what == NOT_NOW {
        return false;
    }
    let index = creation::tree_of(what);
    let (id, Some(tree)) = (state::next_process_id(), state::tree(index)) else {
        return false;
    };
    // SAFETY: a map value, of which this field is changed here alone.
    unsafe { (*tree).index = index.into() };
    if creation::admit(number, id, what) != creation::ADMITTED {
        return false;
    }
    // Only now: what it has when its hooks know of it.
    let mm = task.follow(offset!(task_mm)).address();
    let mut image = 0;
    if what as u32 & ProcessFlags::SHARES_IMAGE == 0 {
        image = attach_image(mm, tgid.into(), id, number);
    } else {
        state::count(Stat::Borrowed);
    }
    if image == GONE {
        forget_image(mm);
        image = 0;
    }
    tell(number, id, image, what);
    true
}

/// Whether the image of an address space tells that it need not be taken in: that of a process which a hook will tell
/// of at once, because its creator is followed; or of one all of whose threads have begun to exit, and which was
/// taken in before.
#[inline(always)]
fn is_known(mm: u64, is_exiting: bool) -> bool {
    let Some(image) = state::image(mm) else {
        return false;
    };
    // SAFETY: a map value.
    is_exiting || unsafe { (*image).state } == ImageState::Forking as u32
}

/// Tells of the process of `task`, which has been taken in, with its number and its image's. A function of its own,
/// because what is called before needs much of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn tell(number: u64, id: u64, image: u64, what: u64) -> u64 {
    let task = Address::new(number);
    let tgid: u32 = task.load(offset!(task_tgid));
    let mut what = what;
    if let Some(used) = state::image(task.follow(offset!(task_mm)).address()) {
        // SAFETY: a map value.
        unsafe {
            if (*used).id == image && (*used).process != id {
                what |= u64::from(ProcessFlags::SHARES_IMAGE);
            }
        }
    }
    let Some(control) = state::control() else {
        return 0;
    };
    // Also if it has ended since, and its end has been told.
    // SAFETY: a map value, of which these fields are changed while threads are gone through alone.
    unsafe {
        creation::announce(number, id, image, what, (*control).creator);
        (*control).attached += 1;
    }
    let index = creation::tree_of(what);
    let Some(tree) = state::tree(index) else {
        return 0;
    };
    let signal = task.follow(offset!(task_signal));
    let threads = signal.load::<i32>(offset!(signal_live));
    if threads > 1 && counters::threads_have_caches() {
        creation::count_threads(index.into(), i64::from(threads) - 1);
    }
    // Entries are removed under it.
    let held = state::lock(tree);
    if let Some(process) = state::process(tgid) {
        add_threads_before(process, id, signal, threads);
    }
    state::unlock(tree, held);
    if threads <= 0 {
        // Its last thread has passed the hook, perhaps before it was known; its memory is still there.
        departure::process_exited(task, tgid, id);
    }
    1
}

/// Adds what is known of threads that were there before to the entry of the process with this number.
#[inline(always)]
fn add_threads_before(process: *mut Process, id: u64, signal: Address, threads: i32) {
    // SAFETY: a map value, see the caller.
    unsafe {
        if (*process).id != id {
            return;
        }
        if threads > 1 {
            atomic::add(&raw mut (*process).threads, threads as u64 - 1);
        }
        let add = |to: *mut u64, gone: u32| atomic::add(to, signal.load(gone));
        add(&raw mut (*process).utime, offset!(signal_utime));
        add(&raw mut (*process).stime, offset!(signal_stime));
        add(&raw mut (*process).min_flt, offset!(signal_min_flt));
        add(&raw mut (*process).maj_flt, offset!(signal_maj_flt));
    }
}

/// What [`belongs`] returns of one that is not taken in now.
const NOT_NOW: u64 = 0;

/// Whether the process of `task` is taken in, because it was asked for, or its creator is followed: its flags and its
/// place. The creator's number is kept if that counts there too. If it has the memory of another process, it waits for
/// that. A function of its own, for what comes after needs the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn belongs(task: u64) -> u64 {
    let task = Address::new(task);
    let tgid: u32 = task.load(offset!(task_tgid));
    let leader = task.follow(offset!(task_group_leader));
    let owner = owner_to_wait_for(task.follow(offset!(task_mm)), tgid);
    let (wanted, creator) = (wanted(leader), creator_of(leader));
    let Some(control) = state::control() else {
        return NOT_NOW;
    };
    // SAFETY: map values, of which what is changed is changed here alone.
    unsafe {
        let mut place = 0;
        (*control).creator = 0;
        if let Some(creator) = creator {
            place = creation::place(creator);
            (*control).creator = (*creator).id;
        } else if wanted.is_none() {
            return NOT_NOW;
        }
        if let Some(wanted) = wanted {
            let asked_for = creation::place_at(config!(root_tree), (*wanted).branch);
            if place != asked_for {
                (*control).creator = 0;
            }
            place = asked_for;
            (*wanted).owner = owner;
        }
        let mut flags = ProcessFlags::ATTACHED;
        if owner != 0 {
            if !state::is_impatient() {
                (*control).waiting += 1;
                return NOT_NOW;
            }
            flags |= ProcessFlags::SHARES_IMAGE;
        }
        if let Some(wanted) = wanted {
            (*wanted).tgid = tgid;
            if (*control).root_tgid == 0 {
                (*control).root_tgid = tgid;
            }
        }
        u64::from(flags) | place
    }
}

/// So many generations that are exiting are looked through.
const GENERATIONS: u32 = 4;

/// The process that is followed and created this one: its parent, or, as long as that is exiting and has no
/// memory any more, the parent's. (It keeps its children until `exit_notify()`, kernel/exit.c, which comes after
/// `exit_mm()`.)
#[inline(always)]
fn creator_of(leader: Address) -> Option<*mut Process> {
    let mut next = leader;
    for _ in 0..GENERATIONS {
        next = next.follow(offset!(task_real_parent));
        let creator = state::process(next.load(offset!(task_tgid)));
        if creator.is_some() || next.follow(offset!(task_mm)).address() != 0 {
            return creator;
        }
    }
    None
}

/// What is asked of the process, by the number that the current process, which goes through all tasks, knows
/// it by.
#[inline(always)]
fn wanted(leader: Address) -> Option<*mut Wanted> {
    let here = Typed::current().follow(offset!(task_thread_pid));
    let pid = leader.follow(offset!(task_thread_pid));
    let number = creation::number_at(pid, here.load(offset!(pid_level)));
    state::wanted(number)
}

/// The process that lent the address space to this one, if that is not followed; 0 if there is none.
#[inline(always)]
fn owner_to_wait_for(mm: Address, tgid: u32) -> u32 {
    let owner = mm.follow(offset!(mm_owner));
    if owner.address() == 0 {
        return 0;
    }
    let owner_tgid = owner.load::<u32>(offset!(task_tgid));
    if owner_tgid == tgid || state::is_tracked(owner_tgid) {
        return 0;
    }
    owner_tgid
}

/// What [`attach_image`] returns if the address space was torn down before it was known.
const GONE: u64 = u64::MAX;

/// An image that was made for an address space that had been torn down.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn forget_image(mm: u64) -> u64 {
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values, under the tree's lock.
    unsafe {
        let held = state::lock(tree);
        let is_it = key(image) == mm && is_to_be_read(image);
        if is_it {
            ends::finish_image(mm, state::now(), ends::event_reason::EXIT_MMAP);
        }
        state::unlock(tree, held);
        if is_it {
            state::remove_image(mm);
        }
    }
    0
}

/// The process `id`, `tgid`, which ran before, has the address space `mm`, as `task` tells, one of its threads: what
/// that holds is read if it was not. Gives the id of the image that it has, 0 or [`GONE`]. A function of its own for
/// the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn attach_image(mm: u64, tgid: u64, id: u64, task: u64) -> u64 {
    if mm != 0 && state::image(mm).is_none() {
        births::create_image(mm, tgid, ImageKind::Attached as u64);
    }
    let Some((image, tree)) = state::image_and_tree(mm) else {
        return 0;
    };
    // SAFETY: map values, under the tree's lock.
    unsafe {
        // The process runs: meanwhile it can execute a program, and others end.
        let held = state::lock(tree);
        let there = Address::new(task).follow(offset!(task_mm)).address() == mm;
        let mut found = 0;
        if key(image) == mm {
            found = (*image).id;
            if (*image).process == id && is_to_be_read(image) {
                found = GONE;
                if there {
                    let at = state::now();
                    // CPUs that have not changed it since can have shares.
                    (*image).ncpus = TOUCHED_CPUS as u32 + 1;
                    accounting::settle_now(mm, at);
                    segments::found(mm);
                    begin(mm, task, at);
                    found = (*image).id;
                }
            }
            if found != GONE {
                found = take_image(image, tgid as u32, id);
            }
        }
        state::unlock(tree, held);
        found
    }
}

/// The process `id`, `tgid`, has the image, unless it has executed a program since it is followed: then it has
/// what its own hook told. Gives the id of that which it has. Call under the tree's lock.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
unsafe fn take_image(image: *mut Image, tgid: u32, id: u64) -> u64 {
    // SAFETY: map values, as the caller vouches; entries are removed under the lock.
    unsafe {
        let Some(process) = state::process(tgid) else {
            return (*image).id;
        };
        if (*process).id != id {
            return (*image).id;
        }
        if (*process).flags & ProcessFlags::ATTACHED != 0 && (*process).image == 0 {
            if (*image).process != id {
                // It was lent to it, as vfork does.
                (*process).flags |= ProcessFlags::SHARES_IMAGE;
                (*image).lent = 1;
                atomic::add(&raw mut (*image).borrowers, 1);
                segments::found_lent(key(image));
            }
            (*process).mm = key(image);
            (*process).image = (*image).id;
        }
        (*process).image
    }
}

/// Whether nobody has read yet what an image holds that was there before.
///
/// # Safety
///
/// `image` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn is_to_be_read(image: *mut Image) -> bool {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        (*image).kind == ImageKind::Attached as u32
            && (*image).state == ImageState::Execing as u32
            && (*image).end_reason & ends::event_reason::ENDED == 0
    }
}

/// From here on the image of `mm`, of which all is known, counts.
#[inline(always)]
unsafe fn begin(mm: u64, task: u64, at: u64) {
    note_past(mm);
    sizes::note_sizes_of(mm, at);
    // First: it must not count for more than it may be.
    family::family_attach(mm, task, at);
    accounting::enter_tree(mm, at);
}

/// What the kernel knows of its past. A function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_past(mm: u64) -> u64 {
    if let Some(image) = state::image(mm) {
        // SAFETY: a map value.
        unsafe {
            let fields = Address::new(mm);
            ends::note_text(fields, image);
            ends::note_hiwater(fields, image);
            // What the kernel takes for the peak can be less than what it holds.
            let resident = rss(&(*image).cur) as u64;
            if resident > (*image).hiwater_rss {
                (*image).hiwater_rss = resident;
            }
            (*image).vm_before = fields.load(offset!(mm_hiwater_vm));
        }
    }
    0
}
