//! Runs one guest: boots a kernel in QEMU and watches its console until it says that it is
//! done, its kernel dies, or nothing more comes.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{debian::run, protocol::Console};

const QEMU: &str = "qemu-system-x86_64";

/// What to boot.
#[derive(Debug)]
pub(crate) struct Guest<'a> {
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
    /// Everything that the console says is written here.
    pub(crate) log: &'a Path,
    /// How long the console may be silent.
    pub(crate) silence: Duration,
    /// How long it may take in all.
    pub(crate) limit: Duration,
    /// Whether to print what the console says.
    pub(crate) verbose: bool,
}

/// How it ended, beside what its tests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It switched itself off after the last test.
    Done,
    /// Its kernel said this, and died.
    Died(String),
    /// Nothing came for too long.
    Stalled,
    /// It took too long.
    TooLong,
    /// QEMU ended before the tests did.
    Gone,
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
pub(crate) fn check_emulator() -> Result<()> {
    const GOOD: (u32, u32) = (8, 1);
    let text = run(Command::new(QEMU).arg("--version")).with_context(|| {
        format!("{QEMU} is needed; install it with apt-get install qemu-system-x86")
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

impl Guest<'_> {
    /// Boots it and runs it to its end.
    pub(crate) fn run(&self) -> Result<(Console, End, Duration)> {
        let started = Instant::now();
        let mut command = Command::new(QEMU);
        command
            // Stock kernels do not run on every KVM; software emulation works everywhere.
            .args(["-accel", "tcg,thread=multi"])
            // On QEMU 7.2, five-level page tables kill 6.12 early, and an emulated
            // cmpxchg16b now and then leaves a pointer in EFLAGS, which kills it later.
            .args(["-cpu", "max,la57=off,cx16=off", "-no-reboot", "-nodefaults"])
            .args(["-display", "none", "-serial", "stdio", "-monitor", "none"])
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
                "console=ttyS0 loglevel=4 panic=-1 oops=panic rootfstype=ramfs rdinit=/init {}",
                self.append
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut qemu = Qemu(
            command
                .spawn()
                .with_context(|| format!("failed to run {QEMU}"))?,
        );
        let stdout = qemu
            .0
            .stdout
            .take()
            .context("QEMU has no standard output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        let mut log =
            File::create(self.log).with_context(|| format!("create {}", self.log.display()))?;
        let mut console = Console::default();
        let end = loop {
            match lines.recv_timeout(self.silence) {
                Ok(line) => {
                    writeln!(log, "[{:7.1}] {line}", started.elapsed().as_secs_f64())
                        .with_context(|| format!("write {}", self.log.display()))?;
                    if self.verbose {
                        eprintln!("{line}");
                    }
                    console.line(&line);
                    if console.done {
                        break End::Done;
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => break End::Stalled,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    break console.death.take().map_or(End::Gone, End::Died);
                }
            }
            if started.elapsed() > self.limit {
                break End::TooLong;
            }
        };
        drop(qemu);
        Ok((console, end, started.elapsed()))
    }
}
