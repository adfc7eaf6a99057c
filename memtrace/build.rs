//! Chooses the BPF objects to embed: the committed ones, or those in the directory that
//! `MEMTRACE_BPF_OBJECTS` names (`cargo xtask bpf --out` makes one).

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=MEMTRACE_BPF_OBJECTS");
    let directory = env::var_os("MEMTRACE_BPF_OBJECTS").map_or_else(
        || {
            PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
                .join("../memtrace-ebpf/object")
        },
        PathBuf::from,
    );
    for (variable, name) in [
        ("MEMTRACE_BPF_OBJECT_PATH", "memtrace.bpf.o"),
        ("MEMTRACE_BPF_LEAN_OBJECT_PATH", "memtrace-lean.bpf.o"),
        ("MEMTRACE_BPF_PLAIN_OBJECT_PATH", "memtrace-plain.bpf.o"),
    ] {
        let object = directory.join(name);
        println!("cargo::rerun-if-changed={}", object.display());
        println!("cargo::rustc-env={variable}={}", object.display());
    }
}
