//! What is read: of one process at a time, or of all of them.

use super::{Reading, Sample, Target, Tree};
use crate::{
    model::Amounts,
    ptrace::{
        image::largest,
        status::{Look, Memory},
    },
};

impl Tree {
    /// Something was read of a process.
    pub(in crate::ptrace) fn observe(&mut self, process: usize, look: &Look, now: u64) {
        if let Some(memory) = &look.memory
            && let Some(place) = self.image_of(process)
            && let Some(image) = self.images.get_mut(place)
        {
            image.observe(now, memory);
            if image.hwm > self.highest.0 {
                self.highest = (image.hwm, now);
            }
            image.threads = image.threads.max(look.threads);
        }
    }

    /// Where the command was too quick to be looked at even once, its `ru_maxrss` has to do.
    pub(in crate::ptrace) fn never_read(&mut self, maxrss: u64) {
        if let Some(image) = self.images.get_mut(0)
            && image.hwm == 0
        {
            image.hwm = maxrss;
        }
    }

    /// What to look at: every image once, through a thread that still has memory.
    pub(in crate::ptrace) fn targets(&self) -> Vec<Target> {
        self.images
            .with_places()
            .filter(|(_, image)| image.end.is_none() && !image.void)
            .filter_map(|(index, image)| {
                image.users.iter().find_map(|&process| {
                    let tid = *self.processes.get(process)?.live.first()?;
                    Some(Target {
                        process,
                        image: index,
                        tid,
                    })
                })
            })
            .collect()
    }

    /// Whether what was read is of another address space: the largest virtual size of one never falls
    /// (`mm->hiwater_vm`).
    fn is_another(&self, image: usize, memory: &Memory) -> bool {
        let image = self.images.get(image);
        image.is_some_and(|image| memory.vm.size < image.largest_size)
    }

    /// Nobody told, but a process has executed a program.
    fn executed(&mut self, process: usize, now: u64) {
        if let Some(pid) = self.pid(process)
            && self.exec(pid, pid, now).is_some()
        {
            self.unnamed.push(pid);
        }
    }

    /// Takes in one look at everything, which took from `from` to `to`.
    pub(in crate::ptrace) fn sampled(&mut self, from: u64, to: u64, looks: &[(Target, Look)]) {
        let mut sum = Amounts::default();
        let mut parts = Vec::with_capacity(looks.len());
        let mut memories = Vec::with_capacity(looks.len());
        for (target, look) in looks {
            let Some(memory) = &look.memory else {
                continue;
            };
            let mut image = target.image;
            // A process in a tracing stop may have replaced the image already, and the
            // tracer is about to say so.
            if look.state != b't' && self.image_of(target.process) == Some(image) {
                if self.polled && self.is_another(image, memory) {
                    self.executed(target.process, to);
                    image = self.image_of(target.process).unwrap_or(image);
                }
                self.observe(target.process, look, to);
            }
            sum = sum.plus(&memory.now);
            parts.push((image, memory.now));
            memories.push((image, *memory));
        }
        if self.recorded {
            self.readings.push(Reading {
                at: to,
                parts: memories,
            });
        }
        self.latest_rss = sum.rss();
        self.samples += 1;
        self.sampled_at = to;
        self.longest_sample = self.longest_sample.max(to.saturating_sub(from));
        self.peak = largest(self.peak, sum);
        self.peak_rss_swap = self.peak_rss_swap.max(sum.rss().saturating_add(sum.swap));
        if sum.rss() > self.best.rss {
            self.best = Sample {
                number: self.best.number + 1,
                at: to,
                rss: sum.rss(),
                parts,
            };
        }
    }
}
