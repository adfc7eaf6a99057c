//! The screen, on the terminal, of `top`, and of `run` and `attach` with `--tui`.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use memtrace::{
    NoResult, Observer, SoFar,
    screen::{
        App, Appearance, Look, Request, Terminal,
        ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    },
    targets::Target,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    failure::say,
    interim::{Reports, Wish},
};

const PROGRAM: &str = "memtrace";

/// How often there is a look: twice a second, and a little more.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// The screen, which a thread of its own draws, so that a slow terminal never keeps records waiting.
pub(super) struct Screen {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Until it is opened.
    terminal: Option<File>,
    /// The same, to see whether it went away.
    watched: Option<File>,
    shown: Shown,
    /// What reports are of.
    name: String,
    /// Why the terminal could not be used, if so.
    result: io::Result<()>,
}

struct Shared {
    app: Mutex<App>,
    /// How often it has changed.
    changes: AtomicU64,
    /// Whoever looks has enough, or nobody can.
    quits: AtomicBool,
    hold: Mutex<Hold>,
    held: Condvar,
    wish: Wish,
    /// What came too late to be said on the screen.
    unsaid: Mutex<Option<String>>,
}

/// Whether the terminal is needed by others, because this process stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    No,
    Wanted,
    /// It is given back.
    Done,
}

/// How long it is waited for that the terminal is given back: it may not take anything.
const PATIENCE: Duration = Duration::from_secs(1);

impl Shared {
    fn app(&self) -> MutexGuard<'_, App> {
        self.app.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the terminal given back, or taken over again.
    fn hold(&self, stops: bool) {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        *hold = if stops { Hold::Wanted } else { Hold::No };
        self.held.notify_all();
        if stops {
            // Whether it was given back or not: it stops now.
            let is_wanted = |hold: &mut Hold| *hold == Hold::Wanted;
            drop(self.held.wait_timeout_while(hold, PATIENCE, is_wanted));
        }
    }

    fn keep_unsaid(&self, said: String) {
        *self.unsaid.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }

    /// Gives the terminal back if that is wanted, until this process goes on; true if so.
    fn give_way(&self, terminal: &mut Terminal<Output>) -> io::Result<bool> {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        if *hold == Hold::No {
            return Ok(false);
        }
        terminal.suspend()?;
        *hold = Hold::Done;
        self.held.notify_all();
        let waits = |hold: &mut Hold| *hold != Hold::No;
        drop(self.held.wait_while(hold, waits));
        terminal.resume()?;
        Ok(true)
    }
}

/// What is special about a screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Keys that send signals send them to all that have the terminal.
    pub(super) keeps_signals: bool,
    /// What is said when the screen is left and what it showed goes on.
    pub(super) goes_on: Option<&'static str>,
}

/// The terminal that standard output is, or else standard error.
pub(super) fn terminal() -> io::Result<File> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let terminal = if stdout.is_terminal() {
        stdout.as_fd().try_clone_to_owned()
    } else if stderr.is_terminal() {
        stderr.as_fd().try_clone_to_owned()
    } else {
        Err(io::Error::other(
            "neither standard output nor standard error is one",
        ))
    };
    terminal.map(File::from)
}

/// What is looked at, by whom.
pub(super) fn title(command: &str, targets: &[Target]) -> String {
    format!("{command} {}", names(targets))
}

/// The same without the command.
pub(super) fn names(targets: &[Target]) -> String {
    let name = |target: &Target| match target {
        Target::All => "everything".to_owned(),
        Target::Pid(pid) => pid.to_string(),
        Target::Cgroup(path) => path.display().to_string(),
        Target::Name(name) | Target::Unit(name) | Target::Container(name) => name.clone(),
    };
    let names: Vec<String> = targets.iter().map(name).collect();
    names.join(" ")
}

fn no_terminal(error: &io::Error) -> String {
    format!("cannot use the terminal: {error}")
}

/// Gives the terminal back, and says if it could not be used: the result does not depend on it.
pub(super) fn leave(screen: Option<Screen>) {
    if let Some(Err(error)) = screen.map(Screen::leave) {
        say(PROGRAM, no_terminal(&error));
    }
}

