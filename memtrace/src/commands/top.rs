//! `memtrace top`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    ops::ControlFlow,
    process::ExitCode,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use memtrace::{
    Observer, TraceError,
    launch::OWN_FAILURE,
    screen::{
        App, Appearance, Look, Request, Terminal, batch,
        ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    },
    targets::Target,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    failure::{self, code, say},
    log,
    run::tracer,
};
use crate::cli::{BackendArg, top::TopArgs};

const PROGRAM: &str = "memtrace";

/// Twice a second, and a little more.
const SCREEN: Duration = Duration::from_millis(250);
const BATCH: Duration = Duration::from_secs(1);

pub(crate) fn main(args: &TopArgs) -> ExitCode {
    log::init(args.verbose);
    if args.tracing.segments {
        say(
            PROGRAM,
            "--segments has no place in top: `memtrace maps PID` shows what the pages of a process are for",
        );
        return code(OWN_FAILURE);
    }
    if !args.batch && !io::stdout().is_terminal() {
        say(
            PROGRAM,
            "standard output is not a terminal: --batch prints plain lines",
        );
        return code(OWN_FAILURE);
    }
    let targets = args.targets();
    let tracer = tracer(&args.tracing, BackendArg::Bpf).log_programs(args.verbose > 1);
    let result = if args.batch {
        let mut lines = Lines {
            rows: args.rows,
            left: args.count,
        };
        tracer.observe(&targets, args.interval.unwrap_or(BATCH), &mut lines)
    } else {
        let mut screen = Screen::new(&title(&targets));
        let result = tracer.observe(&targets, args.interval.unwrap_or(SCREEN), &mut screen);
        // Before anything is said.
        if let Err(error) = screen.leave() {
            say(PROGRAM, format_args!("cannot use the terminal: {error}"));
            return code(OWN_FAILURE);
        }
        result
    };
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error @ TraceError::Target(_)) => {
            say(PROGRAM, error);
            code(OWN_FAILURE)
        }
        Err(error) => failure::report(PROGRAM, &error, args.verbose > 0),
    }
}

/// What is looked at.
fn title(targets: &[Target]) -> String {
    let name = |target: &Target| match target {
        Target::All => "everything".to_owned(),
        Target::Pid(pid) => pid.to_string(),
        Target::Cgroup(path) => path.display().to_string(),
        Target::Name(name) | Target::Unit(name) | Target::Container(name) => name.clone(),
    };
    let names: Vec<String> = targets.iter().map(name).collect();
    format!("top {}", names.join(" "))
}

/// Plain lines on standard output.
struct Lines {
    rows: usize,
    left: Option<u64>,
}

impl Observer for Lines {
    fn look(&mut self, look: Look) -> ControlFlow<()> {
        let mut stdout = io::stdout().lock();
        let text = batch::lines(&look, self.rows);
        // Whoever closed it does not want more.
        if stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .is_err()
        {
            return ControlFlow::Break(());
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn has_enough(&mut self) -> bool {
        false
    }

    fn stops(&mut self, _stops: bool) {}

    fn all_ended(&mut self) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// The screen, which a thread of its own draws, so that a slow terminal never keeps records waiting.
struct Screen {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

struct Shared {
    app: Mutex<App>,
    /// How often it has changed.
    changes: AtomicU64,
    /// Whoever looks has enough, or nobody can.
    quits: AtomicBool,
    hold: Mutex<Hold>,
    held: Condvar,
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

    /// Gives the terminal back if that is wanted, until this process goes on; true if so.
    fn give_way(&self, terminal: &mut Terminal<io::Stdout>) -> io::Result<bool> {
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

impl Screen {
    fn new(title: &str) -> Self {
        let appearance = Appearance::of_environment(|name| std::env::var_os(name));
        Self {
            shared: Arc::new(Shared {
                app: Mutex::new(App::new(title.to_owned()).with_appearance(appearance)),
                changes: AtomicU64::new(0),
                quits: AtomicBool::new(false),
                hold: Mutex::new(Hold::No),
                held: Condvar::new(),
            }),
            thread: None,
        }
    }

    /// Gives the terminal back. Why it could not be used, if so.
    fn leave(mut self) -> io::Result<()> {
        self.shared.quits.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the thread that draws has panicked")),
            None => Ok(()),
        }
    }
}

impl Observer for Screen {
    fn look(&mut self, look: Look) -> ControlFlow<()> {
        self.shared.app().take(look);
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        // Not before there is something to draw: by now this process's signals are blocked in every thread.
        if self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name("memtrace-screen".to_owned())
                .spawn(move || {
                    let result = show(&shared);
                    shared.quits.store(true, Ordering::Relaxed);
                    result
                });
            match thread {
                Ok(thread) => self.thread = Some(thread),
                Err(_) => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn has_enough(&mut self) -> bool {
        self.shared.quits.load(Ordering::Relaxed)
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

/// Draws what changes, and does what keys ask for.
fn show(shared: &Shared) -> io::Result<()> {
    let mut terminal = Terminal::enter(io::stdout())?;
    let mut drawn = None;
    while !shared.quits.load(Ordering::Relaxed) {
        if shared.give_way(&mut terminal)? {
            drawn = None;
        }
        let changes = shared.changes.load(Ordering::Relaxed);
        if drawn != Some(changes) {
            terminal.draw(|frame| shared.app().draw(frame))?;
            drawn = Some(changes);
        }
        if !event::poll(KEYS)? {
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
                    Some(Request::Quit) => break,
                    Some(Request::Report) => app.say(
                        "a report needs a recording: memtrace attach -o FILE, then memtrace report FILE"
                            .to_owned(),
                    ),
                    None => {}
                }
                drawn = None;
            }
            Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
    terminal.restore()
}
