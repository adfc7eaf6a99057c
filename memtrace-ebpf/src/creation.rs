//! Processes: how one comes into the record, by creation or by registering as root.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use memtrace_ebpf::{
    COMM_LEN, ImageKind, ImageState, MAX_TREES, Process, ProcessFlags, Stat, event,
};

use crate::{
    accounting, births, counters, family,
    kernel::{Address, Struct, Typed, as_number, config, offset, probe},
    peaks, segments, sizes, state,
};

/// The process's id in its own PID namespace.
#[inline(always)]
pub(crate) fn namespace_tgid(task: impl Struct) -> u32 {
    let pid = task.follow(offset!(task_thread_pid));
    number_at(pid, pid.load(offset!(pid_level)))
}

/// The number of a `struct pid` in the namespace at this level (`pid_nr_ns()`, kernel/pid.c).
#[inline(always)]
pub(crate) fn number_at(pid: Address, level: u32) -> u32 {
    let at =
        u64::from(offset!(pid_numbers)) + u64::from(level & 31) * u64::from(offset!(upid_stride));
    probe::<u32>(pid.address() + at, offset!(upid_nr)).unwrap_or(0)
}

/// `comm` of a task.
#[inline(always)]
pub(crate) fn comm(task: impl Struct) -> [u8; COMM_LEN] {
    let mut comm = MaybeUninit::<[u8; COMM_LEN]>::uninit();
    // SAFETY: the helper checks the source, and fills the destination of the given length,
    // with zeroes if it fails.
    unsafe {
        bpf_probe_read_kernel(
            comm.as_mut_ptr().cast(),
            COMM_LEN as u32,
            (task.address() + u64::from(offset!(task_comm))) as *const _,
        );
        comm.assume_init()
    }
}

/// A process was created by the current one: its tgid, if it is new to us. Called from
/// two hooks, of which the second finds nothing left to do.
#[inline(always)]
pub(crate) fn process_created(child: Typed, first_hook: bool) -> Option<u32> {
    let creator = state::current_tgid();
    if !state::is_tracked(creator) {
        return None;
    }
    // SAFETY: a map value.
    let (place, creator_id, attached) = unsafe {
        let creator = state::process(creator)?;
        let attached = has_been_attached(creator);
        (place(creator), (*creator).id, attached)
    };
    let (pid, tgid, mm, own_mm) = (
        child.load::<u32>(offset!(task_pid)),
        child.load::<u32>(offset!(task_tgid)),
        child.follow(offset!(task_mm)),
        Typed::current().follow(offset!(task_mm)).address(),
    );
    // A mark stays where the program that clears it was skipped; its id begins again here.
    state::take_exit_seen(pid);
    if pid != tgid {
        if first_hook && let Some(process) = state::process(tgid) {
            // SAFETY: a map value; threads may be created on several CPUs.
            unsafe {
                crate::atomic::add((&raw mut (*process).threads).cast(), 1);
                if counters::threads_have_caches() {
                    count_threads((*process).tree.into(), 1);
                }
            }
        }
        return None;
    }
    let started_at = child.load::<u64>(offset!(task_start_boottime));
    if let Some(known) = state::process(tgid) {
        // SAFETY: a map value.
        if unsafe { (*known).started_at } == started_at {
            return None;
        }
    }
    if !first_hook {
        state::count(Stat::ProcessHealed);
    }
    let id = state::next_process_id();
    let shares = mm.address() == own_mm;
    let mut flags = 0;
    let mut image_id = 0;
    let index = tree_of(place);
    let tree = state::tree(index)?;
    if shares {
        flags = ProcessFlags::SHARES_IMAGE;
    }
    let (task, what) = (as_number(child.address())?, u64::from(flags) | place);
    // First: it can be just now that it is taken in as one that ran before, and then that is it.
    let admitted = admit(task, id, what);
    if admitted == KNOWN {
        return None;
    }
    if shares {
        if let Some(image) = state::image(mm.address()) {
            // SAFETY: a map value.
            unsafe {
                (*image).lent = 1;
                crate::atomic::add(&raw mut (*image).borrowers, 1);
                image_id = (*image).id;
            }
        }
    } else if mm.address() != 0 {
        let known = state::image(mm.address());
        let late = known.is_none();
        let image = match known {
            Some(image) => Some(image),
            // It was copied before its creator was taken in.
            None if attached => births::create(mm, tgid, ImageKind::Fork),
            None => births::create_late(mm, tgid, ImageKind::Fork),
        };
        if let Some(image) = image {
            // SAFETY: map values, under the tree's lock.
            unsafe {
                let held = state::lock(tree);
                let at = state::now();
                peaks::keep_before_change(image, tree);
                // Of one that ran before, what it copied before it was taken in was not seen.
                if attached || (late && counters::may_lack_cpus()) {
                    accounting::settle_now((*image).mm, at);
                }
                sizes::note_sizes_of((*image).mm, at);
                (*image).tgid = tgid;
                (*image).process = id;
                if let Some(parent) = state::image(own_mm) {
                    family::family_join((*image).mm, (*parent).mm, at);
                    family::family_take_over(index.into(), at);
                    if segments::are_on() {
                        segments::look_again((*image).mm);
                        if !segments::from_functions() {
                            segments::segments_forked((*image).mm, (*parent).mm);
                        }
                    }
                } else {
                    family::family_alone((*image).mm, at);
                }
                // Last: from here on it need not take the lock, unless it has relatives.
                (*image).state = ImageState::Active as u32;
                state::unlock(tree, held);
                image_id = (*image).id;
            }
        }
    }
    if let Some(process) = state::process(tgid) {
        // SAFETY: a map value; the process does not run yet.
        unsafe {
            (*process).image = image_id;
            if image_id == 0 && !shares {
                (*process).refused_mm = mm.address();
            }
        }
    }
    if admitted == NO_ROOM && !first_hook {
        // The first hook has told of it already.
        return None;
    }
    announce(task, id, image_id, what, creator_id);
    Some(tgid)
}

