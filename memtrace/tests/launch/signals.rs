//! What the tracer does with signals sent to it.

use memtrace::launch::{Signals, exit_like, spawn_stopped};

use super::process::{self, Directory, Fifo, state_of, wait_for, wait_status};
use super::shell;

/// A tracer in a process of its own, as a command line program would be: it
/// starts `script`, passes signals on and ends as the command ends. The
/// script writes to the pipe by the name `$OUT`.
fn tracer(script: &str, fifo: &Fifo) -> i32 {
    tracer_after(|| (), script, fifo)
}

/// The same with something to do first in its process.
fn tracer_after(setup: impl FnOnce(), script: &str, fifo: &Fifo) -> i32 {
    let spec = shell(script).env("OUT", &fifo.path);
    process::fork_child(move || {
        setup();
        let mut signals = Signals::take_over().unwrap();
        let stopped = spawn_stopped(&spec, signals.inherited()).unwrap();
        let mut running = stopped.release().unwrap();
        let finished = loop {
            if let Some(finished) = running.try_wait().unwrap() {
                break finished;
            }
            process::poll_either(&signals, &running.pidfd().unwrap());
            signals.forward_pending(&running).unwrap();
        };
        signals.restore();
        exit_like(finished.status)
    })
}

#[test]
fn what_is_sent_to_the_tracer_reaches_the_command() {
    let traps = "trap 'echo int >>$OUT' INT; trap 'echo quit >>$OUT' QUIT; \
                 trap 'echo hup >>$OUT' HUP; trap 'echo usr1 >>$OUT' USR1; \
                 trap 'echo usr2 >>$OUT' USR2; trap 'echo cont >>$OUT' CONT; \
                 trap 'echo term >>$OUT; exit 5' TERM; \
                 echo ready >>$OUT; while :; do sleep 0.01; done";
    let directory = Directory::new();
    let fifo = Fifo::new(&directory);
    let tracer = tracer(traps, &fifo);
    assert_eq!(fifo.read_line(), "ready");
    for (signal, line) in [
        (libc::SIGINT, "int"),
        (libc::SIGQUIT, "quit"),
        (libc::SIGHUP, "hup"),
        (libc::SIGUSR1, "usr1"),
        (libc::SIGUSR2, "usr2"),
        (libc::SIGCONT, "cont"),
        (libc::SIGTERM, "term"),
    ] {
        process::kill(tracer, signal);
        assert_eq!(fifo.read_line(), line);
    }
    assert_eq!(wait_status(tracer), 5 << 8);
}

#[test]
fn a_command_that_dies_of_sigterm_takes_the_tracer_along() {
    let directory = Directory::new();
    let fifo = Fifo::new(&directory);
    let tracer = tracer("echo ready >>$OUT; exec sleep 1000", &fifo);
    assert_eq!(fifo.read_line(), "ready");
    process::kill(tracer, libc::SIGTERM);
    assert_eq!(wait_status(tracer), libc::SIGTERM);
}

#[test]
fn a_command_that_dies_of_sigint_takes_the_tracer_along() {
    let directory = Directory::new();
    let fifo = Fifo::new(&directory);
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        let tracer = tracer("echo ready >>$OUT; exec sleep 1000", &fifo);
        assert_eq!(fifo.read_line(), "ready");
        process::kill(tracer, signal);
        assert_eq!(wait_status(tracer) & 0x7f, signal);
    }
}

/// The terminal gives Ctrl-C and Ctrl-\ to the command, too: it must not get them twice.
#[test]
fn the_tracer_leaves_to_the_command_what_the_terminal_sends() {
    let directory = Directory::new();
    let fifo = Fifo::new(&directory);
    // Each line is one signal that arrived; the answer to USR1 comes after all before it.
    let script = "trap 'echo int >>$OUT' INT; trap 'echo quit >>$OUT' QUIT; \
                  trap 'echo usr1 >>$OUT' USR1; trap 'exit 4' TERM; \
                  echo ready >>$OUT; while :; do sleep 0.01; done";
    let status = process::in_child(|| {
        let terminal = process::Terminal::open();
        let tracer = tracer(script, &fifo);
        assert_eq!(fifo.read_line(), "ready");
        for (key, line) in [(b'\x03', "int"), (b'\x1c', "quit")] {
            // The command has taken its own before the tracer looks: two at once would be one.
            process::kill(tracer, libc::SIGSTOP);
            assert!(libc::WIFSTOPPED(wait_status(tracer)));
            terminal.press(key);
            assert_eq!(fifo.read_line(), line);
            // The tracer has both now, and reads the smaller number first.
            process::kill(tracer, libc::SIGUSR1);
            process::kill(tracer, libc::SIGCONT);
            assert_eq!(fifo.read_line(), "usr1");
        }
        process::kill(tracer, libc::SIGTERM);
        assert_eq!(wait_status(tracer), 4 << 8);
        0
    });
    assert_eq!(status, 0);
}

