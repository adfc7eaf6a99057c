//! Ways to run a command: alone, with memtrace, with its peers.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;
use memtrace_tests::{Lab, memtrace, workloads};

use crate::{once, results::ToolUse};

/// The name of a run without any tool.
pub(crate) const UNTRACED: &str = "untraced";
/// The name of memtrace.
pub(crate) const MEMTRACE: &str = "memtrace run";
/// The name of memtrace when it records.
pub(crate) const RECORDING: &str = "memtrace run -o FILE";
/// The name of memtrace when it records every change.
const EVERY_CHANGE: &str = "memtrace run -o FILE --resolution 0";
/// The name of memtrace when it sees the end of every system call.
const VM_EVENTS: &str = "memtrace run --vm-events";
/// The name of memtrace when it tells apart what pages are for.
const SEGMENTS: &str = "memtrace run --segments";
/// The name of memtrace when it records calls that change mappings.
const EVENTS: &str = "memtrace run --events -o FILE";
/// The name of GNU time.
pub(crate) const GNU_TIME: &str = "/usr/bin/time -v";

/// What `bpftrace` is asked to do: the peak of each counter of each process, the nearest it has
/// to memtrace's result.
const BPFTRACE: &str =
    "tracepoint:kmem:rss_stat /args->curr/ { @peak[pid, args->member] = max(args->size); }";

/// How a tool takes the command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Takes {
    /// As words after its own.
    Words,
    /// As one word for a shell, before further words of its own.
    Quoted(Vec<String>),
    /// As one word that is split at spaces.
    Joined,
}

/// One way to run a command.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    /// As in the tables.
    pub(crate) name: &'static str,
    prefix: Vec<String>,
    takes: Takes,
}

impl Tool {
    /// The whole command line for a command.
    pub(crate) fn line(&self, command: &[String]) -> Vec<String> {
        let mut line = self.prefix.clone();
        match &self.takes {
            Takes::Words => line.extend_from_slice(command),
            Takes::Joined => line.push(command.join(" ")),
            Takes::Quoted(suffix) => {
                let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
                line.push(words.join(" "));
                line.extend_from_slice(suffix);
            }
        }
        line
    }

    #[cfg(test)]
    pub(crate) fn fake(name: &'static str) -> Self {
        Self {
            name,
            prefix: Vec::new(),
            takes: Takes::Words,
        }
    }

    /// Whether it is neither memtrace nor nothing at all.
    pub(crate) fn is_peer(&self) -> bool {
        !self.is_memtrace() && self.name != UNTRACED
    }

    /// Whether it is memtrace, which says on standard error when a result is not exact.
    pub(crate) fn is_memtrace(&self) -> bool {
        self.name.starts_with("memtrace ")
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A tool that may not be installed.
struct Peer {
    name: &'static str,
    program: &'static str,
    package: &'static str,
    /// Whether budgets refer to it.
    quick: bool,
    words: &'static [&'static str],
    takes: Takes,
}

/// `FILE` stands for a file that the tool may write.
fn peers() -> Vec<Peer> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    vec![
        Peer {
            name: GNU_TIME,
            program: "time",
            package: "apt-get install time",
            quick: true,
            words: &["-v", "-o", "FILE"],
            takes: Takes::Words,
        },
        Peer {
            name: "perf stat -e kmem:rss_stat",
            program: "perf",
            package: "apt-get install linux-perf",
            quick: false,
            words: &["stat", "-e", "kmem:rss_stat", "-o", "FILE", "--"],
            takes: Takes::Words,
        },
        Peer {
            name: "perf record -e kmem:rss_stat",
            program: "perf",
            package: "apt-get install linux-perf",
            quick: false,
            words: &["record", "-q", "-e", "kmem:rss_stat", "-o", "FILE", "--"],
            takes: Takes::Words,
        },
        Peer {
            name: "bpftrace",
            program: "bpftrace",
            package: "apt-get install bpftrace",
            quick: false,
            words: &["-q", "-o", "FILE", "-e", BPFTRACE, "-c"],
            takes: Takes::Joined,
        },
        Peer {
            name: "psrecord",
            program: "psrecord",
            package: "pip install psrecord",
            quick: false,
            words: &[],
            takes: Takes::Quoted(words(&["--include-children", "--log", "FILE"])),
        },
        Peer {
            name: "strace -f -e trace=memory",
            program: "strace",
            package: "apt-get install strace",
            quick: false,
            words: &["-f", "-q", "-e", "trace=memory", "-o", "FILE", "--"],
            takes: Takes::Words,
        },
    ]
}