/// Whether the process ran before tracing began, and has executed no program since.
///
/// # Safety
///
/// `process` must point at a map value.
#[inline(always)]
pub(crate) unsafe fn has_been_attached(process: *mut Process) -> bool {
    // SAFETY: as the caller vouches.
    config!(attached) != 0 && unsafe { (*process).flags } & ProcessFlags::ATTACHED != 0
}

/// So many more threads in the tree. A function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn count_threads(index: u64, more: i64) -> u64 {
    let Some(tree) = state::tree(index as u32) else {
        return 0;
    };
    let held = state::lock(tree);
    // SAFETY: a map value, under its lock.
    unsafe {
        (*tree).threads += more;
        if (*tree).threads > (*tree).peak_threads {
            (*tree).peak_threads = (*tree).threads;
        }
    }
    state::unlock(tree, held);
    0
}

/// The process that created that of `task`, which comes into the record with these flags.
#[inline(always)]
fn creator_of(task: Address, flags: u32) -> u32 {
    if flags & ProcessFlags::PRE_EXEC != 0 {
        // memtrace itself.
        0
    } else if flags & ProcessFlags::ATTACHED != 0 {
        let leader = task.follow(offset!(task_group_leader));
        leader
            .follow(offset!(task_real_parent))
            .load(offset!(task_tgid))
    } else {
        state::current_tgid()
    }
}

/// What is told of a process in one number: its flags, and from here on its place.
const TREE_SHIFT: u32 = 32;
/// Above the tree's index, that of its branch.
const BRANCH_SHIFT: u32 = 40;

const _: () = assert!(MAX_TREES <= 1 << (BRANCH_SHIFT - TREE_SHIFT));

/// Where a process with these indices of tree and branch counts.
#[inline(always)]
pub(crate) fn place_at(tree: u32, branch: u32) -> u64 {
    u64::from(tree) << TREE_SHIFT | u64::from(branch) << BRANCH_SHIFT
}

/// Where the process counts.
///
/// # Safety
///
/// It must point at a map value.
#[inline(always)]
pub(crate) unsafe fn place(process: *mut Process) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe { place_at((*process).tree, (*process).branch) }
}

/// Index of the tree in a place.
#[inline(always)]
pub(crate) fn tree_of(what: u64) -> u32 {
    (what >> TREE_SHIFT) as u32 & ((1 << (BRANCH_SHIFT - TREE_SHIFT)) - 1)
}

