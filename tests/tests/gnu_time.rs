//! `memtrace time` is `/usr/bin/time` for everyone who reads its output.

use std::{fs, path::Path};

use anyhow::Result;
use memtrace_tests::{Finished, Lab, Missing, memtrace, require, require_privileges, workloads};

const GNU: &str = "/usr/bin/time";

fn gnu_time() -> Result<(), Missing> {
    if Path::new(GNU).exists() {
        return Ok(());
    }
    Err(Missing(format!("no {GNU}; install the package `time`")))
}

/// Runs GNU time and ours with the same arguments. `@out` in an argument is a file that is
/// removed before each; what it then contains comes third.
fn both(lab: &Lab, arguments: &[&str]) -> Result<[(Finished, String); 2]> {
    let memtrace = memtrace()?.display().to_string();
    let run = |program: &[&str]| -> Result<(Finished, String)> {
        let out = lab.path("out");
        if arguments.iter().any(|argument| argument.contains("@out")) && out.exists() {
            fs::remove_file(&out)?;
        }
        if arguments.contains(&"-a") || arguments.contains(&"--append") {
            fs::write(&out, "kept\n")?;
        }
        let path = out.display().to_string();
        let line: Vec<String> = program
            .iter()
            .chain(arguments)
            .map(|argument| argument.replace("@out", &path))
            .collect();
        let finished = lab.to_end(&mut lab.fixed(&line))?;
        Ok((finished, fs::read_to_string(&out).unwrap_or_default()))
    };
    Ok([run(&[GNU])?, run(&[&memtrace, "time"])?])
}

/// The form of a text: every number becomes 0.
fn form(text: &str) -> String {
    let mut form = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if c != '0' || !form.ends_with('0') {
            form.push(c);
        }
    }
    form
}

/// What comes before the value of each line of `-v`.
fn labels(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| line.rsplit_once(": ").map_or(line, |(label, _)| label))
        .collect()
}

/// A command that takes long enough for a percentage.
const BUSY: [&str; 5] = [workloads::SCRIPT, "busy-us", "60000", "anon", "1000"];

/// `-v` prints the same labels in the same order, and the same values where they must agree.
#[test]
fn verbose_output_has_the_same_labels_in_the_same_order() -> Result<()> {
    require_privileges!();
    require!(gnu_time());
    let lab = Lab::new()?;
    for command in [
        BUSY.as_slice(),
        &["sh", "-c", "exit 3"],
        &[workloads::SCRIPT, "kill", "9"],
    ] {
        let arguments: Vec<&str> = ["-v"].into_iter().chain(command.iter().copied()).collect();
        let [(gnu, _), (ours, _)] = both(&lab, &arguments)?;
        assert_eq!(labels(&ours.stderr), labels(&gnu.stderr), "{command:?}");
        assert_eq!(ours.code(), gnu.code(), "{command:?}");
        for label in ["Command being timed", "Page size (bytes)", "Exit status"] {
            let line = |text: &str| {
                text.lines()
                    .find(|line| line.contains(label))
                    .map(str::to_owned)
            };
            assert_eq!(line(&ours.stderr), line(&gnu.stderr), "{command:?}");
        }
    }
    Ok(())
}

/// Every format specifier has the form that GNU time gives it.
#[test]
fn every_format_specifier_has_the_same_form() -> Result<()> {
    require_privileges!();
    require!(gnu_time());
    let lab = Lab::new()?;
    let letters = "CDEFIKMOPRSUWXZceknprstwx";
    for letter in letters.chars() {
        let format = format!("[%{letter}]");
        let mut arguments = vec!["-f", &format];
        arguments.extend(BUSY);
        let [(gnu, _), (ours, _)] = both(&lab, &arguments)?;
        if "DKXtp".contains(letter) {
            // Averages, always 0 from GNU time on Linux; here they are measured.
            assert_eq!(form(&ours.stderr), form(&gnu.stderr), "%{letter}");
        } else if "CZxks".contains(letter) {
            assert_eq!(ours.stderr, gnu.stderr, "%{letter}");
        } else {
            assert_eq!(form(&ours.stderr), form(&gnu.stderr), "%{letter}");
        }
        assert_eq!(ours.code(), gnu.code());
    }
    Ok(())
}

/// Texts around specifiers, escapes, unknown and unfinished ones. (A backslash at the very end is
/// left out: GNU time 1.9 then reads beyond the format.)
#[test]
fn formats_are_read_like_gnu_time_reads_them() -> Result<()> {
    require_privileges!();
    require!(gnu_time());
    let lab = Lab::new()?;
    for format in [
        "plain text",
        "",
        "%%",
        "%C is %x",
        "a\\tb\\nc\\\\d",
        "\\q",
        "%q",
        "end%",
        "100%% of %x%",
        "%x %x %x",
        "%e %U %S %P %M",
        "\u{e4}\u{f6} %x",
    ] {
        let mut arguments = vec!["-f", format];
        arguments.extend(BUSY);
        let [(gnu, _), (ours, _)] = both(&lab, &arguments)?;
        assert_eq!(form(&ours.stderr), form(&gnu.stderr), "format {format:?}");
    }
    Ok(())
}