/// The tools that work here, the untraced run first, and what became of each.
pub(crate) fn available(lab: &Lab, quick: bool) -> Result<(Vec<Tool>, Vec<ToolUse>)> {
    let binary = memtrace()?.display().to_string();
    let output = lab.path("tool-output").display().to_string();
    let with = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let mut tools = vec![
        Tool {
            name: UNTRACED,
            prefix: Vec::new(),
            takes: Takes::Words,
        },
        Tool {
            name: MEMTRACE,
            prefix: with(&[&binary, "run", "-q", "--"]),
            takes: Takes::Words,
        },
        Tool {
            name: RECORDING,
            prefix: with(&[&binary, "run", "-q", "-o", &output, "--force", "--"]),
            takes: Takes::Words,
        },
        Tool {
            name: EVERY_CHANGE,
            prefix: with(&[
                &binary,
                "run",
                "-q",
                "-o",
                &output,
                "--force",
                "--resolution",
                "0",
                "--",
            ]),
            takes: Takes::Words,
        },
    ];
    if !quick {
        tools.push(Tool {
            name: VM_EVENTS,
            prefix: with(&[&binary, "run", "-q", "--vm-events", "--"]),
            takes: Takes::Words,
        });
        tools.push(Tool {
            name: SEGMENTS,
            prefix: with(&[&binary, "run", "-q", "--segments", "--"]),
            takes: Takes::Words,
        });
        tools.push(Tool {
            name: EVENTS,
            prefix: with(&[
                &binary, "run", "-q", "--events", "-o", &output, "--force", "--",
            ]),
            takes: Takes::Words,
        });
    }
    let mut uses: Vec<ToolUse> = tools.iter().map(|tool| used(tool, None)).collect();
    for peer in peers() {
        let found = find(peer.program);
        let program = found.as_deref().unwrap_or(Path::new(peer.program));
        let tool = tool(&peer, program, &output);
        let left_out = if quick && !peer.quick {
            Some("not part of --quick".to_owned())
        } else if found.is_none() {
            Some(format!("not installed; {}", peer.package))
        } else {
            let nothing = tool.line(&workloads::script("exit 0"));
            let tried = once::run(lab, &nothing, lab.dir());
            tried
                .err()
                .map(|error| format!("does not work here: {error:#}"))
        };
        uses.push(used(&tool, left_out.clone()));
        if left_out.is_none() {
            tools.push(tool);
        }
    }
    Ok((tools, uses))
}

fn tool(peer: &Peer, program: &Path, output: &str) -> Tool {
    let file = |word: &str| if word == "FILE" { output } else { word }.to_owned();
    let mut prefix = vec![program.display().to_string()];
    prefix.extend(peer.words.iter().map(|word| file(word)));
    let takes = match &peer.takes {
        Takes::Quoted(suffix) => Takes::Quoted(suffix.iter().map(|word| file(word)).collect()),
        other => other.clone(),
    };
    Tool {
        name: peer.name,
        prefix,
        takes,
    }
}

/// The line with the program's name instead of its path, and without the output's path.
fn used(tool: &Tool, left_out: Option<String>) -> ToolUse {
    let line = tool.line(&["COMMAND".to_owned()]);
    let name = |word: &String| match Path::new(word).file_name() {
        Some(name) if word.starts_with('/') => name.to_string_lossy().into_owned(),
        _ => word.clone(),
    };
    let words: Vec<String> = line.iter().map(name).collect();
    ToolUse {
        name: tool.name.to_owned(),
        line: words.join(" "),
        left_out,
    }
}

/// The path of an installed program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Takes, Tool, peers, quoted, tool};

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn commands_are_given_as_each_tool_takes_them() {
        let mut tool = Tool {
            name: "some tool",
            prefix: words(&["tool", "--"]),
            takes: Takes::Words,
        };
        let command = words(&["run", "it's", "}"]);
        assert_eq!(tool.line(&command), ["tool", "--", "run", "it's", "}"]);
        tool.takes = Takes::Joined;
        assert_eq!(tool.line(&command), ["tool", "--", "run it's }"]);
        tool.takes = Takes::Quoted(words(&["--log", "x"]));
        let line = tool.line(&command);
        assert_eq!(line, ["tool", "--", r"'run' 'it'\''s' '}'", "--log", "x"]);
    }

    #[test]
    fn a_shell_gets_each_word_as_it_is() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("'"), r"''\'''");
    }

    #[test]
    fn every_peer_writes_to_its_file() {
        for peer in peers() {
            let tool = tool(&peer, Path::new("/bin/peer"), "/tmp/out");
            let line = tool.line(&words(&["command"]));
            assert_eq!(line.iter().filter(|word| *word == "/tmp/out").count(), 1);
            assert!(!line.iter().any(|word| word == "FILE"), "{line:?}");
        }
    }
}
