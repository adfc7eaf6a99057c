//! Programs to compile, written anew for each benchmark.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// Writes a C project with a makefile.
pub(crate) fn write_c(directory: &Path, units: usize) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut makefile = String::from("CFLAGS = -O2 -g\nOBJECTS = main.o");
    for unit in 0..units {
        write!(makefile, " unit{unit}.o")?;
        let mut source =
            String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        for function in 0..60 {
            writeln!(
                source,
                "int f{unit}_{function}(int n) {{ char text[64]; snprintf(text, sizeof text, \"%d\", n); \
                 int sum = {function}; for (int i = 0; text[i]; i++) sum = sum * 31 + text[i]; \
                 return sum ? atoi(text) + sum : (int)strlen(text); }}"
            )?;
        }
        fs::write(directory.join(format!("unit{unit}.c")), source)?;
    }
    fs::write(
        directory.join("main.c"),
        "int f0_0(int n); int main(void) { return f0_0(1) == 0; }\n",
    )?;
    makefile.push_str("\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n");
    fs::write(directory.join("Makefile"), makefile)?;
    Ok(())
}

/// Writes a Rust crate; its root is `main.rs`.
pub(crate) fn write_rust(directory: &Path, modules: usize) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut main = String::from("#![allow(dead_code)]\n");
    for module in 0..modules {
        let mut source = String::new();
        for function in 0..20 {
            writeln!(
                source,
                "#[must_use] pub fn f{function}(n: u64) -> String {{ \
                 (0..n).map(|i| format!(\"{{:x}}\", i * {function})).collect::<Vec<_>>().join(\",\") }}"
            )?;
        }
        fs::write(directory.join(format!("m{module}.rs")), source)?;
        writeln!(main, "mod m{module};")?;
    }
    main.push_str("fn main() { println!(\"{}\", m0::f3(9).len()); }\n");
    fs::write(directory.join("main.rs"), main)?;
    Ok(())
}

/// The compiler itself, not the proxy of rustup, which needs the environment.
pub(crate) fn rustc() -> Result<PathBuf> {
    let sysroot = said(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(&sysroot).join("bin/rustc"))
}

/// The interpreter itself, not a script that chooses one.
pub(crate) fn python() -> Result<PathBuf> {
    let path = said(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]))?;
    Ok(PathBuf::from(path))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
