//! Exact memory use of commands and process trees on Linux, from kernel events.
//!
//! memtrace follows the kernel's own RSS counters with BPF programs: every change,
//! of every process of a tree, however short it lives. There is no sampling, so a
//! peak is the true peak, and a certificate says so, or says what it is not.
//!
//! ```no_run
//! use memtrace::Tracer;
//!
//! let traced = Tracer::run(["make", "-j8"])?;
//! let summary = traced.summary();
//! println!("{} bytes at the peak", summary.tree.peak_rss);
//! for holder in &summary.tree.at_peak {
//!     let image = &summary.images[holder.image];
//!     println!("{:>12}  {}", holder.held.rss(), String::from_utf8_lossy(image.program.name()));
//! }
//! assert_eq!(summary.certificate.verdict, memtrace::model::Verdict::Exact);
//! # Ok::<(), memtrace::TraceError>(())
//! ```
//!
//! Without the privileges that BPF needs, the tree is followed by [`ptrace`] instead: the
//! same summary, with bounds where it is not exact (see [`Backend`]).
//!
//! Data flows one way: [`kernel`] finds out what this kernel offers, [`probe`] loads
//! the programs and yields [`event::Event`]s, [`model`] turns them into a
//! [`model::Summary`], and [`report`] writes that down. [`launch`] starts the
//! command; [`Tracer`] wires them together.

mod attend;
mod blank;
pub mod budget;
pub mod cgroup;
pub mod comparison;
pub mod diff;
pub mod event;
pub mod export;
pub mod kernel;
pub mod launch;
pub mod model;
mod overview;
pub mod phases;
pub mod probe;
pub mod procfs;
pub mod ptrace;
pub mod recording;
pub mod report;
pub mod screen;
pub mod targets;
mod tracer;
pub mod units;

pub use attend::{Live, Moment, PeakLimit, RootSizes};
// Tests name this crate as others do, so that what they share can be used by both.
#[cfg(test)]
extern crate self as memtrace;

pub use memtrace_ebpf as abi;
pub use tracer::{
    Attached, Backend, FileSink, NoResult, Observer, Onlooker, Sink, SnapshotUse, SoFar, Stop,
    TargetError, TraceError, Traced, Tracer,
};
