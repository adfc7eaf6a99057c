//! Arguments of `memtrace report` for pages and pictures.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use memtrace::budget::Size;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("pictures").args(["html", "svg"]).multiple(true))]
pub(crate) struct PictureArgs {
    /// Write a page to look around in to FILE instead: one file that needs no network
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "between"])]
    pub(crate) html: Option<PathBuf>,
    /// Write a picture for a README or a ticket to FILE instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "between"])]
    pub(crate) svg: Option<PathBuf>,
    /// Draw a line at this amount of memory, such as 2GiB, into the page and the picture
    #[arg(long, value_name = "SIZE", requires = "pictures")]
    pub(crate) limit: Option<Size>,
}

impl PictureArgs {
    /// Whether any of them is asked for.
    pub(crate) const fn any(&self) -> bool {
        self.html.is_some() || self.svg.is_some()
    }
}
