//! GNU time's options and formats: any arguments must give a run or a message that does nothing
//! to a terminal, and any format a text.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use crate::{
    commands::time_options::{TimeRequest, parse},
    report::gnu_time::{Format, TimeValues},
};

/// Reads these bytes.
pub fn run(data: &[u8]) {
    // The arguments end with NUL as in /proc/PID/cmdline; the first is the variable TIME.
    let mut words = data
        .split(|&byte| byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()));
    let time = words.next().filter(|word| !word.is_empty());
    let arguments: Vec<OsString> = words.collect();
    match parse(arguments.iter().cloned(), time) {
        Err(error) => {
            let message = error.message("time");
            assert_eq!(message.lines().count(), 2, "{message:?}");
            assert!(
                !message.chars().any(|c| c.is_control() && c != '\n'),
                "{message:?}"
            );
        }
        Ok(TimeRequest::Run(options)) => {
            assert!(arguments.ends_with(&options.command));
            assert!(!options.command.is_empty());
            render(&options.format, options.command, options.quiet);
        }
        Ok(TimeRequest::Help | TimeRequest::Version) => {}
    }
    // And the whole input as a format.
    render(
        &Format::Custom(data.to_vec()),
        vec![OsString::from_vec(data.to_vec())],
        true,
    );
}

fn render(format: &Format, command: Vec<OsString>, quiet: bool) {
    let values = TimeValues {
        command,
        elapsed_ns: u64::MAX,
        user_ns: u64::MAX,
        system_ns: u64::MAX,
        max_rss_bytes: u64::MAX,
        wait_status: 0x7f00,
        ..TimeValues::default()
    };
    let text = values.render(format, quiet);
    let bytes = format.as_bytes();
    if !bytes.iter().any(|byte| b"%\\".contains(byte)) && quiet {
        assert_eq!(
            text.strip_suffix(b"\n"),
            Some(bytes),
            "plain text is printed as it is"
        );
    }
}
