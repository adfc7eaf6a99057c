//! The hidden `memtrace man-pages DIR`: a page of the manual per command.
//!
//! `cargo xtask man` builds memtrace and calls this, rather than to make pages itself: so they are
//! made from the very definitions that the command parses with, xtask needs nothing of memtrace
//! (which it has to build programs for first), and who packages a binary has its pages.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use memtrace::launch::{IfExists, OWN_FAILURE, OutputError, open_output, output_directory};

use super::{
    failure::{code, say},
    time,
};
use crate::cli::{Cli, ManPagesArgs};

const PROGRAM: &str = "memtrace";

/// Sections made of what the help says in paragraphs, in their order on a page.
const SECTIONS: [&str; 4] = ["OPTIONS", "NOTES", "EXIT STATUS", "EXAMPLES"];

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
enum PagesError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot write pages of the manual: {0}")]
    Write(#[from] io::Error),
}

pub(crate) fn main(args: &ManPagesArgs) -> ExitCode {
    match write(&args.directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(PROGRAM, error);
            code(OWN_FAILURE)
        }
    }
}

fn write(directory: &Path) -> Result<(), PagesError> {
    output_directory(directory)?;
    let mut all = Cli::command();
    // Gives the commands their whole names and all of their options.
    all.build();
    let commands = all.get_subcommands();
    let visible = commands.filter(|command| !command.is_hide_set());
    for command in std::iter::once(&all).chain(visible) {
        let name = full_name(command);
        let page = page(command)?;
        let path = directory.join(format!("{name}.1"));
        open_output(&path, IfExists::Overwrite)?.write_all(&page)?;
    }
    Ok(())
}

/// `memtrace-run`.
fn full_name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let is_time = command.get_name() == "time";
    let text = if is_time {
        time::help("memtrace time")
    } else {
        [command.get_long_about(), command.get_after_help()]
            .into_iter()
            .flatten()
            .map(|text| text.to_string() + "\n\n")
            .collect()
    };
    let usage = if is_time {
        text.lines().next().unwrap_or_default().to_owned()
    } else {
        command.clone().render_usage().to_string()
    };
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    // What is told below in sections of its own, or is in the page's footer. `time` reads its
    // options itself.
    let command = command
        .clone()
        .override_usage(usage)
        .long_about(None)
        .after_help(None)
        .version(None)
        .subcommand_help_heading("COMMANDS")
        .mut_args(|argument| {
            let hidden = argument.is_hide_set();
            argument.hide(hidden || is_time)
        });
    let is_main = command.has_subcommands();
    let mut page = Vec::new();
    Man::new(command)
        .source(concat!("memtrace ", env!("CARGO_PKG_VERSION")))
        // The same sources make the same pages. An empty word would get lost in the head, and
        // the next one take its place.
        .date(" ")
        .render(&mut page)?;
    let mut rest = Roff::new();
    // The first paragraph is in NAME and DESCRIPTION already.
    let skipped = usize::from(!is_main && (is_time || text.contains("\n\nExamples:")));
    for title in SECTIONS {
        let paragraphs = text.split("\n\n").skip(skipped);
        let mut first = true;
        for (section, paragraph) in paragraphs.map(sort) {
            if section != title || paragraph.trim().is_empty() {
                continue;
            }
            if first {
                rest.control("SH", [title]);
            } else {
                rest.control("PP", []);
            }
            first = false;
            prose(&mut rest, paragraph);
        }
    }
    if !is_main {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman("memtrace(1)")]);
    }
    page.extend(rest.to_roff().into_bytes());
    Ok(page)
}

/// The section that a paragraph belongs to, and what is left of it there.
fn sort(paragraph: &str) -> (&'static str, &str) {
    if let Some(rest) = paragraph.strip_prefix("Examples:\n") {
        ("EXAMPLES", rest)
    } else if let Some(rest) = paragraph.strip_prefix("Exit status: ") {
        ("EXIT STATUS", rest)
    } else if paragraph.starts_with("  -") {
        ("OPTIONS", paragraph)
    } else {
        ("NOTES", paragraph)
    }
}

/// Lines that the help indents stay as they are, others make paragraphs.
fn prose(roff: &mut Roff, paragraph: &str) {
    let mut example = false;
    for line in paragraph.lines() {
        if line.starts_with(' ') != example {
            roff.control(if example { "EE" } else { "EX" }, []);
            example = !example;
        }
        roff.text([roman(line)]);
    }
    if example {
        roff.control("EE", []);
    }
}
