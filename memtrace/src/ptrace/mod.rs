//! Measuring without BPF: tier `P`, for users without privileges.
//!
//! The command and everything that it creates is traced by ptrace(2), which stops every
//! process at its creation, its execs and its end. At those moments `/proc/PID/status` has
//! the kernel's own high-water marks; in between, all of the tree is looked at every
//! 20 ms. The result has the same form as tier A's, and its certificate says
//! what is bounded and what is sampled. It is never called exact.
//!
//! Where tracing is not permitted, because the command is traced by somebody else or a
//! security policy forbids it, the tree is found in `/proc` alone.
//!
//! What an exec replaces is gone when the tracer is told (`PTRACE_EVENT_EXEC` comes after
//! `exec_mmap()`, fs/exec.c): images before an exec are known from samples, and bounded by
//! `ru_maxrss`, which the kernel raises to their high-water mark.

mod attach;
mod bounds;
mod course;
mod follow;
mod image;
mod last;
mod machine;
mod permission;
mod poll;
mod privileges;
#[cfg(test)]
mod properties;
mod records;
mod run;
mod sample;
mod slots;
mod status;
mod subject;
mod sys;
mod teller;
mod tree;
mod unseen;
mod worth;

pub(crate) use attach::{Asked, Attachment, Seen};
pub(crate) use course::Over;
pub(crate) use last::SoFar;
pub use permission::{Permission, permission};
pub(crate) use run::{Wanted, trace};
pub(crate) use status::{Stat, look, program, stat};
pub(crate) use sys::Reaped;
pub(crate) use teller::Listener;
