//! Fixed values against fixed text, and our text against the real program's.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Command;

use super::{Format, TimeValues};

const GNU_TIME: &str = "/usr/bin/time";
const SPECIFIERS: &str = "CDEFIKMOPRSUWXZcekprstwx";

fn values() -> TimeValues {
    TimeValues {
        command: vec!["make".into(), "-j 8".into(), "all".into()],
        wait_status: 7 << 8,
        elapsed_ns: 83_456_999_999,
        user_ns: 12_349_999_999,
        system_ns: 1_009_999_999,
        max_rss_bytes: 10 * 1024 + 1023,
        average_rss_bytes: 9 * 1024,
        average_text_bytes: 2 * 1024,
        average_data_bytes: 3 * 1024,
        average_stack_bytes: 4 * 1024,
        average_total_bytes: 5 * 1024,
        major_faults: 11,
        minor_faults: 12,
        swaps: 13,
        inputs: 14,
        outputs: 15,
        messages_received: 16,
        messages_sent: 17,
        signals: 18,
        voluntary_switches: 19,
        involuntary_switches: 20,
        page_size: 4096,
    }
}

fn text(values: &TimeValues, format: &str) -> String {
    let format = Format::Custom(format.as_bytes().to_vec());
    String::from_utf8(values.render(&format, true)).unwrap()
}

#[test]
fn every_specifier() {
    let table = [
        ("%%", "%"),
        ("%C", "make -j 8 all"),
        ("%D", "3"),
        ("%E", "1:23.45"),
        ("%F", "11"),
        ("%I", "14"),
        ("%K", "5"),
        ("%M", "10"),
        ("%O", "15"),
        ("%P", "16%"),
        ("%R", "12"),
        ("%S", "1.00"),
        ("%U", "12.34"),
        ("%W", "13"),
        ("%X", "2"),
        ("%Z", "4096"),
        ("%c", "20"),
        ("%e", "83.45"),
        ("%k", "18"),
        ("%p", "4"),
        ("%r", "16"),
        ("%s", "17"),
        ("%t", "9"),
        ("%w", "19"),
        ("%x", "7"),
        ("%q", "?q"),
        ("%T", "?T"),
        ("a\\tb\\nc\\\\d", "a\tb\nc\\d"),
        ("\\q", "?\\q"),
        ("", ""),
        ("%%%%x", "%%x"),
        ("abc\\", "abc?\\"),
    ];
    for (format, expected) in table {
        assert_eq!(text(&values(), format), format!("{expected}\n"), "{format}");
    }
    assert_eq!(
        text(&values(), "a%"),
        "a?",
        "no newline after a lone percent"
    );
}

#[test]
fn times_are_cut_not_rounded() {
    let at = |elapsed_ns| TimeValues {
        elapsed_ns,
        ..values()
    };
    assert_eq!(text(&at(59_999_999_999), "%E %e"), "0:59.99 59.99\n");
    assert_eq!(text(&at(3_599_999_999_999), "%E"), "59:59.99\n");
    assert_eq!(text(&at(3_600_000_000_000), "%E"), "1:00:00\n");
    assert_eq!(
        text(&at(36_605_990_000_000), "%E %e"),
        "10:10:05 36605.99\n"
    );
}

#[test]
fn cpu_share_by_the_unit_that_is_left() {
    let share = |elapsed_ns, user_ns, system_ns| {
        let values = TimeValues {
            elapsed_ns,
            user_ns,
            system_ns,
            ..values()
        };
        text(&values, "%P")
    };
    assert_eq!(share(0, 0, 0), "?%\n");
    assert_eq!(share(999, 500, 500), "?%\n");
    assert_eq!(share(999_000, 400_000, 99_999), "49%\n");
    assert_eq!(share(1_000_000, 999_999, 999_999), "0%\n");
    assert_eq!(share(2_000_000_000, 3_000_000_000, 999_000_000), "199%\n");
}

