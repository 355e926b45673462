//! What is made from the definition of a command line: shell completions, man pages, the reference of the options.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Arg, Command};

use super::program::Failure;

/// What to make.
#[derive(Debug, Clone, clap::Args)]
pub struct ManualArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// Print the completions for a shell: `… manual completions bash > /etc/bash_completion.d/…`
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages of the program and its commands into a folder, which is made if it is missing
    Man {
        /// The folder.
        folder: PathBuf,
    },
    /// Print the reference of all commands and options in Markdown
    Reference,
}

/// Makes it for a command line.
///
/// # Errors
/// [`Failure::Run`] when the output or the folder cannot be written.
pub fn run(args: &ManualArgs, mut command: Command) -> Result<(), Failure> {
    let name = command.get_name().to_owned();
    let mut made = Vec::new();
    match &args.what {
        What::Completions { shell } => {
            clap_complete::generate(*shell, &mut command, name, &mut made);
        }
        What::Man { folder } => {
            std::fs::create_dir_all(folder)
                .and_then(|()| clap_mangen::generate_to(command, folder))
                .map_err(|error| {
                    Failure::run(format!(
                        "cannot write man pages to {}: {error}",
                        folder.display()
                    ))
                })?;
        }
        What::Reference => made = reference(command).into_bytes(),
    }
    match io::stdout().lock().write_all(&made) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
        _ => Ok(()),
    }
}

/// All commands with their options, in Markdown.
pub fn reference(mut command: Command) -> String {
    command.build();
    let name = command.get_name().to_owned();
    let mut text = format!("# {name}\n\n");
    text.push_str(
        "Generated from the program's command line; a test compares both. The variable of an option sets that option. \
         The options of `run` are also keys of the configuration file (`docs/config`).\n",
    );
    describe(&mut text, &name, &command, &[]);
    text
}

/// `known` are the options of `run`, where the command beside it has them all too.
fn describe(text: &mut String, path: &str, command: &Command, known: &[&str]) {
    let _ = write!(text, "\n## `{path}`\n\n");
    let about = command.get_long_about().or(command.get_about());
    if let Some(about) = about {
        let _ = writeln!(text, "{about}\n");
    }
    let positionals: Vec<_> = command.get_positionals().collect();
    if !positionals.is_empty() {
        text.push_str("| argument | what it is |\n|---|---|\n");
        for argument in positionals {
            let _ = writeln!(text, "| `{}` | {} |", values(argument), help(argument));
        }
        text.push('\n');
    }
    let options: Vec<_> = command
        .get_arguments()
        .filter(|argument| !argument.is_positional() && !argument.is_hide_set())
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        .filter(|argument| {
            !argument
                .get_long()
                .is_some_and(|long| known.contains(&long))
        })
        .collect();
    if !known.is_empty() {
        text.push_str("Takes the options of `run` too.\n\n");
    }
    if !options.is_empty() {
        text.push_str("| option | variable | what it does |\n|---|---|---|\n");
        for argument in options {
            let variable = argument
                .get_env()
                .map(|name| format!("`{}`", name.to_string_lossy()))
                .unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{}` | {variable} | {} |",
                flag(argument),
                help(argument)
            );
        }
    }
    let run = command
        .find_subcommand("run")
        .map(flags)
        .unwrap_or_default();
    for child in command.get_subcommands() {
        if child.get_name() != "help" && !child.is_hide_set() {
            let own = flags(child);
            let has_all = child.get_name() != "run" && run.iter().all(|flag| own.contains(flag));
            let known: &[&str] = if has_all { &run } else { &[] };
            describe(text, &format!("{path} {}", child.get_name()), child, known);
        }
    }
}

/// Long flags of a command.
fn flags(command: &Command) -> Vec<&str> {
    command
        .get_arguments()
        .filter(|argument| argument.get_id() != "help")
        .filter_map(Arg::get_long)
        .collect()
}

/// `--flag VALUE`
fn flag(argument: &Arg) -> String {
    let mut text = match (argument.get_long(), argument.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long}"),
        (Some(long), None) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => argument.get_id().to_string(),
    };
    if argument.get_action().takes_values() {
        let _ = write!(text, " {}", values(argument));
    }
    text
}

fn values(argument: &Arg) -> String {
    argument.get_value_names().map_or_else(
        || argument.get_id().to_string().to_uppercase(),
        |names| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            names.join(" ")
        },
    )
}

/// In one line, with the values that are possible.
fn help(argument: &Arg) -> String {
    let mut text = argument
        .get_long_help()
        .or(argument.get_help())
        .map(ToString::to_string)
        .unwrap_or_default()
        .replace('\n', " ");
    let possible: Vec<_> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {help}", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    let is_choice = argument.get_action().takes_values() && !possible.is_empty();
    if is_choice && possible != ["`true`", "`false`"] {
        let _ = write!(text, ". One of: {}", possible.join("; "));
    }
    text.replace('|', "\\|")
}