#[test]
fn ignored_on_entry_stays_ignored() {
    let directory = Directory::new();
    let fifo = Fifo::new(&directory);
    let script = "trap 'exit 4' TERM; echo ready >>$OUT; while :; do sleep 0.01; done";
    let tracer = tracer_after(|| process::ignore(libc::SIGHUP), script, &fifo);
    assert_eq!(fifo.read_line(), "ready");
    process::kill(tracer, libc::SIGHUP);
    process::kill(tracer, libc::SIGTERM);
    assert_eq!(wait_status(tracer), 4 << 8);
}

#[test]
fn a_stop_from_the_keyboard_stops_both_and_both_go_on() {
    let directory = Directory::new();
    let fifo = Fifo::new(&directory);
    // SIGTSTP does nothing to a process group that no other process of its
    // session watches over (setpgid(2)), so this builds what a shell builds.
    let status = process::in_child(|| {
        process::new_session();
        let script = "echo $$ >>$OUT; kill -STOP $$; exit 8";
        let tracer = tracer_after(process::new_group, script, &fifo);
        let command: i32 = fifo.read_line().parse().unwrap();
        wait_for("the command's own stop", || state_of(command) == Some('T'));
        assert_ne!(
            state_of(tracer),
            Some('T'),
            "the tracer does not stop with it"
        );
        // To the tracer alone; a shell would see that it stopped, and why.
        process::kill(tracer, libc::SIGTSTP);
        let status = wait_status(tracer);
        assert!(libc::WIFSTOPPED(status), "{status:x}");
        assert_eq!(libc::WSTOPSIG(status), libc::SIGTSTP);
        process::kill(tracer, libc::SIGCONT);
        assert_eq!(wait_status(tracer), 8 << 8);
        0
    });
    assert_eq!(status, 0);
}

#[test]
fn a_stop_of_the_tracer_reaches_a_command_that_runs() {
    let directory = Directory::new();
    let fifo = Fifo::new(&directory);
    let status = process::in_child(|| {
        process::new_session();
        let tracer = tracer_after(process::new_group, "echo $$ >>$OUT; exec sleep 1000", &fifo);
        let command: i32 = fifo.read_line().parse().unwrap();
        for _ in 0..3 {
            process::kill(tracer, libc::SIGTSTP);
            assert!(libc::WIFSTOPPED(wait_status(tracer)));
            wait_for("the command's stop", || state_of(command) == Some('T'));
            process::kill(tracer, libc::SIGCONT);
            wait_for("the command to go on", || state_of(command) != Some('T'));
        }
        process::kill(tracer, libc::SIGTERM);
        assert_eq!(wait_status(tracer), libc::SIGTERM);
        0
    });
    assert_eq!(status, 0);
}

#[test]
fn a_signal_before_the_release_ends_both() {
    let directory = Directory::new();
    let mark = directory.0.path().join("ran");
    let script = format!("touch {}", mark.display());
    let status = process::in_child(|| {
        let mut signals = Signals::take_over().unwrap();
        let stopped = spawn_stopped(&shell(&script), signals.inherited()).unwrap();
        let pid = stopped.pid();
        assert_eq!(signals.take_fatal().unwrap(), None);
        process::kill(std::process::id().cast_signed(), libc::SIGCONT);
        process::kill(std::process::id().cast_signed(), libc::SIGTERM);
        let fatal = signals.take_fatal().unwrap();
        assert_eq!(fatal, Some(libc::SIGTERM));
        drop(stopped);
        assert!(!process::exists(pid));
        signals.restore();
        exit_like(fatal.unwrap())
    });
    assert_eq!(status, libc::SIGTERM);
    assert!(!mark.exists());
}

#[test]
fn restoring_brings_the_old_effects_back() {
    let status = process::in_child(|| {
        process::handle(libc::SIGINT);
        process::block(&[libc::SIGUSR1]);
        let me = std::process::id().cast_signed();
        let mut signals = Signals::take_over().unwrap();
        process::kill(me, libc::SIGUSR1);
        // Not read, and without effect: the command that it was for has ended.
        process::kill(me, libc::SIGQUIT);
        signals.restore();
        // Blocked before, blocked again: it does not end this process.
        assert!(process::is_pending(libc::SIGUSR1));
        process::kill(me, libc::SIGINT);
        drop(signals);
        process::kill(me, libc::SIGUSR2);
        0
    });
    assert_eq!(status, libc::SIGUSR2);
}
