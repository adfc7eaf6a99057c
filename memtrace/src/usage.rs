//! What to do about a command line that is wrong.

use std::ffi::OsString;

use clap::{
    CommandFactory as _,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};
use memtrace::report::escape::command_line;

use crate::cli::Cli;

/// Words of the command that are repeated in the advice.
const WORDS: usize = 4;

/// Adds how to run a command to the message about a word that is no subcommand. Most who write
/// `memtrace ls` mean the program.
pub(crate) fn advise(mut error: Error, words: &[OsString]) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    forget_hidden(&mut error);
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return error;
    }
    // Options before it would not be the program's; and who asks for help does not run anything.
    let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    let Some(first) = words.first().filter(|word| !is_option(word)) else {
        return error;
    };
    if words.get(1).is_some_and(|word| word == "--help") {
        return error;
    }
    if let Some(meant) = twisted(first) {
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::String(meant),
        );
        return error;
    }
    let shown: Vec<Vec<u8>> = words
        .iter()
        .take(WORDS)
        .map(|word| word.as_encoded_bytes().to_vec())
        .collect();
    let more = if words.len() > WORDS { " ..." } else { "" };
    let advice = format!(
        "to measure a command, write: memtrace run -- {}{more}",
        command_line(&shown)
    );
    error.insert(
        ContextKind::Suggested,
        ContextValue::StyledStrs(vec![advice.into()]),
    );
    error
}

/// clap finds hidden subcommands similar, too.
fn forget_hidden(error: &mut Error) {
    let Some(ContextValue::Strings(mut names)) = error.remove(ContextKind::SuggestedSubcommand)
    else {
        return;
    };
    let commands = Cli::command();
    names.retain(|name| {
        let found = commands.find_subcommand(name);
        found.is_some_and(|command| !command.is_hide_set())
    });
    if !names.is_empty() {
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(names),
        );
    }
}

/// The subcommand with the same letters in another order, which clap does not find similar
/// where they are few.
fn twisted(word: &OsString) -> Option<String> {
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    let word = letters(word.to_str()?);
    let commands = Cli::command();
    let meant = commands
        .get_subcommands()
        .find(|command| letters(command.get_name()) == word)?;
    Some(meant.get_name().to_owned())
}
