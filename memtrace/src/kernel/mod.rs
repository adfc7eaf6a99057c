//! What this kernel can do, and what this user may do with it.
//!
//! Never decided by the kernel's version, because distributions backport: types, fields and
//! parameters are looked up in the kernel's own description of itself ([`btf`]), and what
//! follows from them for the programs is in [`Features`]. [`Access`] explains a
//! refusal, [`cpus`] and [`clock`] say how to read what the programs return.

pub mod access;
pub mod btf;
pub mod clock;
pub mod cpus;
mod error;
pub mod features;
pub mod tracefs;

pub use access::{Access, Lockdown, Obstacle, Proc, capability};
pub use btf::{Btf, BtfError};
pub use error::KernelError;
pub use features::{Features, Limit, MarkVictim, SegmentSources};
