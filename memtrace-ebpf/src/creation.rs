//! Processes: how one comes into the record, by creation or by registering as root.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use memtrace_ebpf::{COMM_LEN, ImageKind, ImageState, Process, ProcessFlags, Stat, Tree, event};

use crate::{
    accounting, counters, family,
    kernel::{Struct as _, Typed, config, offset, probe},
    life,
    moment::next_reading,
    segments, state,
};

/// The process's id in its own PID namespace.
#[inline(always)]
fn namespace_tgid(task: Typed) -> u32 {
    let pid = task.follow(offset!(task_thread_pid));
    let level: u32 = pid.load(offset!(pid_level));
    let at =
        u64::from(offset!(pid_numbers)) + u64::from(level & 31) * u64::from(offset!(upid_stride));
    probe::<u32>(pid.address() + at, offset!(upid_nr)).unwrap_or(0)
}

/// `comm` of a task.
#[inline(always)]
pub(crate) fn comm(task: Typed) -> [u8; COMM_LEN] {
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
    let (index, creator_id) = unsafe {
        let creator = state::process(creator)?;
        ((*creator).tree, (*creator).id)
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
                    count_thread((*process).tree.into());
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
    let mut inherited = 0;
    let mut refused_mm = 0;
    let tree = state::tree(index)?;
    if shares {
        flags = ProcessFlags::SHARES_IMAGE;
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
            None => life::create_late(mm, tgid, ImageKind::Fork),
        };
        if image.is_none() {
            refused_mm = mm.address();
        }
        if let Some(image) = image {
            // SAFETY: map values, under the tree's lock.
            unsafe {
                let held = state::lock(tree);
                accounting::keep_before_change(image, tree);
                if late && counters::may_lack_cpus() {
                    let reading = next_reading(image);
                    let values = counters::sums(mm, image);
                    accounting::settle(image, tree, &values, reading, state::now());
                }
                (*image).tgid = tgid;
                (*image).process = id;
                if let Some(parent) = state::image(own_mm) {
                    family::family_join((*image).mm, (*parent).mm);
                    family::family_take_over(index.into(), state::now());
                    if segments::are_on() {
                        segments::look_again((*image).mm);
                        if !segments::from_functions() {
                            segments::segments_forked((*image).mm, (*parent).mm);
                        }
                    }
                }
                // Last: from here on it need not take the lock, unless it has relatives.
                (*image).state = ImageState::Active as u32;
                state::unlock(tree, held);
                image_id = (*image).id;
                inherited = (*image).inherited;
            }
        }
    }
    let new = Newcomer {
        id,
        creator_id,
        task: child,
        tgid,
        ns_tgid: namespace_tgid(child),
        creator,
        flags,
        mm: mm.address(),
        image: image_id,
        started_at,
        inherited,
        refused_mm,
        tree: index,
    };
    if !new.follow(tree) && !first_hook {
        // The first hook has told of it already.
        return None;
    }
    new.announce(tree);
    Some(tgid)
}

/// One more thread in the tree. A function of its own for the verifier, see
/// `main`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_thread(index: u64) -> u64 {
    let Some(tree) = state::tree(index as u32) else {
        return 0;
    };
    let held = state::lock(tree);
    // SAFETY: a map value, under its lock.
    unsafe {
        (*tree).threads += 1;
        if (*tree).threads > (*tree).peak_threads {
            (*tree).peak_threads = (*tree).threads;
        }
    }
    state::unlock(tree, held);
    0
}

/// A process to be taken in.
struct Newcomer {
    /// See [`Process::id`].
    id: u64,
    /// That of its creator.
    creator_id: u64,
    task: Typed,
    tgid: u32,
    ns_tgid: u32,
    creator: u32,
    flags: u32,
    mm: u64,
    image: u64,
    started_at: u64,
    inherited: i64,
    /// See [`Process::refused_mm`].
    refused_mm: u64,
    /// Index of its tree.
    tree: u32,
}

impl Newcomer {
    /// Puts it among the processes that are followed; false if there is no room.
    #[inline(always)]
    fn follow(&self, tree: *mut Tree) -> bool {
        let process = Process {
            id: self.id,
            image: self.image,
            mm: self.mm,
            started_at: self.started_at,
            tgid: self.tgid,
            ns_tgid: self.ns_tgid,
            creator: self.creator,
            tree: self.tree,
            flags: self.flags,
            refused_child: 0,
            refused_mm: self.refused_mm,
            oom_killed: 0,
            exited: 0,
            threads: 1,
            exits: 0,
            utime: 0,
            stime: 0,
            min_flt: 0,
            maj_flt: 0,
        };
        let room = state::insert_process(self.tgid, &process);
        if room {
            state::set_tracked(self.tgid, true);
            // SAFETY: a map value.
            unsafe { crate::atomic::add((&raw mut (*tree).live).cast(), 1) };
            if counters::threads_have_caches() {
                count_thread(self.tree.into());
            }
        }
        room
    }

    /// Counts it and tells userspace.
    #[inline(always)]
    fn announce(&self, tree: *mut Tree) {
        // SAFETY: a map value.
        unsafe { crate::atomic::add(&raw mut (*tree).processes, 1) };
        state::send(&event::Fork {
            header: event::Header {
                kind: event::FORK,
                tree: self.tree,
                at: state::now(),
            },
            process: self.id,
            creator_process: self.creator_id,
            tgid: self.tgid,
            ns_tgid: self.ns_tgid,
            creator: self.creator,
            flags: self.flags,
            image: self.image,
            started_at: self.started_at,
            inherited: self.inherited,
            comm: comm(self.task),
        });
    }
}

/// The current process asks to be the root; its image is memtrace's own.
#[inline(always)]
pub(crate) fn root_registered(task: Typed) {
    let (tgid, mm, started_at, index) = (
        task.load::<u32>(offset!(task_tgid)),
        task.follow(offset!(task_mm)).address(),
        task.load::<u64>(offset!(task_start_boottime)),
        config!(root_tree),
    );
    let (Some(control), Some(tree)) = (state::control(), state::tree(index)) else {
        return;
    };
    // SAFETY: a map value.
    if unsafe { (*control).root_tgid } != 0 {
        return;
    }
    let new = Newcomer {
        id: state::next_process_id(),
        creator_id: 0,
        task,
        tgid,
        ns_tgid: namespace_tgid(task),
        creator: 0,
        flags: ProcessFlags::PRE_EXEC,
        mm,
        image: 0,
        started_at,
        inherited: 0,
        refused_mm: 0,
        tree: index,
    };
    // SAFETY: a map value, which nobody uses before.
    unsafe { (*tree).index = index.into() };
    if new.follow(tree) {
        // SAFETY: a map value.
        unsafe { (*control).root_tgid = tgid };
        new.announce(tree);
    }
}
