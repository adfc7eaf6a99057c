//! Swap space for a test.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::Command,
};

use crate::Missing;

/// Swap space that exists as long as this does.
#[derive(Debug)]
pub struct Swap {
    ours: Option<PathBuf>,
}

impl Swap {
    /// The machine's own swap space, or, if `MEMTRACE_TEST_SWAPON=1` allows to change the
    /// machine, a swap file in `directory`, which must be on a disk.
    ///
    /// # Errors
    /// There is none and none can be made.
    pub fn find(directory: &str) -> Result<Self, Missing> {
        if fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1) {
            return Ok(Self { ours: None });
        }
        if std::env::var_os("MEMTRACE_TEST_SWAPON").is_none_or(|value| value != "1") {
            return Err(Missing(
                "no swap space; set MEMTRACE_TEST_SWAPON=1 to let the test make some".to_owned(),
            ));
        }
        let path = PathBuf::from(directory).join(format!("swap-{}", std::process::id()));
        make(&path).map_err(|error| {
            let _ = fs::remove_file(&path);
            Missing(format!("no swap space in {}: {error}", path.display()))
        })?;
        Ok(Self { ours: Some(path) })
    }
}

fn make(path: &PathBuf) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..256 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    for program in ["mkswap", "swapon"] {
        let output = Command::new(program).arg(path).output()?;
        if !output.status.success() {
            return Err(std::io::Error::other(format!(
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
    }
    Ok(())
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
            // A file that is still in use must not be removed under the kernel.
            if Command::new("swapoff")
                .arg(path)
                .status()
                .is_ok_and(|status| status.success())
            {
                let _ = fs::remove_file(path);
            }
        }
    }
}
