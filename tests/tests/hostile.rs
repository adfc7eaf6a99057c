//! Names that are made to be misread: by a terminal, by a parser, or by whoever reads along.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use memtrace_tests::{
    Finished, Lab, Missing, Summary, memtrace, require, require_privileges, workloads,
};
use serde_json::{Value, json};

/// Clears the screen, sets the title, ends lines, hides and reverses text, closes quotes and tags,
/// and is not UTF-8.
const EVIL: &[u8] =
    b"a\x1b[2J\x1b]0;t\x07\r\n\t\x08\x7f'\"\\\xe2\x80\xae\xe2\x80\xa8\xc2\x9b</x>&%M\xff\xfe";

/// What must not be in a report: controls but for line ends, directions, and what is not UTF-8.
fn assert_harmless(text: &str) {
    for hidden in text.chars().filter(|c| *c != '\n') {
        let acts = hidden.is_control()
            || ('\u{200b}'..='\u{200f}').contains(&hidden)
            || ('\u{2028}'..='\u{202e}').contains(&hidden)
            || hidden == char::REPLACEMENT_CHARACTER;
        assert!(!acts, "{hidden:?} in {text:?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

/// Runs memtrace with these options, without `-q`, on this command; gives its JSON too.
fn run(lab: &Lab, options: &[&str], command: &[OsString]) -> Result<(Finished, Value)> {
    let json = lab.path("summary.json");
    let mut line = vec![memtrace()?.display().to_string(), "run".to_owned()];
    line.extend(["--json".to_owned(), json.display().to_string()]);
    line.extend(options.iter().map(|&option| option.to_owned()));
    line.push("--".to_owned());
    let finished = lab.to_end(lab.fixed(&line).args(command))?;
    let text = fs::read_to_string(&json).context("JSON that is not UTF-8, or none")?;
    // The contract holds as for any other name.
    Summary::parse(&text)?;
    Ok((finished, serde_json::from_str(&text)?))
}

/// A program with such a path, name and arguments, which gives itself such a name besides.
#[test]
fn a_hostile_program_is_reported_and_does_no_harm() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let name = OsString::from_vec(EVIL.iter().copied().filter(|byte| *byte != b'/').collect());
    let program = lab.dir().join(name);
    fs::copy(workloads::SCRIPT, &program)?;
    let evil = OsStr::from_bytes(EVIL);
    let mut command = vec![program.clone().into_os_string()];
    command.extend(["name", ""].map(OsString::from));
    command.pop();
    command.push(evil.to_owned());
    for word in [
        "tag", "", "fork{", "name", "", "anon", "300", "}", "wait", "exit", "4",
    ] {
        let word = if word.is_empty() {
            evil.to_owned()
        } else {
            word.into()
        };
        command.push(word);
    }
    for options in [
        &[][..],
        &["-v"],
        &["--per-process"],
        &["-v", "--per-process"],
    ] {
        let (finished, json) = run(&lab, options, &command)?;
        ensure!(finished.code() == Some(4), "{finished:?}");
        assert_harmless(&finished.stderr);
        let lines = finished.stderr.lines();
        let exact = lines.filter(|line| line.starts_with("exact"));
        assert_eq!(exact.count(), 1, "{}", finished.stderr);
        assert_eq!(json["certificate"]["verdict"], "exact");

        let bytes: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        let lossy: Vec<_> = bytes.iter().map(|b| String::from_utf8_lossy(b)).collect();
        let raw: Vec<String> = bytes.iter().map(|b| hex(b)).collect();
        assert_eq!(strings(&json["command"]), lossy);
        assert_eq!(strings(&json["command_raw"]), raw);
        let image = &json["processes"][0]["images"][0];
        assert_eq!(strings(&image["command"]), lossy);
        assert_eq!(strings(&image["command_raw"]), raw);
        let path = program.as_os_str().as_bytes();
        assert_eq!(image["exe"], String::from_utf8_lossy(path).as_ref());
        assert_eq!(image["exe_raw"], hex(path));
    }
    Ok(())
}

/// Two megabytes of arguments: the command gets them all, JSON has what was given, and lines
/// for people, which have whole commands in a file, end with what the kernel side keeps.
#[test]
fn two_megabytes_of_arguments_fit() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let mut long = EVIL.to_vec();
    long.resize(100_000, b'x');
    let mut command: Vec<OsString> = ["sh", "-c", "printf %s \"$#\"", "sh"]
        .map(OsString::from)
        .to_vec();
    command.extend((0..20).map(|_| OsString::from_vec(long.clone())));
    let (finished, json) = run(&lab, &["-v", "--per-process"], &command)?;
    ensure!(finished.code() == Some(0), "{:?}", finished.status);
    assert_eq!(finished.stdout, "20");
    assert_harmless(&finished.stderr);
    let longest = finished.stderr.lines().map(str::len).max().unwrap_or(0);
    // 1024 bytes, each of which can take four to be harmless, behind the numbers.
    assert!(longest < 4 * 1024 + 500, "a line of {longest} bytes");
    let raw = strings(&json["command_raw"]);
    assert_eq!(raw.len(), 24);
    assert!(raw.iter().skip(4).all(|arg| *arg == hex(&long)));
    // The kernel side keeps the beginning of them, and says that there was more.
    // On older kernels (6.1 is one) looking along PATH leaves images of failed execs.
    let images = json["processes"][0]["images"].as_array();
    let image = images.and_then(|images| images.last());
    assert_eq!(
        image.map(|image| &image["command_truncated"]),
        Some(&json!(true))
    );
    assert_eq!(json["certificate"]["verdict"], "exact");
    Ok(())
}

/// What memtrace says of a command or file that it cannot use is harmless too.
#[test]
fn messages_with_hostile_names_are_harmless() -> Result<()> {
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let evil = OsStr::from_bytes(EVIL);
    let path = [b"/no/such/".as_slice(), EVIL].concat();
    let cases: [(&[&str], &[&OsStr], bool); 4] = [
        (&["run", "--"], &[evil], true),
        (&["time"], &[evil], true),
        (
            &["run", "--json"],
            &[OsStr::from_bytes(&path), OsStr::new("true")],
            false,
        ),
        (&["run", "--user"], &[evil, OsStr::new("true")], false),
    ];
    for (options, rest, privileged) in cases {
        if privileged && memtrace_tests::capability().is_err() {
            continue;
        }
        let line: Vec<&str> = std::iter::once(memtrace.as_str())
            .chain(options.iter().copied())
            .collect();
        let finished = lab.to_end(lab.fixed(&line).args(rest))?;
        assert!(
            finished.code().is_some_and(|code| code >= 125),
            "{options:?}: {finished:?}"
        );
        // U+FFFD stands for what is not UTF-8, and does nothing.
        assert_harmless(&finished.stderr.replace(char::REPLACEMENT_CHARACTER, "?"));
        assert!(!finished.stderr.is_empty());
    }
    Ok(())
}

/// `%C` is the command as it is, byte for byte, as GNU time has it: what reads it may be a program.
#[test]
fn the_command_in_a_time_format_is_that_of_gnu_time() -> Result<()> {
    require_privileges!();
    let gnu = Path::new("/usr/bin/time");
    require!(
        gnu.exists()
            .then_some(())
            .ok_or_else(|| Missing("GNU time is not installed".to_owned()))
    );
    let lab = Lab::new()?;
    let out = lab.path("out");
    let mut outputs = Vec::new();
    let ours = [memtrace()?.as_os_str(), OsStr::new("time")];
    for program in [&[gnu.as_os_str()][..], &ours] {
        let words: Vec<&str> = program.iter().filter_map(|word| word.to_str()).collect();
        let mut format = b"<%C>\\n".to_vec();
        format.extend(EVIL);
        let mut command = lab.fixed(&words);
        command
            .arg("-f")
            .arg(OsStr::from_bytes(&format))
            .arg("-o")
            .arg(&out);
        command
            .arg(workloads::SCRIPT)
            .arg("tag")
            .arg(OsStr::from_bytes(EVIL));
        lab.to_end(&mut command)?.success()?;
        // EVIL has a %M in it, which is a number of its own each time.
        let text = fs::read(&out)?;
        outputs.push(
            text.into_iter()
                .filter(|byte| !byte.is_ascii_digit())
                .collect::<Vec<u8>>(),
        );
    }
    assert_eq!(outputs.first(), outputs.get(1));
    assert!(
        outputs
            .first()
            .is_some_and(|out| out.len() > 2 * EVIL.len() - 10)
    );
    Ok(())
}
