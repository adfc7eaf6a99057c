//! How processes begin, execute programs and end.
//!
//! `dup_mmap()` (mm/mmap.c) counts copied pages to an address space that no task has yet; `do_exit()`
//! (kernel/exit.c) calls `sched_process_exit` before `exit_mm()`, before 6.16 behind it; `exit_mm()` clears
//! the owner and then the last user tears down.

extern crate std;

use std::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use memtrace_ebpf::Member;

use super::{Left, Machine, Page, Task};
use crate::{
    adoption, creation, ends, execution,
    host::{
        kernel::{BRANCHES, OFFSETS, Struct, switch_to},
        state,
    },
    kernel::Address,
};

impl Machine {
    /// The first process is attached to, with all that descend from it: as often as anyone is found, all
    /// tasks are gone through. What is torn down by nobody any more does not count, nor what was before.
    /// `second` is a root of its own, if it is there and has not let go of its memory.
    pub(crate) fn attach(&self, second: usize) {
        state::want(self.pid(0), 0);
        let has_memory = |who| self.task_of(who).get::<u64>(OFFSETS.task_mm) != 0;
        if second > 0 && second < self.len() && has_memory(second) {
            state::want(self.pid(second), 1);
            self.descend_from(second);
        }
        let mut found = true;
        while found {
            found = false;
            for who in 0..self.len() {
                found |= self.come_across(who);
            }
        }
        let has = |mm: Struct| {
            let tasks = self.tasks.borrow();
            tasks
                .iter()
                .any(|task| task.task.get::<u64>(OFFSETS.task_mm) == mm.address())
        };
        let all = self.spaces.borrow().len();
        for space in 0..all {
            if !has(self.mm_of(space)) {
                self.in_space(space, |space| space.counts = false);
            }
        }
        self.most.set(0);
        self.most_summed.set(0);
        self.most_of.set([0; BRANCHES]);
        self.look();
    }

    /// Who goes through all tasks looks at the process.
    pub(crate) fn come_across(&self, who: usize) -> bool {
        switch_to(self.reclaimer.address());
        adoption::came_across(self.task_of(who).typed())
    }

    /// The process and its descendants have a root of their own, and what belongs to them counts for it.
    fn descend_from(&self, root: usize) {
        let mut tasks = self.tasks.borrow_mut();
        let mut family = BTreeSet::from([tasks[root].task]);
        // Whoever is created later comes later, and reparented is who descends from another.
        for task in tasks.iter_mut() {
            let is_child = family
                .iter()
                .any(|parent| task.task.get::<u64>(OFFSETS.task_real_parent) == parent.address());
            if is_child {
                family.insert(task.task);
            }
            task.branch = usize::from(family.contains(&task.task));
        }
        for space in self.spaces.borrow_mut().iter_mut() {
            let owner = space.mm.get::<u64>(OFFSETS.mm_owner);
            let user = tasks.iter().find(|task| task.task.address() == owner);
            space.branch = user.map_or(0, |task| task.branch);
        }
    }

    /// Creates a process that shares the address space (`CLONE_VM`).
    pub(crate) fn lend(&self, who: usize) {
        let Some(space) = self.living_space(who) else {
            return;
        };
        self.run(who);
        let child = self.task(Some(space), self.branch_of(who));
        let mm = self.mm_of(space);
        mm.set(OFFSETS.mm_users, mm.get::<i32>(OFFSETS.mm_users) + 1);
        let typed = child.task.typed();
        self.tasks.borrow_mut().push(child);
        creation::process_created(typed, true);
    }

    /// A second thread, whose faults the footprint cannot add up.
    pub(crate) fn thread(&self, who: usize) {
        if self.lives(who) {
            self.signal_of(who).set(OFFSETS.signal_nr_threads, 2_i32);
        }
    }

    pub(crate) fn fork(&self, who: usize) {
        if let Some(child) = self.begin_fork(who) {
            self.run(who);
            self.end_fork(child);
        }
    }