/// A terminal that is written to in one go.
struct Output(BufWriter<File>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl Screen {
    /// A screen that is opened with the first look. Files of reports have `name` in theirs.
    pub(super) fn new(terminal: File, shown: Shown, title: &str, name: &str) -> Self {
        let appearance = Appearance::of_environment(|name| std::env::var_os(name));
        Self {
            shared: Arc::new(Shared {
                app: Mutex::new(App::new(title.to_owned()).with_appearance(appearance)),
                changes: AtomicU64::new(0),
                quits: AtomicBool::new(false),
                hold: Mutex::new(Hold::No),
                held: Condvar::new(),
                wish: Wish::default(),
                unsaid: Mutex::new(None),
            }),
            thread: None,
            watched: terminal.try_clone().ok(),
            terminal: Some(terminal),
            shown,
            name: name.to_owned(),
            result: Ok(()),
        }
    }

    /// Gives the terminal back, and says what could not be said on it. Why it could not be used, if so.
    pub(super) fn leave(mut self) -> io::Result<()> {
        self.close();
        self.say_unsaid();
        self.result
    }

    fn say_unsaid(&self) {
        let unsaid = &self.shared.unsaid;
        let unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(unsaid) = unsaid {
            say(PROGRAM, unsaid);
        }
    }

    /// Whether the terminal went away.
    fn is_gone(&self) -> bool {
        let terminal = self.watched.as_ref().map(|terminal| terminal.as_fd());
        terminal.is_some_and(|terminal| matches!(news(terminal, Duration::ZERO), Ok(News::Gone)))
    }

    fn close(&mut self) {
        self.shared.quits.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A slow terminal is waited for, or it would stay as it is. One that went away just now may hold the thread for
        // ever (see `show`), and needs nothing any more.
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() {
            if Instant::now() >= deadline && self.is_gone() {
                self.result = Err(io::Error::other("it went away"));
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        match Some(thread.join()) {
            Some(Ok(result)) => self.result = result,
            Some(Err(_)) => {
                self.result = Err(io::Error::other("the thread that draws has panicked"));
            }
            None => {}
        }
    }
}

impl Observer for Screen {
    fn look(&mut self, look: Look) -> ControlFlow<()> {
        self.shared.app().take(look);
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        // Not before there is something to draw: by now this process's signals are blocked in every thread.
        if let Some(terminal) = self.terminal.take() {
            let shared = Arc::clone(&self.shared);
            let (shown, name) = (self.shown, self.name.clone());
            let thread = std::thread::Builder::new()
                .name("memtrace-screen".to_owned())
                .spawn(move || {
                    let mut reports = Reports::new(&name, &shared.wish);
                    let result = show(&shared, shown, terminal, &mut reports);
                    if let Some(said) = reports.finish() {
                        shared.keep_unsaid(said);
                    }
                    shared.quits.store(true, Ordering::Relaxed);
                    result
                });
            match thread {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    self.result = Err(error);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn has_enough(&mut self) -> bool {
        let quits = self.shared.quits.load(Ordering::Relaxed);
        if quits && let Some(goes_on) = self.shown.goes_on.take() {
            // It has seen to it by itself.
            self.close();
            if let Err(error) = std::mem::replace(&mut self.result, Ok(())) {
                say(PROGRAM, no_terminal(&error));
            }
            self.say_unsaid();
            say(PROGRAM, goes_on);
        }
        quits
    }

    fn may_want_result(&self) -> bool {
        true
    }

    fn wants_result(&mut self) -> bool {
        self.shared.wish.ask()
    }

    fn take_result(&mut self, so_far: Result<SoFar, NoResult>) {
        self.shared.wish.give(so_far);
    }

    fn stops(&mut self, stops: bool) {
        if self.thread.is_some() {
            self.shared.hold(stops);
        }
    }

    fn all_ended(&mut self) -> ControlFlow<()> {
        let last = "all that was followed has ended: q leaves";
        self.shared.app().say(last.to_owned());
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    }
}

/// How long a key is waited for before it is seen whether there is something new.
const KEYS: Duration = Duration::from_millis(40);

/// What a terminal has.
enum News {
    None,
    Keys,
    /// It went away.
    Gone,
}

/// Waits a while for what a terminal has.
fn news(terminal: BorrowedFd<'_>, patience: Duration) -> io::Result<News> {
    let mut ready = [PollFd::new(terminal, PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    match poll(&mut ready, patience) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [ready] = ready;
    let events = ready.revents().unwrap_or(PollFlags::empty());
    Ok(
        if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            News::Gone
        } else if events.is_empty() {
            News::None
        } else {
            News::Keys
        },
    )
}

/// Draws what changes, and does what keys ask for.
fn show(
    shared: &Shared,
    shown: Shown,
    terminal: File,
    reports: &mut Reports<'_>,
) -> io::Result<()> {
    let terminal_fd = terminal.try_clone()?;
    let terminal = Output(BufWriter::new(terminal));
    let mut terminal = if shown.keeps_signals {
        Terminal::enter_with_signals(terminal)?
    } else {
        Terminal::enter(terminal)?
    };
    let mut drawn = None;
    // Whoever quits while a report is on its way gets that first.
    let mut is_leaving = false;
    while !shared.quits.load(Ordering::Relaxed) {
        if shared.give_way(&mut terminal)? {
            drawn = None;
        }
        match reports.look() {
            Some(said) if is_leaving => shared.keep_unsaid(said),
            Some(said) => {
                shared.app().say(said);
                drawn = None;
            }
            None => {}
        }
        if is_leaving && !reports.is_pending() {
            break;
        }
        let changes = shared.changes.load(Ordering::Relaxed);
        if drawn != Some(changes) {
            terminal.draw(|frame| shared.app().draw(frame))?;
            drawn = Some(changes);
        }
        // Not by the library, which reads the end of a terminal that is gone over and over.
        match news(terminal_fd.as_fd(), KEYS)? {
            News::None => {}
            News::Keys if event::poll(Duration::ZERO)? => {}
            // Keys that are not for us, as the library reads standard input if that is another terminal.
            News::Keys => {
                std::thread::sleep(KEYS);
                continue;
            }
            // As by SIGHUP, which this process gets then: there is nothing to give back.
            News::Gone => return Ok(()),
        }
        if !event::poll(Duration::ZERO)? {
            continue;
        }
        match event::read()? {
            Event::Key(key)
                if key.code == KeyCode::Char('z')
                    && key.modifiers.contains(KeyModifiers::CONTROL) =>
            {
                // As the terminal would, were it not raw. It comes back as a signal to this process.
                let _ = kill(Pid::this(), Signal::SIGTSTP);
            }
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let mut app = shared.app();
                match app.key(key) {
                    // Who does not want to wait says so again.
                    Some(Request::Quit) if is_leaving => break,
                    Some(Request::Quit) => is_leaving = true,
                    Some(Request::Report) => reports.want(),
                    None => {}
                }
                if reports.is_pending() {
                    app.say("the report is being written".to_owned());
                }
                drawn = None;
            }
            Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
    terminal.restore()
}
