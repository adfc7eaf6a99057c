//! Command lines against what they mean, and against the real program.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::ffi::OsString;
use std::process::Command;

use super::{TimeOptions, TimeRequest, parse};
use memtrace::budget::Size;

use crate::report::gnu_time::{Format, TimeValues};

const GNU_TIME: &str = "/usr/bin/time";

fn words(line: &[&str]) -> Vec<OsString> {
    line.iter().map(OsString::from).collect()
}

fn run(line: &[&str], time: Option<&str>) -> TimeOptions {
    match parse(words(line), time.map(OsString::from)) {
        Ok(TimeRequest::Run(options)) => options,
        other => panic!("{line:?} gave {other:?}"),
    }
}

fn custom(format: &str) -> Format {
    Format::Custom(format.as_bytes().to_vec())
}

#[test]
fn formats() {
    let table: &[(&[&str], Option<&str>, Format)] = &[
        (&["c"], None, Format::Default),
        (&["c"], Some("%e"), custom("%e")),
        (&["c"], Some(""), custom("")),
        (&["-p", "c"], Some("%e"), Format::Portable),
        (&["-f", "x", "c"], Some("%e"), custom("x")),
        (&["-fx", "c"], None, custom("x")),
        (&["-f", "-p", "c"], None, custom("-p")),
        (&["--format=", "c"], None, custom("")),
        (&["--format", "a=b", "c"], None, custom("a=b")),
        (&["--form=a=b", "c"], None, custom("a=b")),
        (&["-f", "x", "-p", "c"], None, Format::Portable),
        (&["-p", "-f", "x", "c"], None, custom("x")),
        (&["-vp", "c"], None, Format::Verbose),
        (&["-p", "--verb", "-fx", "c"], Some("t"), Format::Verbose),
        (&["--po", "--", "c"], None, Format::Portable),
    ];
    for (line, time, format) in table {
        let options = run(line, *time);
        assert_eq!(&options.format, format, "{line:?}");
        assert_eq!(options.command, words(&["c"]), "{line:?}");
    }
}

#[test]
fn output_append_quiet_and_command() {
    let options = run(&["-qao", "f", "--", "--", "-v"], None);
    assert_eq!(options.output.unwrap().to_str(), Some("f"));
    assert!(options.append && options.quiet);
    assert_eq!(options.command, words(&["--", "-v"]));

    let options = run(&["--output=a b", "-", "-p", "x"], None);
    assert_eq!(options.output.unwrap().to_str(), Some("a b"));
    assert!(!options.append && !options.quiet);
    assert_eq!(options.command, words(&["-", "-p", "x"]));
    assert_eq!(options.format, Format::Default);

    assert_eq!(run(&["", "x"], None).command, words(&["", "x"]));
}

#[test]
fn help_and_version_act_at_once() {
    for line in [&["--help", "-z"][..], &["-h"], &["-ph", "-z"], &["--h"]] {
        assert_eq!(parse(words(line), None), Ok(TimeRequest::Help), "{line:?}");
    }
    for line in [&["--version"][..], &["-Vz"], &["-a", "-V", "-z"]] {
        assert_eq!(
            parse(words(line), None),
            Ok(TimeRequest::Version),
            "{line:?}"
        );
    }
}

/// Every wrong line, with the words after `PROGRAM: `.
const MISTAKES: [(&[&str], &str); 17] = [
    (&[], "missing program to run"),
    (&["-p"], "missing program to run"),
    (&["-o", "c"], "missing program to run"),
    (&["--"], "missing program to run"),
    (&["-z", "c"], "invalid option -- 'z'"),
    (&["-pz", "c"], "invalid option -- 'z'"),
    (&["-v-", "c"], "invalid option -- '-'"),
    (&["-W", "foo", "c"], "invalid option -- 'W'"),
    (&["-f"], "option requires an argument -- 'f'"),
    (&["-ao"], "option requires an argument -- 'o'"),
    (&["--foo", "c"], "unrecognized option '--foo'"),
    (&["--zz=3", "c"], "unrecognized option '--zz=3'"),
    (&["--format"], "option '--format' requires an argument"),
    (&["--out"], "option '--output-file' requires an argument"),
    (
        &["--qui=3", "c"],
        "option '--quiet' doesn't allow an argument",
    ),
    (
        &["--ver=3", "c"],
        "option '--ver=3' is ambiguous; possibilities: '--verbose' '--version'",
    ),
    (
        &["--=x", "c"],
        "option '--=x' is ambiguous; possibilities: '--append' '--format' '--help' \
         '--output-file' '--portability' '--quiet' '--verbose' '--version'",
    ),
];

