//! Holds memtrace at known points of a run (`--checkpoints`), so that a test needs no guess at
//! when it gets there.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use crate::{Lab, PATIENCE, await_some};

/// Where a run of memtrace will say which point it has reached.
#[derive(Debug)]
pub struct Checkpoints {
    listener: UnixListener,
    path: PathBuf,
}

impl Checkpoints {
    /// Listens in the lab's directory.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn open(lab: &Lab) -> Result<Self> {
        let path = lab.path("checkpoints");
        let listener = UnixListener::bind(&path).context("make a socket for checkpoints")?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// The options of `memtrace run` for it.
    #[must_use]
    pub fn options(&self) -> [String; 2] {
        ["--checkpoints".to_owned(), self.path.display().to_string()]
    }

    /// Waits until memtrace has started.
    ///
    /// # Errors
    /// It does not come here.
    pub fn accept(&self) -> Result<Held> {
        let stream = await_some("memtrace comes to its checkpoints", || {
            match self.listener.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error).context("accept memtrace's connection"),
            }
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Held {
            stream: BufReader::new(stream),
        })
    }
}

/// A run of memtrace that waits at each point until it is told to go on.
#[derive(Debug)]
pub struct Held {
    stream: BufReader<UnixStream>,
}

impl Held {
    /// Waits until memtrace is at the next point, where it stays; `None` if it has ended.
    ///
    /// # Errors
    /// It comes nowhere.
    pub fn point(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = self
            .stream
            .read_line(&mut line)
            .context("wait for memtrace's next checkpoint")?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is gone.
    pub fn go_on(&mut self) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(b"\n").context("let memtrace go on")
    }

    /// Lets it go on from every point, up to its end; gives the points.
    ///
    /// # Errors
    /// As [`Held::point`] and [`Held::go_on`].
    pub fn to_end(&mut self) -> Result<Vec<String>> {
        let mut points = Vec::new();
        while let Some(point) = self.point()? {
            points.push(point);
            self.go_on()?;
        }
        Ok(points)
    }
}
