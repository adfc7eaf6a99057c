//! A C project whose build is many short processes.

use std::{fmt::Write as _, fs};

use anyhow::Result;

use crate::Lab;

/// Writes a Makefile and so many C files into the lab's directory. A compiler is three processes: it, what
/// compiles, and the assembler.
///
/// # Errors
/// They cannot be written.
pub fn write_many_units(lab: &Lab, units: usize) -> Result<()> {
    let mut objects = String::new();
    for unit in 0..units {
        write!(objects, " unit{unit}.o")?;
        let source = format!("int unit{unit}(int n) {{ return n + {unit}; }}\n");
        fs::write(lab.path(&format!("unit{unit}.c")), source)?;
    }
    fs::write(lab.path("Makefile"), format!("all:{objects}\n"))?;
    Ok(())
}
