//! A machine that has something else to do.

use std::{
    hint, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// While this lives, a thread of this process computes on each CPU that this process may use, so that what
/// a test runs is interrupted all the time.
#[derive(Debug)]
pub struct BusyCpus {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyCpus {
    /// Starts the threads; all of them run when it returns.
    ///
    /// # Errors
    /// The CPUs cannot be found out, or a thread cannot be started or does not come to its CPU.
    pub fn new() -> Result<Self> {
        let own = Pid::from_raw(0);
        let allowed = sched_getaffinity(own).context("ask for the CPUs of this process")?;
        let cpus: Vec<usize> = (0..CpuSet::count())
            .filter(|&cpu| allowed.is_set(cpu).unwrap_or(false))
            .collect();
        ensure!(!cpus.is_empty(), "this process may use no CPU");
        // From here on dropping it ends those threads that have begun.
        let mut busy = Self {
            done: Arc::default(),
            threads: Vec::new(),
        };
        for cpu in cpus {
            let mut only = CpuSet::new();
            only.set(cpu)?;
            let (tell, told) = mpsc::channel();
            let done = Arc::clone(&busy.done);
            let thread = thread::Builder::new().spawn(move || {
                // Who does not hear it has given up, and ends this.
                let _ = tell.send(sched_setaffinity(own, &only));
                while !done.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
            busy.threads.push(thread.context("start a thread")?);
            told.recv()?
                .with_context(|| format!("move a thread to CPU {cpu}"))?;
        }
        Ok(busy)
    }
}

impl Drop for BusyCpus {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in mem::take(&mut self.threads) {
            // They do nothing that could fail.
            let _ = thread.join();
        }
    }
}
