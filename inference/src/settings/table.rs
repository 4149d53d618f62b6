//! The settings as a table for the documentation.

use std::fmt::Write as _;

use clap::{Arg, Args, Command};

use super::{PipelineSettings, ServeSettings};

/// Every setting of `ocr serve` as a Markdown document. `docs/settings.md` holds it; a test keeps the two equal.
#[must_use]
pub fn settings_table() -> String {
    let command = ServeSettings::augment_args(Command::new("serve"));
    let of_read = PipelineSettings::augment_args(Command::new("read"));
    let mut headings: Vec<_> =
        of_read.get_arguments().filter_map(Arg::get_help_heading).map(|one| format!("*{one}*")).collect();
    headings.dedup();
    let last = headings.pop().unwrap_or_default();
    let mut text = format!(
        "# Settings\n\n\
         Each setting of `ocr serve` is a flag and a variable; the flag wins. Those under {} and {last} are settings of \
         `ocr read` too. A variable that starts with `OCR_` and is not listed here stops the start, except those that \
         Kubernetes injects for Services.\n\n\
         This file is generated: `ocr docs settings > docs/settings.md`.\n",
        headings.join(", "),
    );
    let mut heading = "";
    for arg in command.get_arguments() {
        let group = arg.get_help_heading().unwrap_or("Options");
        if group != heading {
            heading = group;
            let _ = write!(text, "\n## {heading}\n\n| flag | variable | default | what |\n|---|---|---|---|\n");
        }
        let _ = writeln!(text, "{}", row(arg));
    }
    text
}

fn row(arg: &Arg) -> String {
    let value = arg.get_value_names().map_or_else(String::new, |names| names.join(" "));
    let flag = format!("`--{} {value}`", arg.get_long().unwrap_or_default());
    let variable = arg.get_env().map_or_else(String::new, |name| format!("`{}`", name.to_string_lossy()));
    let help = arg.get_help().map_or_else(String::new, ToString::to_string);
    // Defaults that are found at the start stand in the help's brackets.
    let (what, found) = match help.split_once(" [default: ") {
        Some((what, found)) => (what.to_owned(), Some(found.trim_end_matches(']').to_owned())),
        None => (help, None),
    };
    let set: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = found.unwrap_or_else(|| format!("`{}`", set.join(",")));
    format!("| {} | {variable} | {} | {} |", escape(&flag), escape(&default), escape(&what))
}

/// A bar would end the cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_variable_named_like_its_flag() {
        let command = ServeSettings::augment_args(Command::new("serve"));
        for arg in command.get_arguments() {
            let flag = arg.get_long().unwrap();
            let variable = format!("OCR_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().unwrap(), variable.as_str());
            assert!(arg.get_help().is_some(), "{flag} has no help");
        }
    }

    #[test]
    fn the_document_holds_the_generated_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == settings_table(), "run `ocr docs settings > docs/settings.md` and commit it");
    }
}
