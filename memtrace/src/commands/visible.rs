//! The command line as users are to see it, for what is made from it: completions and pages of
//! the manual. Generators of completions offer hidden commands and options like others.

use clap::{ArgGroup, Command, CommandFactory as _};

use crate::cli::Cli;

/// The command line without what is hidden.
pub(super) fn command_line() -> Command {
    let mut command = Cli::command();
    // Adds --help and --version, which it is told not to add once more below.
    command.build();
    without_hidden(&command)
}

/// clap can add to a command but not take away from it, so this makes a new one.
fn without_hidden(command: &Command) -> Command {
    let arguments = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let groups = command.get_groups().map(|group| {
        let members = arguments().map(clap::Arg::get_id);
        let members = members.filter(|id| group.get_args().any(|member| member == *id));
        ArgGroup::new(group.get_id().clone())
            .args(members.cloned().collect::<Vec<_>>())
            .multiple(true)
    });
    let subcommands = command
        .get_subcommands()
        .filter(|subcommand| !subcommand.is_hide_set());
    let mut visible = Command::new(command.get_name().to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(arguments().cloned())
        .groups(groups)
        .subcommands(subcommands.map(without_hidden));
    if let Some(about) = command.get_about() {
        visible = visible.about(about.clone());
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is hidden is gone, and nothing else.
    #[test]
    fn what_is_hidden_is_left_out() {
        fn compare(all: &Command, visible: &Command) -> usize {
            let mut hidden = 0;
            for argument in all.get_arguments() {
                let there = visible
                    .get_arguments()
                    .any(|other| other.get_id() == argument.get_id());
                assert_eq!(there, !argument.is_hide_set(), "{argument:?}");
                hidden += usize::from(!there);
            }
            for command in all.get_subcommands() {
                let name = command.get_name();
                match visible.find_subcommand(name) {
                    Some(other) => hidden += compare(command, other),
                    None => {
                        assert!(command.is_hide_set(), "{name}");
                        hidden += 1;
                    }
                }
            }
            hidden
        }
        let mut all = Cli::command();
        all.build();
        let visible = command_line();
        assert!(compare(&all, &visible) >= 4);
        visible.debug_assert();
    }
}
