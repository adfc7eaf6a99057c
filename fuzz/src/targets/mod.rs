//! What a fuzz target does with its input.

pub mod btf;
pub mod event;
pub mod recording;
pub mod report;
pub mod status;
pub mod time;
