//! A cgroup of version 2 for the command alone, for what the kernel's own accounting says of it.
//!
//! Files and rules are those of Documentation/admin-guide/cgroup-v2.rst. Nothing is made before all of it is known to
//! be possible, and what is made is removed again, unless processes are left in it.

mod error;
mod numbers;
mod own;
mod place;
#[cfg(test)]
mod tests;

pub use error::OwnCgroupError;
pub(crate) use own::Cgroup;
