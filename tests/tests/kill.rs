//! SIGKILL of memtrace at any moment: the command goes on as if nothing had been, and the
//! kernel keeps nothing.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use memtrace_tests::{
    KernelObjects, Lab, Orphanage, Random, Summary, announced, await_state, can_list_objects,
    require, require_privileges, scaled,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::WaitStatus,
    },
    unistd::Pid,
};

/// Generous, for emulated machines.
const LIMIT: Duration = Duration::from_secs(120);

/// What the command ends with: nothing else here does.
const OWN_STATUS: i32 = 42;

/// What the process that waits for memtrace ends with when that is gone.
const NEVER_STARTED: i32 = 125;

/// Forks, programs, threads and memory, in several processes at a time. Every child must end
/// with status 0, or the script ends with 99.
const BUSY: &str = "status @start loop{ 40 \
    fork{ anon 100 vfork{ exec{ NOTHING } } wait dontneed touch 50 } \
    fork{ exec{ SELF anon 200 thread{ touch 20 } fork{ touch 30 exec{ NOTHING } } wait } } \
    vfork{ exec{ NOTHING } } shmem 20 unmap wait wait wait } status @end exit 42";

/// Where memtrace was when it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of it was in the kernel.
    Outside,
    /// Its programs were being loaded, the command waited.
    Loading,
    /// The command ran.
    Running,
}

struct Killing<'a> {
    lab: &'a Lab,
    line: Vec<String>,
    orphanage: Orphanage,
}

impl Killing<'_> {
    fn command(&self) -> Command {
        let mut command = self.lab.fixed(&self.line);
        let null = || Stdio::null();
        command.stdin(null()).stdout(null()).stderr(null());
        command
    }

    /// Kills memtrace after `delay`. With `look` it is stopped first, so that what it holds
    /// is known for certain; else it is killed in full run.
    fn kill_after(&self, delay: Duration, look: bool) -> Result<(Phase, KernelObjects)> {
        for name in ["start", "end"] {
            let _ = fs::remove_file(self.lab.path(name));
        }
        let mut memtrace = self.command().spawn().context("start memtrace")?;
        let pid = memtrace.id();
        thread::sleep(delay);
        let send = |signal| {
            // Not waited for yet: it is there, if only as a zombie.
            kill(Pid::from_raw(pid.cast_signed()), signal).context("send a signal to memtrace")
        };
        if look {
            send(Signal::SIGSTOP)?;
            await_state(pid, "TZX", LIMIT)?;
        }
        let objects = KernelObjects::of_process(pid);
        if look {
            // That they are found while they are there gives their absence its meaning.
            ensure!(
                objects.still_there() == objects,
                "{objects:?} are not listed"
            );
        }
        let started = self.lab.has("start");
        let status = {
            send(Signal::SIGKILL)?;
            memtrace.wait().context("wait for memtrace")?
        };
        let orphans = self.orphanage.await_all(LIMIT)?;
        // Setarch is in the way for a moment: then there was no command yet.
        let (began, ended) = (self.lab.has("start"), self.lab.has("end"));
        match orphans.as_slice() {
            // It had come to its end, or not to its beginning.
            [] => {
                let passed_on = status.code() == Some(OWN_STATUS);
                ensure!(
                    began == ended && (!began || passed_on || status.code().is_none()),
                    "memtrace ended with {status}, the command began: {began}, ended: {ended}"
                );
            }
            [WaitStatus::Exited(_, OWN_STATUS)] => ensure!(began && ended, "no files"),
            [WaitStatus::Exited(_, NEVER_STARTED)] => ensure!(!began, "it began and gave up"),
            other => anyhow::bail!("the command ended with {other:?}"),
        }
        let phase = match (objects.is_empty(), started) {
            (true, _) => Phase::Outside,
            (false, false) => Phase::Loading,
            (false, true) => Phase::Running,
        };
        Ok((phase, objects))
    }
}

/// At two hundred moments, spread evenly over its whole run from the first to the last.
#[test]
fn the_command_and_the_kernel_survive_a_kill_at_any_moment() -> Result<()> {
    require_privileges!();
    require!(can_list_objects());
    let lab = Lab::new()?;
    let mut random = Random::seeded("kill");
    let kills = announced("kills", scaled(200, 15));
    let mut line = lab.memtrace_run(&[])?;
    line.extend(lab.script(BUSY));
    let killing = Killing {
        lab: &lab,
        line,
        orphanage: Orphanage::open()?,
    };

    // Unharmed, the workload is right and the objects are seen; the slower of two runs
    // says how long a run is.
    let mut whole = Duration::ZERO;
    for _ in 0..2 {
        let start = Instant::now();
        let status = killing.command().status()?;
        whole = whole.max(start.elapsed());
        ensure!(status.code() == Some(OWN_STATUS), "the workload: {status}");
        Summary::read(&lab.path("summary.json"))?.assert_exact();
    }

    let mut objects = KernelObjects::default();
    let mut phases = Vec::new();
    for i in 0..kills {
        let slice = u64::try_from(whole.as_micros())? / kills;
        let delay = Duration::from_micros(i * slice + random.below(slice));
        let (phase, held) = killing
            .kill_after(delay, i % 2 == 0)
            .with_context(|| format!("kill {i}, after {delay:?}"))?;
        phases.push(phase);
        objects.extend(held);
    }
    objects.await_gone(LIMIT)?;
    // Kills that all hit the same spot would prove little.
    for phase in [Phase::Outside, Phase::Loading, Phase::Running] {
        let hit = phases.iter().filter(|found| **found == phase).count();
        println!("{phase:?}: {hit} kills");
        assert!(hit > 0, "no kill while {phase:?} in a run of {whole:?}");
    }
    Ok(())
}
