//! Waiting in line for a word that others set and clear.
//!
//! The kernel's spin lock lets nobody wait for ever: who waits stands in line, first come, first served,
//! with interrupts off, and makes room for a holder whose virtual CPU is not running where the hypervisor
//! helps. But to take and give it back are two calls of the kernel, 100 ns together on some CPUs, nearly as much as
//! all the rest of an update. So what is nearly always free is a word, and only who finds it taken waits for
//! the spin lock: the first in line for the word, the others behind it.
//!
//! Only arithmetic is allowed to a holder of the spin lock, so it tries a few times and then lets others
//! pass, interrupts among them.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::bpf_spin_lock,
    btf_maps::Array,
    helpers::generated::{bpf_spin_lock as acquire, bpf_spin_unlock as release},
    macros::btf_map,
};
use memtrace_ebpf::Tree;

use crate::{
    atomic, moment,
    repeat::repeat,
    state::{pause, tree},
    waiting::given_up,
};

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// [`Tree::lock`](memtrace_ebpf::Tree::lock).
    Lock = 0,
    /// [`Tree::moment`](memtrace_ebpf::Tree::moment).
    Moment = 1,
}

/// One in a line of the cache.
#[repr(C)]
struct Line {
    lock: bpf_spin_lock,
    alone: [u32; 15],
}

/// For each tree that of its lock and that of its moments. Userspace sets the size.
#[btf_map]
static LINES: Array<Line, 2> = Array::new();

/// How often the first in line looks whether the word is free before it lets others pass.
const LOOKS: u32 = 8;

/// How often it stands in line without a pause, together a fraction of a millisecond, and how often with one of
/// some microseconds: together seconds, in which nothing but a CPU that does not run keeps the word.
const SHORT_TURNS: u32 = 1 << 10;
const LONG_TURNS: u32 = 1 << 18;

const _: () = assert!(offset_of!(Tree, moment) == offset_of!(Tree, lock) + size_of::<u64>());

/// Who waits, for what.
struct Wait {
    index: u32,
    word: u32,
    set: u64,
}

/// Waits for a word of the tree at `index`, and sets it: 1, or 0 if the holder's CPU has not run for
/// seconds. A function of its own for the verifier, see `main`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn wait_in_line(index: u64, word: u64) -> u64 {
    let mut wait = Wait {
        index: index as u32,
        word: word as u32 & 1,
        set: 0,
    };
    repeat(SHORT_TURNS + LONG_TURNS, turn, &mut wait);
    // SAFETY: a variable of this function, which the compiler cannot know to be changed.
    let set = unsafe { core::ptr::read_volatile(&raw const wait.set) };
    if set == 0 {
        given_up(index);
    }
    set
}

/// Waits until it is first in line, and tries to set the word; not 0 ends the loop.
extern "C" fn turn(number: u32, wait: *mut Wait) -> u64 {
    if !moment::are_apart() {
        // Before 6.8 the verifier also looks at what is not called, and there is no spin lock then.
        return 1;
    }
    // SAFETY: what `wait_in_line` hands over.
    let (index, word) = unsafe { ((*wait).index, (*wait).word & 1) };
    let (Some(tree), Some(line)) = (tree(index), LINES.get_ptr_mut(index * 2 + word)) else {
        return 1;
    };
    if number >= SHORT_TURNS {
        pause();
    }
    // SAFETY: map values, and what `wait_in_line` hands over.
    unsafe {
        // One beside the other.
        let word = (&raw mut (*tree).lock).add(word as usize);
        let lock = &raw mut (*line).lock;
        acquire(lock);
        // Looks only: to try takes the line of the cache from the holder.
        for _ in 0..LOOKS {
            if word.read_volatile() == 0 {
                break;
            }
        }
        let set = atomic::replace(word, 0, 1);
        release(lock);
        (*wait).set = set.into();
        set.into()
    }
}