/// Index of the branch in a place.
#[inline(always)]
fn branch_of(what: u64) -> u32 {
    (what >> BRANCH_SHIFT) as u32
}

/// What [`admit`] returns if there is no room for it.
pub(crate) const NO_ROOM: u64 = 0;
/// If it is followed.
pub(crate) const ADMITTED: u64 = 1;
/// If it had been before.
pub(crate) const KNOWN: u64 = 2;

/// Puts the process of `task`, with its number, among those that are followed. `what` has its flags and its
/// [place](place_at). A function of its own, for what comes before and after need much of the
/// stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn admit(task: u64, id: u64, what: u64) -> u64 {
    let (task, flags, index) = (Address::new(task), what as u32, tree_of(what));
    let Some(tree) = state::tree(index) else {
        return NO_ROOM;
    };
    let leader = task.follow(offset!(task_group_leader));
    let tgid: u32 = task.load(offset!(task_tgid));
    let process = Process {
        id,
        image: 0,
        mm: task.follow(offset!(task_mm)).address(),
        started_at: leader.load(offset!(task_start_boottime)),
        tgid,
        ns_tgid: namespace_tgid(leader),
        creator: creator_of(task, flags),
        tree: index,
        branch: branch_of(what),
        reserved: 0,
        flags,
        refused_child: 0,
        refused_mm: 0,
        oom_killed: 0,
        exited: 0,
        threads: 1,
        exits: 0,
        utime: 0,
        stime: 0,
        min_flt: 0,
        maj_flt: 0,
    };
    let admitted = state::insert_process(tgid, &process);
    if admitted == ADMITTED {
        state::set_tracked(tgid, true);
        // SAFETY: a map value.
        unsafe { crate::atomic::add((&raw mut (*tree).live).cast(), 1) };
        if counters::threads_have_caches() {
            count_threads(index.into(), 1);
        }
    }
    admitted
}

/// Counts the process of `task` and tells userspace of it, with the numbers of its image and of its creator. The
/// others are as for [`admit`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn announce(
    task: u64,
    id: u64,
    image: u64,
    what: u64,
    creator_id: u64,
) -> u64 {
    let (task, flags, index) = (Address::new(task), what as u32, tree_of(what));
    let Some(tree) = state::tree(index) else {
        return 0;
    };
    let leader = task.follow(offset!(task_group_leader));
    let mut inherited = 0;
    if let Some(image) = state::image(task.follow(offset!(task_mm)).address()) {
        // SAFETY: a map value.
        unsafe {
            if flags == ProcessFlags::ATTACHED {
                inherited = (*image).hiwater_rss as i64;
            } else if flags == 0 {
                inherited = (*image).inherited;
            }
        }
    }
    // SAFETY: a map value.
    unsafe { crate::atomic::add(&raw mut (*tree).processes, 1) };
    state::send(&event::Fork {
        header: event::Header {
            kind: event::FORK,
            tree: index,
            at: state::now(),
        },
        process: id,
        creator_process: creator_id,
        tgid: task.load(offset!(task_tgid)),
        ns_tgid: namespace_tgid(leader),
        creator: creator_of(task, flags),
        flags,
        image,
        started_at: leader.load(offset!(task_start_boottime)),
        inherited,
        comm: comm(task),
    });
    1
}

/// The current process asks to be the root; its image is memtrace's own.
#[inline(always)]
pub(crate) fn root_registered(task: Typed) {
    let index = config!(root_tree);
    let (Some(control), Some(tree)) = (state::control(), state::tree(index)) else {
        return;
    };
    let Some(number) = as_number(task.address()) else {
        return;
    };
    // SAFETY: map values, of which the tree is used by nobody before.
    unsafe {
        if (*control).root_tgid != 0 {
            return;
        }
        (*tree).index = index.into();
    }
    let what = u64::from(ProcessFlags::PRE_EXEC) | place_at(index, 0);
    let id = state::next_process_id();
    if admit(number, id, what) == ADMITTED {
        // SAFETY: a map value.
        unsafe { (*control).root_tgid = task.load(offset!(task_tgid)) };
        announce(number, id, 0, what, 0);
    }
}
