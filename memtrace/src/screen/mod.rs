//! The screen of `memtrace top`: what is known now, over time and by process, in a terminal.
//!
//! [`App`] is told [`Look`]s and keys, and draws itself; it does no I/O and reads no clock, so it
//! does not matter whether what it is told comes from a run, an attachment or a test. What it keeps
//! is bounded, however long it runs and however many processes end. [`Terminal`] shows it, and
//! [`batch`] writes the same as plain lines.

mod app;
mod appearance;
pub mod batch;
mod draw;
mod ended;
mod history;
mod keys;
mod look;
mod past;
mod rows;
mod scene;
pub mod terminal;
#[cfg(test)]
mod testing;
mod text;
mod tree;
mod trend;
mod view;

pub use app::{App, Request};
pub use appearance::Appearance;
pub use look::{Look, Process};
/// What keys, frames and other words of this interface are from.
pub use ratatui;
pub use terminal::Terminal;