    /// A fork up to where the address space is copied.
    pub(crate) fn begin_fork(&self, who: usize) -> Option<Forked> {
        let space = self.living_space(who)?;
        self.run(who);
        let child = self.task(None, self.branch_of(who));
        let tgid: u32 = self.task_of(who).get(OFFSETS.task_tgid);
        let own: u32 = child.task.get(OFFSETS.task_tgid);
        // dup_task_struct() copies the creator's.
        child.task.set(OFFSETS.task_tgid, tgid);
        let copy = self.space(child.task, child.branch);
        self.in_space(copy, |copy| copy.counts = true);
        let places: Vec<u16> = self.in_space(space, |space| {
            let all = space.pages.keys().chain(space.swapped.keys());
            all.copied()
                .collect::<BTreeSet<u16>>()
                .into_iter()
                .collect()
        });
        // What another CPU takes away meanwhile is not copied, and may be what was.
        for some in places.chunks(3) {
            let of = |all: &BTreeMap<u16, Page>| -> Vec<(u16, Page)> {
                let found = some.iter().filter_map(|p| Some((*p, *all.get(p)?)));
                found.collect()
            };
            let (pages, swapped) =
                self.in_space(space, |space| (of(&space.pages), of(&space.swapped)));
            let (copied, entries) = (pages.len() as i64, swapped.len() as i64);
            self.in_space(copy, |copy| {
                copy.pages.extend(pages);
                copy.swapped.extend(swapped);
            });
            self.count(copy, Member::Anon, copied);
            self.count(copy, Member::Swap, entries);
        }
        Some(Forked {
            child,
            copy,
            tgid: own,
        })
    }

    /// The rest of it.
    pub(crate) fn end_fork(&self, forked: Forked) {
        let Forked { child, copy, tgid } = forked;
        child.task.set(OFFSETS.task_tgid, tgid);
        child.task.set(OFFSETS.task_mm, self.mm_of(copy).address());
        let typed = child.task.typed();
        self.tasks.borrow_mut().push(Task {
            space: Some(copy),
            ..child
        });
        creation::process_created(typed, true);
    }

    /// Executes another program, with one page of arguments.
    pub(crate) fn exec(&self, who: usize) {
        if !self.lives(who) {
            return;
        }
        self.run(who);
        let task = self.task_of(who);
        let fresh = self.space(task, self.branch_of(who));
        let page = self.new_page();
        self.in_space(fresh, |fresh| fresh.pages.insert(0, page));
        self.count(fresh, Member::Anon, 1);
        // exec_mmap()
        let old = self.tasks.borrow_mut()[who].space.replace(fresh);
        let mm = self.mm_of(fresh);
        task.set(OFFSETS.task_mm, mm.address());
        self.in_space(fresh, |fresh| fresh.counts = true);
        self.look();
        if let Some(old) = old
            && self.let_go(old, task)
        {
            while self.unmap(old) {}
            self.torn_down(old);
        }
        let tgid: u32 = task.get(OFFSETS.task_tgid);
        if let Some(process) = state::process(tgid) {
            // SAFETY: a map value of this thread's.
            unsafe { execution::executed(Address::new(mm.address()), tgid, process) };
        }
        self.signal_of(who).set(OFFSETS.signal_nr_threads, 1_i32);
    }

    /// A task does not use the address space any more; true if no other one does. The owner is another user
    /// then, if it was this one (`mm_update_next_owner()`).
    fn let_go(&self, space: usize, task: Struct) -> bool {
        let mm = self.mm_of(space);
        let users = mm.get::<i32>(OFFSETS.mm_users) - 1;
        mm.set(OFFSETS.mm_users, users);
        if mm.get::<u64>(OFFSETS.mm_owner) == task.address() {
            let tasks = self.tasks.borrow();
            let uses = |other: &&Task| {
                other.task != task && other.task.get::<u64>(OFFSETS.task_mm) == mm.address()
            };
            let next = tasks
                .iter()
                .find(uses)
                .map_or(0, |other| other.task.address());
            mm.set(OFFSETS.mm_owner, next);
        }
        users == 0
    }

