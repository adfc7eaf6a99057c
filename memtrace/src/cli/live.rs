//! Arguments of the live view.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::duration::duration;

#[derive(Args, Debug, Default)]
pub(crate) struct LiveArgs {
    /// While the command runs, print a line every SECONDS: sizes of its own process with tmem's
    /// columns, as /proc has them, the tree's sum of RSS, its peak so far, and how many processes there are
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = "1", value_parser = interval)]
    pub(crate) live: Option<Duration>,
    /// Print those lines to FILE instead of standard error
    #[arg(long, value_name = "FILE", requires = "live")]
    pub(crate) live_to: Option<PathBuf>,
}

/// The shortest interval.
const SHORTEST: Duration = Duration::from_millis(1);

fn interval(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    if every < SHORTEST {
        return Err("the shortest interval is 1ms".to_owned());
    }
    Ok(every)
}
