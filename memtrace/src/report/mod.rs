//! Results for people and programs: one file per output, each a function of a
//! [`Summary`](crate::model::Summary) and, where it shows time, of a
//! [`Timeline`](crate::model::Timeline).
//!
//! * [`text`]: what most people see.
//! * [`html`]: a page to look around in, one file without network.
//! * [`svg`]: a picture for a README or a ticket.
//! * [`json`]: the contract for programs, `memtrace.summary/1`.
//! * [`annotations`] and [`junit`]: budgets, for CI.
//! * [`live`]: lines while the command runs.
//! * [`plot`]: the timeline in one line of a terminal.
//! * [`moment`], [`range`]: one moment and one stretch of a recording.
//! * [`select`]: which processes a table shows, and in which order.
//! * [`subject`]: what was measured, in words.
//! * [`runit`]: the block of Heng Li's `runit`.
//! * [`units`], [`times`] and [`escape`]: amounts, times and names, made readable and harmless.

pub mod annotations;
pub mod calls;
mod chart;
pub mod escape;
mod fit;
pub mod gnu_time;
mod grid;
pub mod html;
pub mod json;
pub mod junit;
pub mod live;
pub mod maps;
pub mod moment;
mod needs;
pub mod plot;
pub mod range;
pub mod runit;
pub mod select;
pub mod subject;
pub mod svg;
pub mod text;
pub mod times;
pub(crate) mod truth;
pub use crate::units;

pub use chart::Run;
