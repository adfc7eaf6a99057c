//! Inputs that the fuzz targets found to be worth keeping (`fuzz/seeds`), and what the targets do
//! with them. `cargo xtask fuzz` looks for new ones.

use std::{fs, path::Path};

#[expect(unreachable_pub, reason = "the fuzz targets are another crate's")]
#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&seeds).expect("the seeds are there") {
        let path = entry.expect("the seeds are listed").path();
        // The test runner shows it if the target panics.
        println!("{}", path.display());
        run(&fs::read(&path).expect("a seed is read"));
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
    run(b"");
}

#[test]
fn btf() {
    replay("btf", targets::btf::run);
}

#[test]
fn event() {
    replay("event", targets::event::run);
}

#[test]
fn recording() {
    replay("recording", targets::recording::run);
}

#[test]
fn reports() {
    replay("report", targets::report::run);
}

#[test]
fn status() {
    replay("status", targets::status::run);
}

#[test]
fn time() {
    replay("time", targets::time::run);
}