#[test]
fn mistakes() {
    for (line, expected) in MISTAKES {
        let error = parse(words(line), None).unwrap_err();
        assert_eq!(
            error.message("prog"),
            format!("prog: {expected}\nTry 'prog --help' for more information.\n"),
            "{line:?}"
        );
    }
}

#[test]
fn control_characters_of_an_option_do_not_reach_the_terminal() {
    let error = parse(words(&["--\x1b[2J"]), None).unwrap_err();
    assert_eq!(error.to_string(), "unrecognized option '--\\u{1b}[2J'");
}

/// Whether to go on with the real program; says why not.
fn have_gnu_time() -> bool {
    let present = std::path::Path::new(GNU_TIME).exists();
    if !present {
        let required = std::env::var_os("MEMTRACE_REQUIRE_ALL").is_some_and(|value| value == "1");
        let reason = format!("{GNU_TIME} is missing: apt-get install time");
        assert!(!required, "{reason}");
        eprintln!("skipped: {reason}");
    }
    present
}

#[test]
fn mistakes_as_the_real_program() {
    if !have_gnu_time() {
        return;
    }
    for (line, _) in MISTAKES {
        let theirs = Command::new(GNU_TIME)
            .args(line)
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        assert_eq!(theirs.status.code(), Some(125), "{line:?}");
        let ours = parse(words(line), None).unwrap_err().message(GNU_TIME);
        assert_eq!(ours, String::from_utf8(theirs.stderr).unwrap(), "{line:?}");
    }
}

#[test]
fn lines_as_the_real_program() {
    if !have_gnu_time() {
        return;
    }
    // `%k%%` prints the same every time: Linux counts no signals in an rusage.
    for (line, time) in [
        (&["echo", "-z", "-v"][..], Some("A%k")),
        (&["-f", "B%k%%", "echo"], Some("A%k")),
        (&["-qfC", "sh", "-c", "exit 3"], None),
        (&["-p", "-f", "D", "sh", "-c", "exit 3"], None),
        (&["--fo", "E=%x", "--qu", "sh", "-c", "exit 3"], None),
        (&["--form=", "--", "echo", "--", "x"], None),
        (&["-aqf%C%%", "echo", "-p"], None),
    ] {
        let mut real = Command::new(GNU_TIME);
        real.args(line).env_remove("TIME");
        if let Some(time) = time {
            real.env("TIME", time);
        }
        let theirs = real.output().unwrap();
        let options = run(line, time);
        let direct = Command::new(options.command.first().unwrap())
            .args(options.command.iter().skip(1))
            .output()
            .unwrap();
        assert_eq!(theirs.stdout, direct.stdout, "{line:?}");
        let values = TimeValues {
            command: options.command,
            wait_status: direct.status.code().unwrap() << 8,
            ..TimeValues::default()
        };
        let ours = values.render(&options.format, options.quiet);
        assert_eq!(
            String::from_utf8(ours).unwrap(),
            String::from_utf8(theirs.stderr).unwrap(),
            "{line:?}"
        );
    }
}

/// Limits are ours; GNU time has nothing that begins like them.
#[test]
fn limits_on_memory() {
    let options = run(
        &[
            "--max-peak=2GiB",
            "--max-process-peak",
            "1.5G",
            "--max-a",
            "4096",
            "--kill",
            "--kill-after=500ms",
            "-v",
            "true",
        ],
        None,
    );
    let limits = options.limits;
    assert_eq!(limits.max_peak.map(Size::bytes), Some(2 << 30));
    assert_eq!(limits.max_process_peak.map(Size::bytes), Some(3 << 29));
    assert_eq!(limits.max_average.map(Size::bytes), Some(4096));
    assert_eq!((limits.kill, limits.kill_after.as_millis()), (true, 500));
    for (line, part) in [
        (
            &["--max-peak=2GB", "true"][..],
            "'2GB' for '--max-peak': GB can mean",
        ),
        (
            &["--kill-after=x", "true"],
            "'x' for '--kill-after': write a time",
        ),
        (
            &["--max", "1", "true"],
            "possibilities: '--max-average' '--max-peak' '--max-process-peak'",
        ),
        (&["--kill=1", "true"], "doesn't allow an argument"),
        (
            &["--max-peak=1", "--kill-after=1s", "true"],
            "'--kill-after' needs '--kill'",
        ),
    ] {
        match parse(words(line), None) {
            Ok(request) => panic!("{line:?} gave {request:?}"),
            Err(error) => assert!(error.to_string().contains(part), "{error}"),
        }
    }
}