#[test]
fn abnormal_ends() {
    let render = |wait_status, format: &Format, quiet| {
        let values = TimeValues {
            wait_status,
            ..values()
        };
        String::from_utf8(values.render(format, quiet)).unwrap()
    };
    let format = Format::Custom(b"%x".to_vec());
    assert_eq!(render(0, &format, false), "0\n");
    assert_eq!(
        render(7 << 8, &format, false),
        "Command exited with non-zero status 7\n7\n"
    );
    assert_eq!(
        render(9, &format, false),
        "Command terminated by signal 9\n0\n"
    );
    assert_eq!(
        render(139, &format, false),
        "Command terminated by signal 11\n0\n"
    );
    assert_eq!(
        render(0x137f, &format, false),
        "Command stopped by signal 19\n19\n"
    );
    assert_eq!(render(9, &format, true), "0\n");
    assert_eq!(
        render(7 << 8, &Format::Portable, false),
        "real 83.45\nuser 12.34\nsys 1.00\n"
    );
}

#[test]
fn default_and_bytes() {
    assert_eq!(
        String::from_utf8(values().render(&Format::Default, true)).unwrap(),
        "12.34user 1.00system 1:23.45elapsed 16%CPU (2avgtext+3avgdata 10maxresident)k\n\
         14inputs+15outputs (11major+12minor)pagefaults 13swaps\n"
    );
    let raw = Format::Custom(b"\xff%\xfe".to_vec());
    assert_eq!(values().render(&raw, true), b"\xff?\xfe\n");
}

/// What the real program prints, or nothing (and why) where it is missing.
fn gnu_time(arguments: &[&str]) -> Option<String> {
    if !std::path::Path::new(GNU_TIME).exists() {
        let reason = format!("{GNU_TIME} is missing: apt-get install time");
        assert!(
            std::env::var_os("MEMTRACE_REQUIRE_ALL").is_none_or(|value| value != "1"),
            "{reason}"
        );
        eprintln!("skipped: {reason}");
        return None;
    }
    let output = Command::new(GNU_TIME)
        .args(arguments)
        .env_remove("TIME")
        .output()
        .unwrap();
    Some(String::from_utf8(output.stderr).unwrap())
}

/// Replaces every run of digits by one `9`, so that only the form is left.
fn form(text: &str) -> String {
    let mut form = String::new();
    for character in text.chars() {
        if !character.is_ascii_digit() {
            form.push(character);
        } else if !form.ends_with('9') {
            form.push('9');
        }
    }
    form
}

fn true_values(wait_status: i32) -> TimeValues {
    TimeValues {
        command: vec!["sh".into(), "-c".into(), "exit".into()],
        wait_status,
        page_size: 4096,
        elapsed_ns: 5_000_000,
        ..TimeValues::default()
    }
}

#[test]
fn same_form_as_the_real_program() {
    let options = [
        (vec!["-v"], Format::Verbose),
        (vec![], Format::Default),
        (vec!["-p"], Format::Portable),
    ];
    for (option, format) in options {
        let mut arguments = option.clone();
        arguments.extend(["sh", "-c", "exit"]);
        let Some(theirs) = gnu_time(&arguments) else {
            return;
        };
        let ours = String::from_utf8(true_values(0).render(&format, false)).unwrap();
        assert_eq!(form(&ours), form(&theirs), "{option:?}");
    }
    for letter in SPECIFIERS.chars().chain("AbTz\"é".chars()) {
        let format = format!("<%{letter}>\\t\\n");
        let Some(theirs) = gnu_time(&["-f", &format, "sh", "-c", "exit"]) else {
            return;
        };
        assert_eq!(
            form(&text(&true_values(0), &format)),
            form(&theirs),
            "{format}"
        );
    }
}

#[test]
fn same_bytes_as_the_real_program_where_no_number_varies() {
    for (format, command, status) in [
        ("%x|%C|%Z|%%|%k|%W", "exit", 0),
        ("%x\\n", "exit 3", 3 << 8),
        ("%x", "kill -9 $$", 9),
        ("\\a\\", "exit 300", 44 << 8),
        ("%", "exit", 0),
        ("%%%", "exit 1", 1 << 8),
    ] {
        // 1.9 reads past the end of a format that ends in a backslash.
        let format = format.strip_suffix('\\').unwrap_or(format);
        let Some(theirs) = gnu_time(&["-f", format, "sh", "-c", command]) else {
            return;
        };
        let values = TimeValues {
            command: vec!["sh".into(), "-c".into(), command.into()],
            page_size: nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
                .unwrap()
                .and_then(|size| u64::try_from(size).ok())
                .unwrap(),
            ..true_values(status)
        };
        let format_bytes = Format::Custom(format.as_bytes().to_vec());
        let ours = String::from_utf8(values.render(&format_bytes, false)).unwrap();
        assert_eq!(ours, theirs, "{format}");
    }
}
