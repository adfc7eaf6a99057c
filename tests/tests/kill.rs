//! SIGKILL of memtrace at any moment: the command goes on as if nothing had been, and the
//! kernel keeps nothing.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use memtrace_tests::{
    Checkpoints, Held, KernelObjects, Lab, Orphanage, Summary, announced, await_state,
    can_list_objects, load, require, require_privileges,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::WaitStatus,
    },
    unistd::Pid,
};

/// What the command ends with: nothing else here does.
const OWN_STATUS: i32 = 42;

/// What the process that waits for memtrace ends with when that is gone.
const NEVER_STARTED: i32 = 125;

/// How often the command comes around.
const ROUNDS: usize = 40;

/// Forks, programs, threads and memory, in several processes at a time. Every child must end
/// with status 0, or the script ends with 99.
fn busy() -> String {
    format!(
        "status @start loop{{ {ROUNDS} say round \
         fork{{ anon 100 vfork{{ exec{{ NOTHING }} }} wait dontneed touch 50 }} \
         fork{{ exec{{ SELF anon 200 thread{{ touch 20 }} fork{{ touch 30 exec{{ NOTHING }} }} wait }} }} \
         vfork{{ exec{{ NOTHING }} }} shmem 20 unmap wait wait wait }} status @end exit {OWN_STATUS}"
    )
}

/// Where memtrace was when it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of it was in the kernel.
    Outside,
    /// Its programs were being loaded, the command waited.
    Loading,
    /// The command ran.
    Running,
    /// The command had ended.
    Ended,
}

/// A moment to kill memtrace at.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At a checkpoint, by its number, or right after it.
    Point(usize),
    /// When the command begins this round.
    Round(usize),
}

/// A run of memtrace that can be held and killed.
struct Victim {
    memtrace: Child,
    held: Held,
    said: BufReader<ChildStdout>,
}

struct Killing<'a> {
    lab: &'a Lab,
    checkpoints: Checkpoints,
    orphanage: Orphanage,
}

impl Killing<'_> {
    fn start(&self) -> Result<Victim> {
        for name in ["start", "end"] {
            let _ = fs::remove_file(self.lab.path(name));
        }
        let options = self.checkpoints.options();
        let mut line = self.lab.memtrace_run(&[&options[0], &options[1]])?;
        line.extend(self.lab.script(&busy()));
        let mut command: Command = self.lab.fixed(&line);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut memtrace = command.stdout(Stdio::piped()).spawn()?;
        let said = memtrace.stdout.take().context("no pipe to the command")?;
        Ok(Victim {
            held: self.checkpoints.accept()?,
            said: BufReader::new(said),
            memtrace,
        })
    }

    /// Lets it run to the end; gives its checkpoints.
    fn unharmed(&self) -> Result<Vec<String>> {
        let mut victim = self.start()?;
        let points = victim.held.to_end()?;
        let status = victim.memtrace.wait()?;
        ensure!(status.code() == Some(OWN_STATUS), "the workload: {status}");
        Summary::read(&self.lab.path("summary.json"))?.assert_exact();
        Ok(points)
    }

    /// Kills it at this moment: while it is held or stopped there, so that what it holds is known
    /// for certain; or, with `rush`, when it has just gone on.
    fn kill(&self, moment: Moment, rush: bool) -> Result<(Phase, KernelObjects)> {
        let mut victim = self.start()?;
        let Victim {
            memtrace,
            held,
            said,
        } = &mut victim;
        let pid = memtrace.id();
        let send = |signal| {
            // Not waited for yet: it is there, if only as a zombie.
            kill(Pid::from_raw(pid.cast_signed()), signal).context("send a signal to memtrace")
        };
        match moment {
            Moment::Point(number) => {
                for _ in 0..number {
                    held.point()?.context("it ended too early")?;
                    held.go_on()?;
                }
                held.point()?.context("it ended too early")?;
            }
            Moment::Round(number) => {
                while held.point()?.context("it ended too early")? != RELEASED {
                    held.go_on()?;
                }
                held.go_on()?;
                for _ in 0..number {
                    let mut line = String::new();
                    said.read_line(&mut line)?;
                    ensure!(line == "round\n", "the command says {line:?}");
                }
                if !rush {
                    send(Signal::SIGSTOP)?;
                    // At the last round it may have come to its end.
                    await_state(pid, "TZX")?;
                }
            }
        }
        let objects = KernelObjects::of_process(pid);
        if !rush {
            // That they are found while they are there gives their absence its meaning.
            ensure!(
                objects.still_there() == objects,
                "{objects:?} are not listed"
            );
        }
        // At its point it is still held; what it does between two points is met in a rush.
        let phase = match (
            objects.is_empty(),
            self.lab.has("start"),
            self.lab.has("end"),
        ) {
            (true, ..) => Phase::Outside,
            (false, false, _) => Phase::Loading,
            (false, true, false) => Phase::Running,
            (false, true, true) => Phase::Ended,
        };
        if rush && matches!(moment, Moment::Point(_)) {
            held.go_on()?;
        }
        send(Signal::SIGKILL)?;
        let status = memtrace.wait().context("wait for memtrace")?;
        let orphans = self.orphanage.await_all()?;
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
        Ok((phase, objects))
    }
}

/// The point from which on the command runs.
const RELEASED: &str = "the command is let go";

/// At every checkpoint of its course, right after each, and in every round of the command.
#[test]
fn the_command_and_the_kernel_survive_a_kill_at_any_moment() -> Result<()> {
    require_privileges!();
    require!(can_list_objects());
    let lab = Lab::new()?;
    let killing = Killing {
        lab: &lab,
        checkpoints: Checkpoints::open(&lab)?,
        orphanage: Orphanage::open()?,
    };
    // Unharmed, the workload is right.
    let points = killing.unharmed()?;
    ensure!(points.iter().any(|point| point == RELEASED), "{points:?}");

    let rounds = load(1, ROUNDS / 3);
    let moments: Vec<Moment> = (0..points.len())
        .map(Moment::Point)
        .chain((1..=ROUNDS).step_by(rounds).map(Moment::Round))
        .collect();
    let kills = announced("kills", moments.len() as u64 * 2 * load(2, 1));
    let mut phases = Vec::new();
    for i in 0..usize::try_from(kills)? {
        let (moment, rush) = (moments[i / 2 % moments.len()], i % 2 == 1);
        let (phase, held) = killing
            .kill(moment, rush)
            .with_context(|| format!("kill at {moment:?} of {points:?}, in a rush: {rush}"))?;
        phases.push(phase);
        held.await_gone()
            .with_context(|| format!("killed at {moment:?} of {points:?}, in a rush: {rush}"))?;
    }
    // Kills that all hit the same spot would prove little.
    for phase in [Phase::Outside, Phase::Loading, Phase::Running, Phase::Ended] {
        let hit = phases.iter().filter(|found| **found == phase).count();
        println!("{phase:?}: {hit} kills");
        assert!(
            hit > 0,
            "no kill while {phase:?}, at {moments:?} of {points:?}"
        );
    }
    Ok(())
}
