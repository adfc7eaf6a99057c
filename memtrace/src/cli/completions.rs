//! Arguments of `memtrace completions`.

use clap::{Args, ValueEnum};

pub(crate) const NOTES: &str = "\
Where the script goes, for one user:
  bash        ~/.local/share/bash-completion/completions/memtrace
  zsh         _memtrace, in a directory of $fpath
  fish        ~/.config/fish/completions/memtrace.fish
  elvish      ~/.config/elvish/lib/memtrace.elv, and `use memtrace` in rc.elv
  powershell  a file that $PROFILE reads

Examples:
  memtrace completions bash > ~/.local/share/bash-completion/completions/memtrace
  source <(memtrace completions bash)       for this shell alone";

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: ShellArg,
}

/// Not the type of the crate that writes the scripts, which the fuzz targets need not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellArg {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}
