//! Tests that need a machine of their own, because they change settings of the whole
//! machine or disturb it: `cargo xtask kernels` builds and runs them in its guests.

mod access;
mod bombs;
mod cgroups;
mod cpus;
mod fentry;
mod huge;
mod machine;
mod own_cgroup;
mod sharing;