/// Options, alone and together, give output of the same form in the same place.
#[test]
fn options_work_like_those_of_gnu_time() -> Result<()> {
    require_privileges!();
    require!(gnu_time());
    let lab = Lab::new()?;
    for options in [
        vec![],
        vec!["-p"],
        vec!["--portability"],
        vec!["-q"],
        vec!["-o", "@out"],
        vec!["-o", "@out", "-v"],
        vec!["-a", "-o", "@out"],
        vec!["--append", "--output=@out", "-p"],
        vec!["-o@out", "-f", "%x"],
        vec!["--format=%x %C"],
        vec!["-vp"],
        vec!["-pv"],
        vec!["-f", "%x", "-p"],
        vec!["--verb"],
        vec!["--"],
    ] {
        for command in [
            BUSY.as_slice(),
            &["sh", "-c", "exit 3"],
            &[workloads::SCRIPT, "kill", "9"],
        ] {
            let mut arguments = options.clone();
            arguments.extend(command);
            let [(gnu, gnu_file), (ours, our_file)] = both(&lab, &arguments)?;
            let context = format!("{arguments:?}");
            if arguments
                .iter()
                .any(|option| option.contains('v') && option.starts_with('-'))
            {
                assert_eq!(labels(&ours.stderr), labels(&gnu.stderr), "{context}");
                assert_eq!(labels(&our_file), labels(&gnu_file), "{context}");
            } else {
                assert_eq!(form(&ours.stderr), form(&gnu.stderr), "{context}");
                assert_eq!(form(&our_file), form(&gnu_file), "{context}");
            }
            assert_eq!(ours.stdout, gnu.stdout, "{context}");
            assert_eq!(ours.code(), gnu.code(), "{context}");
        }
    }
    Ok(())
}

/// The format can come from the environment.
#[test]
fn the_time_variable_is_the_default_format() -> Result<()> {
    require_privileges!();
    require!(gnu_time());
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let mut texts = Vec::new();
    for program in [vec![GNU], vec![&memtrace, "time"]] {
        for more in [vec![], vec!["-p"], vec!["-f", "%x"]] {
            let mut line = program.clone();
            line.extend(more);
            line.extend(["sh", "-c", "exit 4"]);
            let finished = lab.to_end(lab.fixed(&line).env("TIME", "status %x of %C"))?;
            texts.push(form(&finished.stderr));
        }
    }
    let (gnu, ours) = texts.split_at(3);
    assert_eq!(ours, gnu);
    Ok(())
}

/// Errors have the same exit status and the same message after the program's name.
#[test]
fn errors_are_told_like_gnu_time_tells_them() -> Result<()> {
    require_privileges!();
    require!(gnu_time());
    let lab = Lab::new()?;
    let dir = lab.dir().display().to_string();
    for arguments in [
        vec!["memtrace-no-such-command"],
        vec!["-v", "memtrace-no-such-command"],
        vec![dir.as_str()],
        vec!["-o", "/no/such/directory/file", "true"],
        vec![],
        vec!["--no-such-option", "true"],
        vec!["-f"],
    ] {
        let [(gnu, _), (ours, _)] = both(&lab, &arguments)?;
        assert_eq!(
            ours.code(),
            gnu.code(),
            "{arguments:?}: {} / {}",
            ours.stderr,
            gnu.stderr
        );
        let message = |text: &str| {
            let line = text.lines().next().unwrap_or_default();
            line.split_once(": ")
                .map_or(line, |(_, message)| message)
                .to_owned()
        };
        assert_eq!(message(&ours.stderr), message(&gnu.stderr), "{arguments:?}");
    }
    Ok(())
}

/// `%M` is the exact peak of the program itself, not what it inherited from its parent.
#[test]
fn maximum_resident_set_size_is_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let memtrace = memtrace()?.display().to_string();
    let peak = |words: &str| -> Result<u64> {
        let mut line = vec![memtrace.clone()];
        line.extend(["time", "-f", "%M"].map(str::to_owned));
        line.extend(lab.script(words));
        Ok(lab
            .to_end(&mut lab.fixed(&line))?
            .success()?
            .stderr
            .trim()
            .parse()?)
    };
    let kib = memtrace_tests::page() / 1024;
    let empty = peak("anon 00000")?;
    for pages in [1, 33, 100, 25600] {
        assert_eq!(peak(&format!("migrate {pages:05}"))? - empty, pages * kib);
    }
    Ok(())
}

/// Called by the name of `time` it is that program.
#[test]
fn a_link_named_time_is_gnu_time() -> Result<()> {
    require_privileges!();
    require!(gnu_time());
    let lab = Lab::new()?;
    let link = lab.path("time");
    std::os::unix::fs::symlink(memtrace()?, &link)?;
    let link = link.display().to_string();
    let finished = lab.to_end(&mut lab.fixed(&[&link, "-f", "%x", "sh", "-c", "exit 5"]))?;
    assert_eq!(finished.code(), Some(5));
    assert_eq!(
        finished.stderr,
        "Command exited with non-zero status 5\n5\n"
    );
    Ok(())
}
