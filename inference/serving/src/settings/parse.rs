//! Command line and environment into settings, with errors that name the variable.

use std::ffi::OsString;

use clap::{
    ArgMatches, Command, Parser,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{EnvironmentError, check_environment};

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A bad value or flag. Also how `--help` and `--version` come back.
    #[error("{error}{}", note(.variable.as_deref()))]
    Line { error: Box<clap::Error>, variable: Option<String> },
}

fn note(variable: Option<&str>) -> String {
    variable.map_or_else(String::new, |variable| format!("\nThe value comes from the variable {variable}.\n"))
}

impl SettingsError {
    /// True where this is no error but the help or the version that was asked for.
    #[must_use]
    pub fn is_help(&self) -> bool {
        matches!(self, Self::Line { error, .. } if matches!(error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion))
    }

    /// In one line: what a termination message has room for.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Environment(error) => error.to_string(),
            Self::Line { error, variable } => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                let first = first.strip_prefix("error: ").unwrap_or(first);
                variable.as_ref().map_or_else(|| first.to_owned(), |variable| format!("{variable}: {first}"))
            }
        }
    }

    /// Shows the error, or the help that was asked for, as people know it from other programs.
    pub fn print(&self) {
        match self {
            Self::Environment(error) => eprintln!("error: {error}"),
            Self::Line { error, variable } => {
                // Where the terminal is gone there is nobody to tell.
                let _ = error.print();
                eprint!("{}", note(variable.as_deref()));
            }
        }
    }
}

/// Reads the program's own command line and environment.
///
/// # Errors
/// Where a variable is unknown, or a flag or value is bad.
pub fn parse<C: Parser>() -> Result<C, SettingsError> {
    try_parse_from(std::env::args_os())
}

/// Reads a command line, together with the program's environment.
///
/// # Errors
/// Where a variable is unknown, or a flag or value is bad.
pub fn try_parse_from<C: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<C, SettingsError> {
    let command = C::command();
    let shadowed = check_environment(std::env::vars_os(), &variables(&command))?;
    // What Kubernetes injects for a Service `ocr` must not be taken for a setting.
    let mut command = without_variables(command, &shadowed);
    let line = |error: clap::Error, command: &Command| SettingsError::Line {
        variable: variable_of(&error, command),
        error: Box::new(error),
    };
    let matches: ArgMatches = command.try_get_matches_from_mut(arguments).map_err(|error| line(error, &command))?;
    C::from_arg_matches(&matches).map_err(|error| line(error.format(&mut command), &command))
}

/// The variables of a command and its sub-commands.
fn variables(command: &Command) -> Vec<String> {
    let mut names: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_env())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.extend(command.get_subcommands().flat_map(variables));
    names.sort();
    names.dedup();
    names
}

/// The command without the variables named, in it and its sub-commands.
fn without_variables(command: Command, names: &[String]) -> Command {
    if names.is_empty() {
        return command;
    }
    command
        .mut_args(|arg| {
            let is_named = arg.get_env().is_some_and(|env| names.iter().any(|name| env == name.as_str()));
            if is_named { arg.env(Resettable::Reset) } else { arg }
        })
        .mut_subcommands(|sub| without_variables(sub, names))
}

/// The variable that the value complained of comes from, where it comes from one.
fn variable_of(error: &clap::Error, command: &Command) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else { return None };
    // The flag alone: what follows it in the message is the value's name.
    let flag = argument.split([' ', '=', '[']).next().and_then(|flag| flag.strip_prefix("--"))?;
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        for arg in command.get_arguments().filter(|arg| arg.get_long() == Some(flag)) {
            let Some(name) = arg.get_env() else { continue };
            let set = std::env::var_os(name).map(|set| set.to_string_lossy().into_owned());
            // A list is complained of by the one value that is bad.
            if set.is_some_and(|set| set == *value || set.split(',').any(|part| part == value)) {
                return Some(name.to_string_lossy().into_owned());
            }
        }
    }
    None
}
