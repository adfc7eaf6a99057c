//! Runs one guest: boots a kernel in QEMU and watches its serial ports until it says that it
//! is done, its kernel dies, or no sign of life comes.

use std::{
    io::{BufRead as _, BufReader, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    arch::Arch,
    debian::run,
    record::{End, Logs, Record, Writer},
};

/// What to boot.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) arch: Arch,
    /// The kernel's image.
    pub(crate) kernel: &'a Path,
    /// One initial file system made of all others.
    pub(crate) initrd: &'a Path,
    /// Its disk.
    pub(crate) disk: &'a Path,
    /// Its CPUs.
    pub(crate) cpus: u32,
    /// Its memory in MiB.
    pub(crate) memory: u32,
    /// Further words for the kernel's command line.
    pub(crate) append: &'a str,
    /// Everything that the ports say is written here.
    pub(crate) logs: &'a Logs,
    /// Which boot of this it is.
    pub(crate) boot: u32,
    /// How long it may give no sign of life.
    pub(crate) silence: Duration,
    /// How long it may take in all.
    pub(crate) limit: Duration,
    /// Whether to print what the ports say.
    pub(crate) verbose: bool,
}

/// Ends QEMU with this value, so that no guest is left behind.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says so if the QEMU that is installed is one that can spoil a run.
pub(crate) fn check_emulator(arch: Arch) -> Result<()> {
    const GOOD: (u32, u32) = (8, 1);
    let (program, package) = arch.emulator();
    let text = run(Command::new(program).arg("--version")).with_context(|| {
        format!("{program} is needed; install it with apt-get install {package}")
    })?;
    let version = text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)
        .and_then(|version| {
            let mut numbers = version.split('.').map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
    if version.is_none_or(|version| version < GOOD) {
        eprintln!(
            "warning: {}: before {}.{} it can run code that a guest has patched meanwhile, and the guest dies; Debian 12 has a newer one in its backports",
            text.lines().next().unwrap_or_default(),
            GOOD.0,
            GOOD.1
        );
    }
    Ok(())
}

/// `init.sh` says so every few seconds, perhaps in the middle of a line of something else.
const ALIVE: &str = "@@alive";

/// What a port says.
enum Said {
    Console(String),
    Result(String),
    Alive,
}

impl Guest<'_> {
    /// Boots it and runs it to its end.
    pub(crate) fn run(&self) -> Result<Record> {
        let started = Instant::now();
        let mut log = Writer::create(self.logs, self.boot)?;
        // Sockets in the place of standard output and input need no paths, and end with QEMU.
        let (console, its_console) = UnixStream::pair().context("make a socket")?;
        let (results, its_results) = UnixStream::pair().context("make a socket")?;
        let qemu = Qemu(
            self.command()
                .stdout(Stdio::from(OwnedFd::from(its_console)))
                .stdin(Stdio::from(OwnedFd::from(its_results)))
                .spawn()
                .with_context(|| format!("failed to run {}", self.arch.emulator().0))?,
        );
        let (sender, said) = mpsc::channel();
        let results_sender = sender.clone();
        thread::spawn(move || {
            each_line(console, |line| sender.send(Said::Console(line)).is_ok());
        });
        thread::spawn(move || {
            let mut lines = Lines::default();
            each_line(results, |line| {
                results_sender.send(lines.take(&line)).is_ok()
            });
        });
        let mut record = Record {
            boots: self.boot,
            ..Record::default()
        };
        let (mut alive, mut is_up) = (Instant::now(), false);
        record.end = loop {
            // A kernel that complains in a loop is not alive: once `init.sh` runs, only its
            // port counts.
            let rest = self.silence.saturating_sub(alive.elapsed());
            if rest.is_zero() {
                break record.silent();
            }
            let said = said.recv_timeout(rest);
            let at = started.elapsed();
            match said {
                Ok(Said::Console(line)) => {
                    log.console(at, &line)?;
                    self.show(&line);
                    record.console(&line);
                    if !is_up {
                        alive = Instant::now();
                    }
                }
                Ok(Said::Result(line)) => {
                    (alive, is_up) = (Instant::now(), true);
                    log.result(at, &line)?;
                    self.show(&line);
                    record.result(at, &line);
                    if record.results.done {
                        break End::Done;
                    }
                }
                Ok(Said::Alive) => (alive, is_up) = (Instant::now(), true),
                Err(mpsc::RecvTimeoutError::Timeout) => break record.silent(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break record.died(),
            }
            if at > self.limit {
                break End::TooLong;
            }
        };
        drop(qemu);
        record.time = started.elapsed();
        log.end(record.time, &record.end)?;
        Ok(record)
    }

    fn show(&self, line: &str) {
        if self.verbose {
            eprintln!("{line}");
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.arch.emulator().0);
        command
            // Stock kernels do not run on every KVM; software emulation works everywhere.
            .args(["-accel", "tcg,thread=multi"])
            .args(["-no-reboot", "-nodefaults"])
            .args(["-display", "none", "-monitor", "none"])
            .args(["-chardev", "socket,id=console,fd=1"])
            .args(["-chardev", "socket,id=results,fd=0"])
            .args(self.arch.machine())
            .args(["-smp", &self.cpus.to_string()])
            .args(["-m", &format!("{}M", self.memory)])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initrd)
            .arg("-drive")
            .arg(format!(
                "file={},if=virtio,format=raw,cache=unsafe",
                self.disk.display()
            ))
            .arg("-append")
            .arg(format!(
                "console={} loglevel=4 panic=-1 oops=panic rootfstype=ramfs rdinit=/init {}",
                self.arch.console(),
                self.append
            ))
            .stderr(Stdio::inherit());
        command
    }
}

/// Calls with each line until there is no more, or the call says that it is enough.
fn each_line(from: impl Read, mut call: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if !call(text) {
            return;
        }
    }
}

/// Puts lines together that a sign of life has cut.
#[derive(Default)]
struct Lines {
    start: String,
}

impl Lines {
    fn take(&mut self, line: &str) -> Said {
        if let Some(start) = line.strip_suffix(ALIVE) {
            self.start.push_str(start);
            return Said::Alive;
        }
        let mut whole = std::mem::take(&mut self.start);
        whole.push_str(line);
        Said::Result(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Said};

    #[test]
    fn signs_of_life_cut_no_line() {
        let mut lines = Lines::default();
        let said: Vec<String> = [
            "@@alive",
            "test a ... @@alive",
            "ok",
            "@@begin b",
            "@@alive",
            "test c ... ok",
        ]
        .into_iter()
        .filter_map(|line| match lines.take(line) {
            Said::Result(line) => Some(line),
            Said::Alive | Said::Console(_) => None,
        })
        .collect();
        assert_eq!(said, ["test a ... ok", "@@begin b", "test c ... ok"]);
    }
}
