//! Chooses the BPF object to embed: the committed one, or the file that
//! `MEMTRACE_BPF_OBJECT` names (`cargo xtask bpf` prints it for fresh builds).

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=MEMTRACE_BPF_OBJECT");
    let object = env::var_os("MEMTRACE_BPF_OBJECT").map_or_else(
        || {
            PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
                .join("../memtrace-ebpf/object/memtrace.bpf.o")
        },
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    println!(
        "cargo::rustc-env=MEMTRACE_BPF_OBJECT_PATH={}",
        object.display()
    );
}
