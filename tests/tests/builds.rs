//! Real builds: many processes of real compilers, in parallel.

use std::{collections::HashMap, fmt::Write as _, fs, process::Command};

use anyhow::{Context, Result};
use memtrace::event::Event;
use memtrace_tests::{
    Lab, Missing, Recorded, Summary, require, require_privileges, workloads::installed,
};

const UNITS: usize = 24;

fn tools(names: &[&str]) -> Result<(), Missing> {
    match names.iter().find(|name| !installed(name)) {
        Some(name) => Err(Missing(format!(
            "no {name}; install the package `build-essential`"
        ))),
        None => Ok(()),
    }
}

/// Writes a project of some C files, of which `broken` is one that does not compile.
fn write_project(lab: &Lab, broken: Option<usize>) -> Result<()> {
    let mut makefile = String::from("CFLAGS = -O2 -g\nOBJS =");
    for unit in 0..UNITS {
        write!(makefile, " unit{unit}.o")?;
        let mut source =
            String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        for function in 0..40 {
            writeln!(
                source,
                "int f{unit}_{function}(int n) {{ char b[64]; snprintf(b, 64, \"%d\", n); int s = {function}; \
                 for (int i = 0; b[i]; i++) s = s * 31 + b[i]; return s ? atoi(b) + s : (int)strlen(b); }}"
            )?;
        }
        if broken == Some(unit) {
            source.push_str("int broken( {\n");
        }
        fs::write(lab.path(&format!("unit{unit}.c")), source)?;
    }
    fs::write(
        lab.path("main.c"),
        "int f0_0(int n); int main(void) { return f0_0(1) == 0; }\n",
    )?;
    makefile.push_str("\nall: program\nprogram: main.o $(OBJS)\n\t$(CC) -o $@ main.o $(OBJS)\n");
    fs::write(lab.path("Makefile"), makefile)?;
    Ok(())
}

fn count(summary: &Summary, program: &str) -> usize {
    let is = |first: &String| first.rsplit('/').next() == Some(program);
    summary
        .exec_images()
        .filter(|image| image.command.first().is_some_and(is))
        .count()
}

/// A parallel make of a C project: exact, every compiler seen, the program built.
#[test]
fn a_parallel_build_in_c_is_exact() -> Result<()> {
    require_privileges!();
    require!(tools(&["make", "gcc"]));
    let lab = Lab::new()?;
    write_project(&lab, None)?;
    for scheme in ["all", "touched"] {
        let run = lab.run(
            &["--sum-cpus", scheme],
            &["make", "-B", "-s", "-j2", "CC=gcc"],
        )?;
        assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
        assert_eq!(run.finished.stderr, "");
        run.summary.assert_exact();
        assert_eq!(count(&run.summary, "cc1"), UNITS + 1);
        assert_eq!(count(&run.summary, "make"), 1);
        let failed = run
            .summary
            .processes
            .iter()
            .filter(|process| process.exit_status != Some(0));
        assert_eq!(failed.count(), 0);
        let biggest = run
            .summary
            .exec_images()
            .map(|image| image.peak_rss_bytes)
            .max();
        assert!(biggest.is_some_and(|biggest| biggest < run.summary.tree.peak_rss_bytes));
    }
    lab.to_end(&mut lab.fixed(&["./program"]))?.success()?;
    Ok(())
}

/// A build that fails: its exit status and messages pass through.
#[test]
fn a_failing_build_passes_its_status_through() -> Result<()> {
    require_privileges!();
    require!(tools(&["make", "gcc"]));
    let lab = Lab::new()?;
    write_project(&lab, Some(7))?;
    let run = lab.run(&[], &["make", "-s", "-k", "-j2", "CC=gcc"])?;
    assert_eq!(run.finished.code(), Some(2), "{}", run.finished.stderr);
    assert!(
        run.finished.stderr.contains("unit7.c"),
        "{}",
        run.finished.stderr
    );
    run.summary.assert_exact();
    Ok(())
}

/// A Rust crate: a compiler with threads and a linker.
#[test]
fn a_rust_build_is_exact() -> Result<()> {
    require_privileges!();
    require!(tools(&["rustc", "cc"]));
    let lab = Lab::new()?;
    // The compiler itself, not rustup's proxy, which needs the environment.
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .context("run rustc")?;
    let rustc = format!("{}/bin/rustc", String::from_utf8(sysroot.stdout)?.trim());
    let mut main = String::from("fn main() {\n");
    for module in 0..8 {
        let mut source = String::new();
        for function in 0..20 {
            writeln!(
                source,
                "#[must_use] pub fn f{function}(n: u64) -> String {{ \
                 (0..n).map(|i| format!(\"{{:x}}\", i * {function})).collect::<Vec<_>>().join(\",\") }}"
            )?;
        }
        fs::write(lab.path(&format!("m{module}.rs")), source)?;
        main = format!("mod m{module};\n{main}    println!(\"{{}}\", m{module}::f3(9).len());\n");
    }
    main.push_str("}\n");
    fs::write(lab.path("main.rs"), format!("#![allow(dead_code)]\n{main}"))?;
    let line = [
        &rustc,
        "-O",
        "-C",
        "codegen-units=8",
        "-o",
        "program",
        "main.rs",
    ];
    let run = lab.run(&[], &line)?;
    assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
    run.summary.assert_exact();
    assert!(
        run.summary.tree.peak_rss_bytes > 50 << 20,
        "{}",
        run.summary.tree.peak_rss_bytes
    );
    assert!(count(&run.summary, "rustc") >= 1);
    lab.to_end(&mut lab.fixed(&["./program"]))?.success()?;
    Ok(())
}

/// The sum over segments is what is resident and what is swapped out, of each image after each change.
#[test]
fn segments_of_a_build_add_up_at_every_change() -> Result<()> {
    require_privileges!();
    require!(tools(&["make", "gcc"]));
    let lab = Lab::new()?;
    write_project(&lab, None)?;
    let recording = lab.path("r.memtrace").display().to_string();
    let options = ["--segments", "-o", &recording, "--resolution", "0"];
    let dir = lab.dir().display().to_string();
    let run = lab.run(&options, &["make", "-j2", "-C", &dir, "unit0.o", "unit1.o"])?;
    run.summary.assert_exact();
    let recorded = Recorded::read(&lab.path("r.memtrace"))?;
    assert_eq!(recorded.lost, 0);
    let mut images: HashMap<u64, [i64; 4]> = HashMap::new();
    let mut moments = 0;
    for event in &recorded.events {
        match event {
            Event::Change(change) if [1, 2].contains(&change.kind) => {
                let pages = images.entry(change.image).or_default();
                let slot = pages.get_mut(usize::try_from(change.member)?);
                *slot.context("a counter that there is not")? = change.value;
            }
            Event::SegmentsChange(change) => {
                let [file, anon, swap, shmem] =
                    images.get(&change.image).copied().unwrap_or_default();
                let resident: i64 = change.resident.iter().sum();
                assert_eq!(resident, file + anon + shmem, "image {}", change.image);
                assert_eq!(change.swapped.iter().sum::<i64>(), swap);
                moments += 1;
            }
            _ => {}
        }
    }
    assert!(moments > 1000, "{moments}");
    Ok(())
}
