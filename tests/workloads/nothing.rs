//! The smallest program: ends at once with the status that is its only argument, else 0.
//!
//! The static counterpart of `/bin/true`; its pages are the same at every run.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "shared by all workloads")]
mod sys;

fn main(args: sys::Args) -> ! {
    sys::exit_group(if args.argc == 2 {
        sys::number(args.get(1))
    } else {
        0
    })
}
