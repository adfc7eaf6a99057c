//! Takes over a terminal, and gives it back as it was: at the end, and also after a panic.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    panic::{self, PanicHookInfo},
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use ratatui::{
    Frame, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        style::ResetColor,
        terminal::{DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen},
    },
    layout::Rect,
};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// What is drawn to a terminal that has not said how large it is.
const USUAL: (u16, u16) = (80, 24);

/// A terminal in raw mode, with its other screen.
///
/// It is given back when this is dropped or the program panics. Signals are the caller's:
/// [`restore`](Self::restore) before ending because of one, [`suspend`](Self::suspend) before
/// stopping (SIGTSTP) and [`resume`](Self::resume) afterwards (SIGCONT). A change of its size is
/// noticed with the next [`draw`](Self::draw).
pub struct Terminal<W: Write + AsFd> {
    inner: ratatui::Terminal<CrosstermBackend<W>>,
    size: (u16, u16),
    /// What to do without the writer, which the hook cannot have.
    rescue: Arc<Rescue>,
}

impl<W: Write + AsFd> std::fmt::Debug for Terminal<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Gives the terminal back, from wherever.
struct Rescue {
    terminal: File,
    /// Keys that send signals still do.
    keeps_signals: bool,
    /// As it was found, and whether it is taken over now.
    state: Mutex<State>,
}

struct State {
    modes: Termios,
    is_taken: bool,
}

impl<W: Write + AsFd> Terminal<W> {
    /// Takes over the terminal that `out` writes to: standard error, or `/dev/tty`.
    ///
    /// # Errors
    ///
    /// Fails if it is not a terminal, or cannot be written to.
    pub fn enter(out: W) -> io::Result<Self> {
        Self::enter_as(out, false)
    }

    /// The same, but keys that send signals (Ctrl-C, Ctrl-Z) still do, to all that have the terminal.
    ///
    /// # Errors
    ///
    /// As [`enter`](Self::enter).
    pub fn enter_with_signals(out: W) -> io::Result<Self> {
        Self::enter_as(out, true)
    }

    fn enter_as(out: W, keeps_signals: bool) -> io::Result<Self> {
        let modes = termios::tcgetattr(&out)?;
        let rescue = Arc::new(Rescue {
            terminal: File::from(out.as_fd().try_clone_to_owned()?),
            keeps_signals,
            state: Mutex::new(State {
                modes,
                is_taken: false,
            }),
        });
        let size = size(&out);
        let options = TerminalOptions {
            // Its size is asked for here: the other way goes by standard output.
            viewport: Viewport::Fixed(rect(size)),
        };
        let inner = ratatui::Terminal::with_options(CrosstermBackend::new(out), options)?;
        rescue.take()?;
        let hook_rescue = Arc::downgrade(&rescue);
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if let Some(rescue) = hook_rescue.upgrade() {
                // What is said of the panic matters more.
                let _ = rescue.give_back();
            }
            previous(info);
        }));
        Ok(Self {
            inner,
            size,
            rescue,
        })
    }

    /// Draws what `draw` draws, as large as the terminal is now: `|frame| app.draw(frame)`.
    ///
    /// Nothing is drawn while the terminal is given back, also by a panic of another thread: it
    /// is not ours to write to.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be written to.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if !self.rescue.is_taken() {
            return Ok(());
        }
        let size = size(&self.rescue.terminal);
        if size != self.size {
            self.size = size;
            self.inner.resize(rect(size))?;
        }
        self.inner.draw(draw)?;
        Ok(())
    }

    /// Gives the terminal back; nothing happens if it is already.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written to; its modes are restored nevertheless.
    pub fn restore(&mut self) -> io::Result<()> {
        self.rescue.give_back()
    }

    /// Gives it back for a while.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore).
    pub fn suspend(&mut self) -> io::Result<()> {
        self.restore()
    }

    /// Takes it over again. The next [`draw`](Self::draw) draws everything.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written to.
    pub fn resume(&mut self) -> io::Result<()> {
        self.rescue.take()?;
        self.size = size(&self.rescue.terminal);
        self.inner.resize(rect(self.size))
    }
}

impl<W: Write + AsFd> Drop for Terminal<W> {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.restore();
    }
}

impl Rescue {
    fn take(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_taken {
            return Ok(());
        }
        // Whoever had it meanwhile may have changed it.
        state.modes = termios::tcgetattr(&self.terminal)?;
        let mut raw = state.modes.clone();
        raw.make_raw();
        if self.keeps_signals {
            raw.local_modes |= LocalModes::ISIG;
        }
        // From here on there is something to undo.
        state.is_taken = true;
        termios::tcsetattr(&self.terminal, OptionalActions::Now, &raw)?;
        execute!(&self.terminal, EnterAlternateScreen, DisableLineWrap, Hide)
    }

    fn is_taken(&self) -> bool {
        let state = self.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).is_taken
    }

    fn give_back(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_taken {
            return Ok(());
        }
        state.is_taken = false;
        let _at_work = InBackground::begin()?;
        let written = execute!(
            &self.terminal,
            ResetColor,
            EnableLineWrap,
            Show,
            LeaveAlternateScreen
        );
        termios::tcsetattr(&self.terminal, OptionalActions::Now, &state.modes)?;
        written
    }
}

/// Changes the terminal also when another process group has it by now, which must not stop this one (SIGTTOU).
struct InBackground {
    before: SigSet,
}

impl InBackground {
    fn begin() -> io::Result<Self> {
        let mut stops = SigSet::empty();
        stops.add(Signal::SIGTTOU);
        let before = stops.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before })
    }
}

impl Drop for InBackground {
    fn drop(&mut self) {
        // It was the thread's own a moment ago.
        let _ = self.before.thread_set_mask();
    }
}

fn size(terminal: impl AsFd) -> (u16, u16) {
    match termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL,
    }
}

const fn rect((width, height): (u16, u16)) -> Rect {
    Rect {
        x: 0,
        y: 0,
        width,
        height,
    }
}
