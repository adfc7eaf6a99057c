//! A terminal that draws what is written to it, and types real keys: tmux, with a shell in it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{Lab, Missing, PATIENCE, await_some, memtrace, workloads};

/// What the shell says when it waits for a line.
const PROMPT: &str = "ready>";

/// The width and height at first, in characters.
const SIZE: (u16, u16) = (80, 24);

/// A tmux of a test's own; it and what runs in it end when this is dropped.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// Whether there is one.
    ///
    /// # Errors
    /// There is none.
    pub fn installed() -> Result<(), Missing> {
        if workloads::installed("tmux") {
            return Ok(());
        }
        Err(Missing("no tmux in PATH".to_owned()))
    }

    /// A shell at its prompt in the directory of a test, on a terminal of 80 columns and 24 lines.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn start(lab: &Lab) -> Result<Self> {
        let tmux = Self {
            socket: lab.path("tmux"),
        };
        let line = tmux.line(&[
            "new-session",
            "-d",
            "-x",
            &SIZE.0.to_string(),
            "-y",
            &SIZE.1.to_string(),
            "sh",
        ]);
        // Root's shell takes no prompt from its environment.
        let settings = lab.path("settings.sh");
        fs::write(&settings, format!("PS1='{PROMPT} '\n"))?;
        let mut command = lab.fixed(&line);
        command
            .env("LC_ALL", "C.UTF-8")
            .env("ENV", settings)
            .env("MEMTRACE", memtrace()?);
        lab.to_end(&mut command)?.success()?;
        tmux.await_prompt()?;
        Ok(tmux)
    }

    /// A command of tmux, with no settings but its own.
    fn line(&self, words: &[&str]) -> Vec<String> {
        let socket = self.socket.display().to_string();
        let fixed = ["tmux", "-u", "-f", "/dev/null", "-S", &socket];
        fixed
            .iter()
            .chain(words)
            .map(|&word| word.to_owned())
            .collect()
    }

    /// What a command of tmux says.
    fn ask(&self, words: &[&str]) -> Result<String> {
        let line = self.line(words);
        let (program, arguments) = line.split_first().context("no command")?;
        let output = Command::new(program)
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .output()
            .context("run tmux")?;
        ensure!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What is on the screen now: its lines, without blanks at their ends.
    ///
    /// # Errors
    /// tmux is gone.
    pub fn screen(&self) -> Result<Vec<String>> {
        let shown = self.ask(&["capture-pane", "-p"])?;
        Ok(shown
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect())
    }

    /// Waits until the screen is as it shall be, and gives what was found on it.
    ///
    /// # Errors
    /// It is not; what is shown instead is in the message.
    pub fn await_screen<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&[String]) -> Option<T>,
    ) -> Result<T> {
        let mut last = Vec::new();
        await_some(what, || {
            last = self.screen()?;
            Ok(look(&last))
        })
        .with_context(|| format!("{PATIENCE:?} later the screen is\n{}", last.join("\n")))
    }

    /// Waits until a line of the screen contains this, and gives the line.
    ///
    /// # Errors
    /// As for [`Tmux::await_screen`].
    pub fn await_text(&self, text: &str) -> Result<String> {
        self.await_screen(text, |lines| {
            lines.iter().find(|line| line.contains(text)).cloned()
        })
    }

    /// Waits until no line of the screen contains this.
    ///
    /// # Errors
    /// As for [`Tmux::await_screen`].
    pub fn await_no_text(&self, text: &str) -> Result<()> {
        self.await_screen(&format!("no {text:?}"), |lines| {
            (!lines.iter().any(|line| line.contains(text))).then_some(())
        })
    }

    /// Waits until the shell is the one who waits for a line.
    ///
    /// # Errors
    /// As for [`Tmux::await_screen`].
    pub fn await_prompt(&self) -> Result<()> {
        self.await_screen("a prompt", |lines| {
            let last = lines.iter().rfind(|line| !line.is_empty())?;
            (last == PROMPT).then_some(())
        })
    }

    /// Presses keys by tmux's names for them, as in `Down`, `Enter`, `Escape` and `q`.
    ///
    /// # Errors
    /// tmux is gone.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.ask(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Types a text as it is.
    ///
    /// # Errors
    /// tmux is gone.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.ask(&["send-keys", "-l", text]).map(drop)
    }

    /// Types a line for the shell. `$MEMTRACE` is the memtrace under test there.
    ///
    /// # Errors
    /// tmux is gone.
    pub fn type_line(&self, line: &str) -> Result<()> {
        self.type_text(line)?;
        self.press(&["Enter"])
    }

    /// Makes the terminal another size.
    ///
    /// # Errors
    /// tmux is gone.
    pub fn resize(&self, columns: u16, lines: u16) -> Result<()> {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.ask(&["resize-window", "-x", &columns, "-y", &lines])
            .map(drop)
    }

    /// Checks that the terminal is a shell's again: not the other screen, with a cursor, and lines are typed as ever.
    ///
    /// # Errors
    /// It is not.
    pub fn assert_restored(&self) -> Result<()> {
        self.await_prompt()?;
        let modes = self.modes()?;
        ensure!(modes == "0 1", "alternate screen, cursor: {modes}");
        // What is typed is echoed, and what is said is another line.
        self.type_line("clear; echo a''gain")?;
        let is_line = |text: &'static str| move |line: &&String| line.as_str() == text;
        self.await_screen("a line that the shell says", |lines| {
            lines.iter().find(is_line("again")).map(drop)
        })?;
        self.type_line("stty -a")?;
        self.await_text(" icanon ")?;
        self.await_text(" echo ").map(drop)
    }

    /// Whether the other screen is shown and whether there is a cursor, each 0 or 1.
    ///
    /// # Errors
    /// tmux is gone.
    pub fn modes(&self) -> Result<String> {
        let modes = self.ask(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])?;
        Ok(modes.trim().to_owned())
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // Where it has not begun there is nothing to end.
        let _ = self.ask(&["kill-server"]);
    }
}
