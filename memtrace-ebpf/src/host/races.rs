//! What another CPU can do between two steps of a program.

extern crate std;

use memtrace_ebpf::{Image, ImageKind, Member, ProcessFlags, Stat, rss};

use super::{
    kernel::Machine,
    state::{self, Point},
};
use crate::life;

/// A machine whose process 1, a child of the first, has some pages.
fn with_child() -> Machine {
    let mut machine = Machine::new(true);
    machine.write(0, 1);
    machine.fork(0);
    for place in 2..8 {
        machine.write(1, place);
    }
    machine
}

/// Everything of an image, to compare.
fn bytes(image: *const Image) -> std::vec::Vec<u8> {
    // SAFETY: a map value of this thread's, without padding.
    unsafe { std::slice::from_raw_parts(image.cast::<u8>(), size_of::<Image>()) }.to_vec()
}

/// Process 1 ends, and another child of the first gets the place of its image in the map.
fn replace(mut machine: Machine) -> Machine {
    for _ in 0..20 {
        machine.exit(1);
    }
    machine.fork(0);
    machine
}

/// While the lock was waited for, the image ended and its element became another's: the update of the old
/// one is not booked to it.
#[test]
fn an_update_that_waited_is_not_booked_to_another_image() {
    let machine = with_child();
    let mm = machine.mm(1);
    let image = state::image(mm.address()).expect("its image");
    let after = std::rc::Rc::new(std::cell::RefCell::new(None));
    let told = std::rc::Rc::clone(&after);
    state::meanwhile(Point::Lock, move || {
        let machine = replace(machine);
        let newborn = state::image(machine.mm(2).address()).expect("the newborn's image");
        assert_eq!(newborn, image, "the element is used again");
        *told.borrow_mut() = Some(bytes(newborn));
    });
    life::update(mm.typed(), || Member::Anon as u32, image);
    assert!(state::all_done());
    assert_eq!(after.borrow().as_deref(), Some(&bytes(image)[..]));
    assert_eq!(state::counted(Stat::Outlived), 1);
    assert_eq!(state::counted(Stat::MapBusy), 0);
}

/// Nor does the end of the old one end it.
#[test]
fn an_end_that_waited_does_not_end_another_image() {
    let machine = with_child();
    let mm = machine.mm(1);
    state::meanwhile(Point::Lock, move || {
        replace(machine);
    });
    life::torn_down(mm.typed());
    assert!(state::all_done());
    assert_eq!(state::counted(Stat::Outlived), 1);
    let held = |image: *mut Image| {
        // SAFETY: a map value of this thread's.
        unsafe { ((*image).end_reason, rss(&(*image).cur)) }
    };
    // The first one's and the newborn's, a copy of it.
    let left: std::vec::Vec<_> = state::images().into_iter().map(held).collect();
    assert_eq!(left, [(0, 2), (0, 2)]);
}

/// Two CPUs create the same image at once: it is there once, whole, and as the first one made it.
#[test]
fn an_image_that_two_create_is_one() {
    let mut machine = with_child();
    let mm = machine.begin_exec(1);
    let first = std::rc::Rc::new(std::cell::RefCell::new(None));
    let told = std::rc::Rc::clone(&first);
    let tree = state::tree(0).expect("a tree");
    // SAFETY: a map value of this thread's.
    let images = || unsafe { (*tree).images };
    let before = images();
    state::meanwhile(Point::Insert, move || {
        let image = life::create(mm.typed(), 7, ImageKind::Exec).expect("room");
        // SAFETY: a map value of this thread's.
        unsafe { (*image).events = 5 };
        *told.borrow_mut() = Some(bytes(image));
    });
    let image = life::create(mm.typed(), 7, ImageKind::Exec).expect("room");
    assert!(state::all_done());
    assert_eq!(first.borrow().as_deref(), Some(&bytes(image)[..]));
    assert_eq!(images(), before + 1);
}

/// Two threads both find nobody else alive. The one that is through first does not remove the entry that the
/// other still writes to: by then it could be a newborn's.
#[test]
fn an_entry_is_not_removed_while_a_thread_writes_to_it() {
    let mut machine = with_child();
    let newborn = std::rc::Rc::new(std::cell::Cell::new(0));
    let told = std::rc::Rc::clone(&newborn);
    let [first, second] = machine.last_threads(1);
    state::meanwhile(Point::Lock, move || {
        second.tell_exit();
        machine.fork(0);
        told.set(machine.pid(2));
    });
    first.tell_exit();
    assert!(state::all_done());
    let process = state::process(newborn.get()).expect("the newborn's entry");
    // SAFETY: a map value of this thread's.
    let process = unsafe { *process };
    assert_eq!(process.tgid, newborn.get());
    assert_eq!(process.all_flags() & ProcessFlags::EXITED, 0);
    assert_eq!((process.exits, process.threads), (0, 1));
}

/// What was booked while the lock was waited for is not before what is booked then.
#[test]
fn bookings_do_not_go_back_in_time() {
    let mut machine = with_child();
    let mm = machine.mm(1);
    let image = state::image(mm.address()).expect("its image");
    let tree = state::tree(0).expect("a tree");
    // SAFETY: map values of this thread's.
    let booked = move || unsafe {
        let member = Member::Anon as usize;
        ((*tree).integral_at[member], (*image).integral_at[member])
    };
    let before = std::rc::Rc::new(std::cell::Cell::new((0, 0)));
    let told = std::rc::Rc::clone(&before);
    state::meanwhile(Point::Lock, move || {
        state::pass(1000);
        machine.write(0, 7);
        told.set(booked());
    });
    life::update(mm.typed(), || Member::Anon as u32, image);
    assert!(state::all_done());
    let (tree_then, image_then) = before.get();
    let (tree_now, image_now) = booked();
    assert!(tree_now >= tree_then && image_now > image_then);
    assert!(image_now > tree_then, "{image_now} is before {tree_then}");
}
