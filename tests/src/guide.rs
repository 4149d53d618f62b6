//! What the documentation says is what the programs do.

use std::fs;

use ocr_api::ErrorCode;

use crate::data::repository;

fn page(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

#[test]
fn every_error_code_is_described_with_its_status() {
    let errors = page("docs/errors.md");
    let answers = errors.lines().take_while(|line| !line.starts_with("## "));
    let rows: Vec<&str> = answers.filter(|line| line.starts_with("| `")).collect();
    for code in ErrorCode::ALL {
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("{code} has no row"));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2], code.http_status().to_string(), "{code}");
        assert!(!cells[3].is_empty() && !cells[4].is_empty(), "{code}");
    }
    assert_eq!(rows.len(), ErrorCode::ALL.len(), "a row has no code");
}

#[test]
fn what_may_be_tried_again_is_said() {
    let errors = page("docs/errors.md");
    let line = errors.lines().find(|line| line.contains("worth another try")).unwrap();
    for code in ErrorCode::ALL {
        assert_eq!(line.contains(&format!("`{code}`")), code.is_retryable(), "{code}");
    }
}

#[test]
fn links_lead_to_files() {
    // Made by other parts of the workspace.
    let generated = ["settings.md"];
    for name in ["README.md", "docs/errors.md", "docs/operations.md"] {
        let path = repository().join(name);
        let text = page(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let elsewhere = link.starts_with("http") || generated.iter().any(|generated| link.ends_with(generated));
            assert!(elsewhere || path.parent().unwrap().join(link).exists(), "{name}: {link}");
        }
    }
}

#[test]
fn the_makefile_has_a_line_of_help_for_each_target() {
    let makefile = page("Makefile");
    for target in makefile.lines().filter_map(|line| line.strip_prefix(".PHONY: ")) {
        let help = makefile.lines().any(|line| line.starts_with(&format!("{target}:")) && line.contains(" ## "));
        assert!(help, "{target} has no help");
    }
}
