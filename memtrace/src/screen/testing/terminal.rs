//! A terminal is given back as it was found.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::pty::openpty;
use rustix::termios::{LocalModes, tcgetattr};

use super::building;
use crate::screen::Terminal;

const ENTER: &[u8] = b"\x1b[?1049h";
const LEAVE: &[u8] = b"\x1b[?1049l";

fn is_raw(terminal: &OwnedFd) -> bool {
    let modes = tcgetattr(terminal).expect("modes").local_modes;
    !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
}

/// What was written so far: at least something has to have been.
fn written(master: &mut File) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 16];
    let count = master.read(&mut bytes).expect("something was written");
    bytes.truncate(count);
    bytes
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// At the end, when it stops and goes on, and after a panic.
#[test]
fn it_is_given_back() {
    let pty = openpty(None, None).expect("a terminal");
    let (mut master, tty) = (File::from(pty.master), pty.slave);
    let file = || File::from(tty.try_clone().expect("a copy"));
    assert!(!is_raw(&tty));

    let mut terminal = Terminal::enter(file()).expect("taken over");
    assert!(is_raw(&tty));
    assert!(has(&written(&mut master), ENTER));
    terminal.suspend().expect("given back");
    assert!(!is_raw(&tty));
    assert!(has(&written(&mut master), LEAVE));
    let mut app = building();
    // Somebody else has it meanwhile.
    let drawn = terminal.draw(|frame| app.draw(frame));
    drawn.expect("nothing to do");
    terminal.resume().expect("taken over again");
    assert!(is_raw(&tty));
    assert!(written(&mut master).starts_with(ENTER));
    drop(terminal);
    assert!(!is_raw(&tty));
    assert!(has(&written(&mut master), LEAVE));

    let mut at_panic = None;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut app = building();
        let mut terminal = Terminal::enter(file()).expect("taken over");
        let drawn = terminal.draw(|frame| app.draw(frame));
        drawn.expect("drawn");
        written(&mut master);
        let panicked = catch_unwind(|| panic!("on purpose, to see the terminal given back"));
        // Not by dropping: it is still there.
        at_panic = Some((panicked.is_err(), is_raw(&tty)));
        drop(terminal);
    }));
    assert!(result.is_ok());
    assert_eq!(at_panic, Some((true, false)));
    assert!(has(&written(&mut master), LEAVE));
}

/// What is no terminal is not written to.
#[test]
fn files_are_refused() {
    let file = File::open("/dev/null").expect("there is one");
    assert!(Terminal::enter(file).is_err());
}
