//! What another CPU can do between two steps of a program.

extern crate std;

use std::rc::Rc;

use memtrace_ebpf::{Image, ImageKind, Member, ProcessFlags, Stat, rss};

use super::{
    kernel,
    machine::Machine,
    state::{self, Point},
};
use crate::{accounting::Update, births, ends, life};

/// A machine whose process 1, a child of the first, has some pages.
fn with_child() -> Machine {
    with_child_on(true)
}

/// The same on a kernel that takes spin locks in programs, or does not: there everything is booked under the tree's
/// lock.
fn with_child_on(spin_lock: bool) -> Machine {
    kernel::use_config(spin_lock, false);
    let machine = Machine::new(true);
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
fn replace(machine: Machine) -> Machine {
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
    let update = |mm: kernel::Struct, image| life::update(mm.typed(), || ANON as u32, image);
    check_waiting(with_child(), update);
    check_waiting(with_child_on(false), update);
    // As where threads have caches.
    check_waiting(with_child_on(false), |mm, image| {
        life::update_with(mm.typed(), ANON as u32, image, |_| 77);
    });
}

fn check_waiting(machine: Machine, update: impl Fn(kernel::Struct, *mut Image)) {
    let mm = machine.mm(1);
    let image = state::image(mm.address()).expect("its image");
    let after = Rc::new(std::cell::RefCell::new(None));
    let told = Rc::clone(&after);
    state::meanwhile(Point::Lock, move || {
        let machine = replace(machine);
        let newborn = state::image(machine.mm(2).address()).expect("the newborn's image");
        assert_eq!(newborn, image, "the element is used again");
        *told.borrow_mut() = Some(bytes(newborn));
    });
    update(mm, image);
    assert!(state::all_done());
    assert_eq!(after.borrow().as_deref(), Some(&bytes(image)[..]));
    assert_eq!(state::counted(Stat::Outlived), 1);
    assert_eq!(state::counted(Stat::MapBusy), 0);
}

/// The same without the lock: the newborn has no relatives either.
#[test]
fn an_update_that_began_alone_is_not_booked_to_another_image() {
    let machine = with_child();
    machine.exec(1);
    let mm = machine.mm(1);
    let image = state::image(mm.address()).expect("its image");
    let after = Rc::new(std::cell::RefCell::new(None));
    let told = Rc::clone(&after);
    state::meanwhile(Point::Moment, move || {
        for _ in 0..20 {
            machine.exit(1);
        }
        machine.fork(0);
        // The copy gets the element, which the first program leaves to the second.
        machine.exec(2);
        machine.exec(2);
        let newborn = state::image(machine.mm(2).address()).expect("the newborn's image");
        assert!(machine.is_alone(2));
        assert_eq!(newborn, image, "the element is used again");
        *told.borrow_mut() = Some(bytes(newborn));
    });
    life::update(mm.typed(), || Member::Anon as u32, image);
    assert!(state::all_done());
    assert_eq!(after.borrow().as_deref(), Some(&bytes(image)[..]));
    assert_eq!(state::counted(Stat::Outlived), 1);
}

/// Nor does the end of the old one end it.
#[test]
fn an_end_that_waited_does_not_end_another_image() {
    check_ending(with_child());
    check_ending(with_child_on(false));
}

fn check_ending(machine: Machine) {
    let mm = machine.mm(1);
    state::meanwhile(Point::Lock, move || {
        replace(machine);
    });
    ends::torn_down(mm.typed());
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

/// Where threads have caches, their owner tells the value under the lock.
#[test]
fn a_value_that_is_told_is_booked() {
    let machine = with_child_on(false);
    let mm = machine.mm(1);
    let image = state::image(mm.address()).expect("its image");
    life::update_with(mm.typed(), ANON as u32, image, |ending| {
        assert!(state::is_locked() && !ending);
        77
    });
    // SAFETY: map values of this thread's.
    let (image, tree) = unsafe { (*image, *state::tree(0).expect("a tree")) };
    assert_eq!((image.cur[ANON], image.peak[ANON]), (77, 77));
    assert_eq!(rss(&tree.cur), Machine::booked());
}

/// What was found out before its value was known is not booked to an image that has ended since, and it is told.
#[test]
fn a_value_that_comes_later_is_not_booked_to_an_image_that_has_ended() {
    kernel::use_config(false, false);
    let machine = Machine::new(true);
    machine.write(0, 1);
    let mm = machine.mm(0).address();
    let image = state::image(mm).expect("its image");
    let update = Update {
        member: Member::Anon as u32,
        value: 7,
        at: state::now(),
        ending: true,
        reading: 0,
    };
    // Whoever ends it gives the lock back before it is out of the map.
    ends::finish_image(mm, state::now(), ends::event_reason::EXIT_MMAP);
    let before = bytes(image);
    life::complete_later(mm, 0, &update);
    assert!(bytes(image) == before, "it is as it ended");
    assert_eq!(state::counted(Stat::Outlived), 1);
    state::remove_image(mm);
    life::complete_later(mm, 0, &update);
    assert_eq!(state::counted(Stat::Outlived), 2);
    // Nothing is missing.
    assert_eq!(state::counted(Stat::MapBusy), 0);
}

/// Two CPUs create the same image at once: it is there once, whole, and as the first one made it.
#[test]
fn an_image_that_two_create_is_one() {
    let machine = with_child();
    let mm = machine.begin_exec(1);
    let first = Rc::new(std::cell::RefCell::new(None));
    let told = Rc::clone(&first);
    let tree = state::tree(0).expect("a tree");
    // SAFETY: a map value of this thread's.
    let images = || unsafe { (*tree).images };
    let before = images();
    state::meanwhile(Point::Insert, move || {
        let image = births::create(mm.typed(), 7, ImageKind::Exec).expect("room");
        // SAFETY: a map value of this thread's.
        unsafe { (*image).events = 5 };
        *told.borrow_mut() = Some(bytes(image));
    });
    let image = births::create(mm.typed(), 7, ImageKind::Exec).expect("room");
    assert!(state::all_done());
    assert_eq!(first.borrow().as_deref(), Some(&bytes(image)[..]));
    assert_eq!(images(), before + 1);
}

/// Who takes processes in is preempted by one that was taken in, and that begins to execute a program: neither
/// image has anything of the other.
#[test]
fn an_image_that_is_taken_in_is_not_mixed_with_another() {
    kernel::use_config(true, false);
    let machine = Rc::new(Machine::unfollowed(true));
    machine.write(0, 1);
    machine.fork(0);
    state::want(machine.pid(0), 0);
    assert!(machine.come_across(0));
    let begun = Rc::new(std::cell::Cell::new(0));
    let (told, other) = (Rc::clone(&begun), Rc::clone(&machine));
    state::meanwhile(Point::Preempted, move || {
        let mm = other.begin_exec(0);
        births::image_of(mm.typed()).expect("room");
        told.set(mm.address());
    });
    assert!(machine.come_across(1));
    assert!(state::all_done());
    let made = |mm: u64| {
        let image = state::image(mm).expect("its image");
        // SAFETY: a map value of this thread's.
        unsafe { ((*image).mm, (*image).kind, (*image).tgid) }
    };
    for (mm, kind, who) in [
        (machine.mm(1).address(), ImageKind::Attached, 1),
        (begun.get(), ImageKind::Exec, 0),
    ] {
        assert_eq!(made(mm), (mm, kind as u32, machine.pid(who)));
    }
}

/// Two threads both find nobody else alive. The one that is through first does not remove the entry that the
/// other still writes to: by then it could be a newborn's.
#[test]
fn an_entry_is_not_removed_while_a_thread_writes_to_it() {
    let machine = with_child();
    let newborn = Rc::new(std::cell::Cell::new(0));
    let told = Rc::clone(&newborn);
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

/// A process that has the memory of another executes a program while it is taken in: it has what that told, and
/// not what it had.
#[test]
fn who_executes_a_program_meanwhile_is_not_taken_in_with_what_it_had() {
    for point in [Point::LookUp, Point::Lock] {
        kernel::use_config(true, false);
        let machine = Rc::new(Machine::unfollowed(true));
        machine.write(0, 1);
        machine.lend(0);
        state::want(machine.pid(0), 0);
        assert!(machine.come_across(0));
        let other = Rc::clone(&machine);
        state::meanwhile(point, move || other.exec(1));
        assert!(machine.come_across(1));
        assert!(state::all_done());
        let image_of = |who| state::image(machine.mm(who).address()).expect("its image");
        let process = state::process(machine.pid(1)).expect("its entry");
        // SAFETY: map values of this thread's.
        let (process, lent, own) = unsafe { (*process, *image_of(0), *image_of(1)) };
        assert_eq!((process.flags, process.image), (0, own.id), "{point:?}");
        assert_eq!((lent.lent, lent.borrowers), (0, 0), "{point:?}");
    }
}

/// Another child of the first process gets the address space that was at `mm`, and lends it to a process that may
/// write there. Gives its image.
fn lend_again(machine: &Machine, mm: kernel::Struct) -> *mut Image {
    machine.use_again(mm);
    machine.fork(0);
    machine.lend(machine.len() - 1);
    let image = state::image(mm.address()).expect("the newborn's image");
    // SAFETY: a map value of this thread's.
    unsafe { assert_eq!((*image).borrowers, 1) };
    image
}

/// A process that ends behind its memory does not leave what is there by then.
#[test]
fn who_ends_does_not_leave_an_image_that_came_later() {
    kernel::use_config(true, false);
    // `exit_mm()` comes before `sched_process_exit`.
    let machine = Machine::new(false);
    machine.write(0, 1);
    machine.fork(0);
    let (mm, pid) = (machine.mm(1), machine.pid(1));
    while state::image(mm.address()).is_some() {
        machine.exit(1);
    }
    let image = lend_again(&machine, mm);
    machine.exit(1);
    assert!(state::process(pid).is_none(), "it has told its end");
    // SAFETY: a map value of this thread's.
    assert_eq!(unsafe { (*image).borrowers }, 1);
}

/// Nor does one that executes a program, if what it had ends while the lock is waited for.
#[test]
fn who_executes_a_program_does_not_leave_an_image_that_came_later() {
    let mut reached = 0;
    for skipped in 0..4 {
        let machine = Rc::new(with_child());
        machine.lend(1);
        let (mm, other) = (machine.mm(1), Rc::clone(&machine));
        let image = Rc::new(std::cell::Cell::new(std::ptr::null_mut()));
        let told = Rc::clone(&image);
        state::meanwhile_later(skipped, Point::Lock, move || {
            for _ in 0..20 {
                other.exit(1);
            }
            if state::image(mm.address()).is_none() {
                told.set(lend_again(&other, mm));
            }
        });
        machine.exec(2);
        state::nothing_meanwhile();
        if !image.get().is_null() {
            reached += 1;
            // SAFETY: a map value of this thread's.
            assert_eq!(unsafe { (*image.get()).borrowers }, 1, "{skipped}");
        }
    }
    assert_ne!(reached, 0, "the old image was there when the program began");
}

/// The image of the first process, which has some pages and no relatives.
fn alone() -> (Rc<Machine>, *mut Image) {
    kernel::use_config(true, false);
    let machine = Rc::new(Machine::new(true));
    for place in 1..5 {
        machine.write(0, place);
    }
    let image = state::image(machine.mm(0).address()).expect("its image");
    assert!(machine.is_alone(0));
    (machine, image)
}

fn tell(mm: kernel::Struct, member: Member) {
    let image = state::image(mm.address()).expect("its image");
    life::update(mm.typed(), || member as u32, image);
}

const ANON: usize = Member::Anon as usize;

/// Two threads have changed a counter, and the one that read it first comes to book second: what it read
/// was the peak, and is not what is.
#[test]
fn an_older_reading_is_a_peak_at_most() {
    let (machine, image) = alone();
    let mm = machine.mm(0);
    // SAFETY: a map value of this thread's.
    let before = unsafe { (*image).cur[ANON] };
    mm.count(Member::Anon, 7);
    state::meanwhile(Point::Moment, move || {
        mm.count(Member::Anon, -4);
        tell(mm, Member::Anon);
    });
    tell(mm, Member::Anon);
    assert!(state::all_done());
    let tree = state::tree(0).expect("a tree");
    // SAFETY: map values of this thread's.
    let (image, tree) = unsafe { (*image, *tree) };
    assert_eq!(image.cur[ANON], before + 3);
    assert_eq!(image.peak[ANON], before + 7);
    assert_eq!(
        (image.peak_rss, image.own_peak[ANON]),
        (before + 7, before + 7)
    );
    // It is not known to have been the tree's: that is made of what was booked.
    assert_eq!((tree.rss, tree.peak_rss), (before + 3, before + 3));
    assert_eq!(rss(&tree.cur), before + 3);
}

/// Such a reading is not added to what another counter had later.
#[test]
fn an_older_reading_does_not_meet_a_newer_one_of_another_counter() {
    let (machine, image) = alone();
    let mm = machine.mm(0);
    // SAFETY: a map value of this thread's.
    let before = unsafe { (*image).cur[ANON] };
    mm.count(Member::Anon, 7);
    state::meanwhile(Point::Moment, move || {
        mm.count(Member::Anon, -7);
        tell(mm, Member::Anon);
        mm.count(Member::Shmem, 6);
        tell(mm, Member::Shmem);
    });
    tell(mm, Member::Anon);
    // SAFETY: a map value of this thread's.
    let image = unsafe { *image };
    assert_eq!((image.peak_rss, image.peak[ANON]), (before + 6, before + 7));
}

/// What an update found of huge pages is not booked to an image that has ended meanwhile.
#[test]
fn huge_pages_of_an_image_that_has_ended_do_not_count() {
    let (machine, _) = alone();
    let mm = machine.mm(0);
    let tree = state::tree(0).expect("a tree");
    // SAFETY: a map value of this thread's.
    let huge = || unsafe { ((*tree).huge, (*tree).peak_huge) };
    mm.set_huge(5);
    tell(mm, Member::Anon);
    assert_eq!(huge(), (5, 5));
    mm.set_huge(7);
    state::meanwhile(Point::Moment, move || machine.end());
    tell(mm, Member::Anon);
    assert!(state::all_done());
    // Its own end saw them too.
    assert_eq!(huge(), (0, 7));
}

/// A CPU that moves its share of a counter, and is stopped in the midst of it, is waited for.
#[test]
fn who_moves_a_share_is_waited_for() {
    let (machine, image) = alone();
    let mm = machine.mm(0);
    // SAFETY: a map value of this thread's.
    let anon = || unsafe { (*image).cur[ANON] };
    let before = anon();
    mm.lock(Member::Anon, true);
    state::meanwhile_later(20, Point::Pause, move || {
        mm.count(Member::Anon, 5);
        mm.lock(Member::Anon, false);
    });
    tell(mm, Member::Anon);
    assert!(state::all_done());
    assert_eq!(anon(), before + 5);
    assert_eq!(
        (state::counted(Stat::Torn), state::counted(Stat::Unverified)),
        (1, 0)
    );
    // But not for ever.
    mm.lock(Member::Anon, true);
    tell(mm, Member::Anon);
    assert_eq!(state::counted(Stat::Unverified), 1);
    assert_eq!(anon(), before + 5);
}

/// While a counter is read another thread's fork comes to its end: what is given back is told to the child,
/// which may have it alone now.
#[test]
fn a_fork_that_ends_meanwhile_is_told() {
    let (machine, _) = alone();
    let mm = machine.mm(0);
    let forked = machine.begin_fork(0).expect("it runs");
    machine.remove(0, 3);
    state::meanwhile(Point::Moment, {
        let machine = Rc::clone(&machine);
        move || machine.end_fork(forked)
    });
    tell(mm, Member::Anon);
    assert!(state::all_done());
    check_bounds(&machine);
}

/// So it is if it was given back and booked before the fork came to its end.
#[test]
fn what_is_given_back_during_a_fork_may_be_the_childs() {
    let (machine, _) = alone();
    let forked = machine.begin_fork(0).expect("it runs");
    machine.free(0, 3);
    machine.end_fork(forked);
    check_bounds(&machine);
}

/// The bounds hold at the peak, which is now.
fn check_bounds(machine: &Machine) {
    for place in 100..120 {
        machine.write(0, place);
    }
    let tree = state::tree(0).expect("a tree");
    // SAFETY: a map value of this thread's.
    let tree = unsafe { *tree };
    let (most, _) = machine.most();
    let (low, high) = (tree.peak_footprint_low, tree.peak_footprint_high);
    assert!(
        low <= most && most <= high,
        "{most} is not within {low} and {high}"
    );
}

/// What a process has and what of it is shared change together for one that books between.
#[test]
fn half_of_a_change_is_not_seen() {
    let (machine, _) = alone();
    machine.fork(0);
    // A process without relatives.
    machine.fork(0);
    machine.exec(2);
    assert!(machine.is_alone(2));
    let tree = state::tree(0).expect("a tree");
    // SAFETY: a map value of this thread's.
    let once = move || unsafe { (*tree).rss - (*tree).shared };
    let before = once();
    let seen = Rc::new(std::cell::RefCell::new(std::vec::Vec::new()));
    for skipped in 0..4 {
        let (told, other) = (Rc::clone(&seen), Rc::clone(&machine));
        state::meanwhile_later(skipped, Point::Moment, move || {
            other.write(2, 9);
            told.borrow_mut().push(once());
            other.free(2, 9);
        });
        machine.fork(0);
    }
    assert_eq!(*seen.borrow(), [before + 1; 4]);
}

/// What was booked while the lock, or a moment, was waited for is not before what is booked then.
#[test]
fn bookings_do_not_go_back_in_time() {
    let machine = with_child();
    let mm = machine.mm(1);
    check_times(machine, mm, Point::Lock);
    let machine = with_child();
    machine.exec(1);
    let mm = machine.mm(1);
    check_times(machine, mm, Point::Moment);
    let machine = with_child_on(false);
    let mm = machine.mm(1);
    check_times(machine, mm, Point::Lock);
}

fn check_times(machine: Machine, mm: kernel::Struct, point: Point) {
    let image = state::image(mm.address()).expect("its image");
    let tree = state::tree(0).expect("a tree");
    // SAFETY: map values of this thread's.
    let booked = move || unsafe {
        let member = Member::Anon as usize;
        ((*tree).integral_at[member], (*image).integral_at[member])
    };
    let before = Rc::new(std::cell::Cell::new((0, 0)));
    let told = Rc::clone(&before);
    state::meanwhile(point, move || {
        state::pass(1000);
        machine.write(0, 77);
        told.set(booked());
    });
    life::update(mm.typed(), || Member::Anon as u32, image);
    assert!(state::all_done());
    let (tree_then, image_then) = before.get();
    let (tree_now, image_now) = booked();
    assert!(tree_now >= tree_then && image_now > image_then);
    assert!(image_now >= tree_then, "{image_now} is before {tree_then}");
}