    /// Frees some pages; false if there are none.
    fn unmap(&self, space: usize) -> bool {
        let entries = self.in_space(space, |space| std::mem::take(&mut space.swapped).len());
        self.count(space, Member::Swap, -(entries as i64));
        let freed = self.in_space(space, |space| {
            let places: Vec<u16> = space.pages.keys().copied().take(3).collect();
            for place in &places {
                space.pages.remove(place);
            }
            places.len()
        });
        self.count(space, Member::Anon, -(freed as i64));
        let unmapped = self.in_space(space, |space| std::mem::take(&mut space.mapped).len());
        self.count(space, Member::Shmem, -(unmapped as i64));
        // Meanwhile one can have been swapped out.
        freed + unmapped > 0 || self.in_space(space, |space| !space.swapped.is_empty())
    }

    fn torn_down(&self, space: usize) {
        ends::torn_down(self.mm_of(space).typed());
        self.in_space(space, |space| space.counts = false);
    }

    /// A process begins to exit, or goes on: one step of what it still has to do.
    pub(crate) fn exit(&self, who: usize) {
        let Some(space) = self.space_of(who) else {
            return;
        };
        self.run(who);
        let tells_first = self.tells_first;
        let next = {
            let mut tasks = self.tasks.borrow_mut();
            let left = tasks[who].left.get_or_insert_with(|| {
                if tells_first {
                    std::vec![Left::TornDown, Left::Unmap, Left::LetGo, Left::Tell]
                } else {
                    std::vec![Left::Tell, Left::TornDown, Left::Unmap, Left::LetGo]
                }
            });
            left.pop()
        };
        match next {
            Some(Left::Tell) => self.tell_exit(who),
            Some(Left::LetGo) => {
                let task = self.task_of(who);
                task.set(OFFSETS.task_mm, 0_u64);
                if !self.let_go(space, task)
                    && let Some(left) = &mut self.tasks.borrow_mut()[who].left
                {
                    left.retain(|step| *step == Left::Tell);
                }
            }
            Some(Left::Unmap) => {
                if self.unmap(space)
                    && let Some(left) = &mut self.tasks.borrow_mut()[who].left
                {
                    left.push(Left::Unmap);
                }
            }
            Some(Left::TornDown) => self.torn_down(space),
            None => {}
        }
    }

    /// `sched_process_exit` of the last thread. The first process gets its children.
    fn tell_exit(&self, who: usize) {
        self.signal_of(who).set(OFFSETS.signal_live, 0_i32);
        let task = self.task_of(who);
        task.tell_exit();
        let first = self.task_of(0);
        for other in self.tasks.borrow().iter() {
            if other.task.get::<u64>(OFFSETS.task_real_parent) == task.address() {
                other.task.set(OFFSETS.task_real_parent, first.address());
            }
        }
    }

    /// The process runs, and begins to build an address space for a program.
    pub(crate) fn begin_exec(&self, who: usize) -> Struct {
        self.run(who);
        let space = self.space(self.task_of(who), self.branch_of(who));
        self.mm_of(space)
    }

    /// Both threads of a process, which gets a second one, when both have begun to exit.
    pub(crate) fn last_threads(&self, who: usize) -> [Struct; 2] {
        self.run(who);
        let (task, signal) = (self.task_of(who), self.signal_of(who));
        let thread = self.task(None, self.branch_of(who)).task;
        thread.set(OFFSETS.task_tgid, self.pid(who));
        thread.set(OFFSETS.task_signal, signal.address());
        thread.set(OFFSETS.task_group_leader, task.address());
        creation::process_created(thread.typed(), true);
        signal.set(OFFSETS.signal_live, 0_i32);
        [task, thread]
    }

    /// All processes exit, one after the other.
    pub(crate) fn end(&self) {
        for who in 0..self.len() {
            for _ in 0..200 {
                self.exit(who);
            }
        }
    }
}

/// A fork whose address space is copied.
pub(crate) struct Forked {
    child: Task,
    copy: usize,
    tgid: u32,
}
