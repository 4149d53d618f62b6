//! `ocr` on the command line, run as a user runs it.

use std::{fs, process::ExitCode};

use anyhow::{Context, ensure};
use ocr_tests::{
    data::{self, PDF, PDF_PHRASE, SCAN, SCAN_PHRASE, Shared},
    pdf,
    program::{Run, command, run, run_with},
    suite::Suite,
};
use serde_json::Value;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.case("a_scan_and_a_pdf_are_read_to_text_in_order", scan_and_pdf);
    suite.case("json_is_a_document_with_its_fields", json);
    suite.case("ndjson_is_an_object_a_page_and_a_last_status", ndjson);
    suite.case("tsv_has_a_line_of_text_in_each_row", tsv);
    suite.case("a_file_that_fails_does_not_stop_the_others_and_the_exit_code_says_so", one_fails);
    suite.case("standard_input_is_read_for_a_dash", standard_input);
    suite.case("a_folder_is_read_in_the_order_of_its_names", folder);
    suite.case("only_the_pages_asked_for_are_read", pages);
    suite.case("pages_that_the_document_does_not_have_are_refused", pages_outside);
    suite.case("lines_below_the_confidence_asked_for_are_left_out", min_confidence);
    suite.case_with(Shared::find(), "an_encrypted_pdf_opens_with_the_password_of_a_file", |shared| password(&shared));
    suite.case("what_is_unknown_is_refused_with_what_there_is", unknown);
    suite.case("models_lists_the_bundles", models);
    suite.case("help_names_every_option", help);
    suite.run()
}

fn path(name: &str) -> String {
    data::example(name).display().to_string()
}

fn read_well(arguments: &[&str]) -> anyhow::Result<Run> {
    let run = run(["read"].iter().chain(arguments))?;
    ensure!(run.code == Some(0), "ocr read {arguments:?} ended with {:?}: {}", run.code, run.stderr);
    Ok(run)
}

/// The objects of an ndjson output: those of the pages, and the last.
fn objects(output: &str) -> anyhow::Result<(Vec<Value>, Value)> {
    let mut objects = output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).with_context(|| format!("not an object: {line}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let end = objects.pop().context("no output")?;
    Ok((objects, end))
}

fn scan_and_pdf() -> anyhow::Result<()> {
    let run = read_well(&[&path(SCAN), &path(PDF)])?;
    let scan = run.stdout.find(SCAN_PHRASE).with_context(|| format!("no {SCAN_PHRASE:?} in: {}", run.stdout))?;
    let pdf = run.stdout.find(PDF_PHRASE).with_context(|| format!("no {PDF_PHRASE:?} in: {}", run.stdout))?;
    ensure!(scan < pdf, "the PDF came first");
    println!("a scan and a PDF in {:.1} s", run.elapsed.as_secs_f64());
    Ok(())
}

fn json() -> anyhow::Result<()> {
    let run = read_well(&["--format", "json", &path(PDF)])?;
    let values: Vec<Value> =
        serde_json::Deserializer::from_str(&run.stdout).into_iter().collect::<Result<_, _>>().context("no JSON")?;
    // One document, by itself or in a list.
    let document = match values.first() {
        Some(Value::Array(documents)) => documents.first().cloned(),
        first => first.cloned(),
    };
    let document = document.context("no document")?;
    for field in [
        "success",
        "page_count",
        "text",
        "lines",
        "line_count",
        "avg_confidence",
        "processing_time_ms",
        "pages",
        "model",
    ] {
        ensure!(document.get(field).is_some_and(|value| !value.is_null()), "no {field} in {document}");
    }
    ensure!(document["page_count"] == 1 && document["pages"][0]["dpi"] == 150, "{document}");
    ensure!(document["text"].as_str().is_some_and(|text| text.contains(PDF_PHRASE)), "{document}");
    Ok(())
}

fn ndjson() -> anyhow::Result<()> {
    let run = read_well(&["--format", "ndjson", &path(PDF), &path(SCAN), &path(PDF)])?;
    let (pages, end) = objects(&run.stdout)?;
    let files: Vec<String> = pages.iter().map(|page| page["file"].as_str().unwrap_or_default().to_owned()).collect();
    ensure!(files == [path(PDF), path(SCAN), path(PDF)], "{files:?}");
    for page in &pages {
        ensure!(page["page"] == 1 && page["success"] == true, "{page}");
        ensure!(page["processing_time_ms"].is_u64(), "{page}");
        let line = &page["lines"][0];
        ensure!(line["text"].is_string() && line["confidence"].is_f64(), "{line}");
        ensure!(line["bbox"].as_array().is_some_and(|points| points.len() == 4), "{line}");
    }
    ensure!(end["status"] == "done" && end["success"] == true && end["pages"] == 3 && end["failed"] == 0, "{end}");
    Ok(())
}

fn tsv() -> anyhow::Result<()> {
    let run = read_well(&["--format", "tsv", &path(SCAN)])?;
    let rows: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split('\t').collect()).collect();
    let columns = rows.first().context("no output")?.len();
    ensure!(columns >= 3, "{columns} columns");
    ensure!(rows.iter().all(|row| row.len() == columns), "rows differ in their columns");
    ensure!(rows.iter().any(|row| row.iter().any(|field| field.contains(SCAN_PHRASE))), "{}", run.stdout);
    Ok(())
}

fn one_fails() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let broken = folder.path().join("broken.png");
    fs::write(&broken, b"\x89PNG\r\n\x1a\nbroken")?;
    let broken = broken.display().to_string();
    let run = run(["read", "--format", "ndjson", "no-such-file.jpg", &broken, &path(SCAN)])?;
    ensure!(run.code == Some(1), "ended with {:?}: {}", run.code, run.stderr);
    let (pages, end) = objects(&run.stdout)?;
    let good: Vec<&Value> = pages.iter().filter(|page| page["success"] == true).collect();
    ensure!(good.len() == 1 && good[0]["file"] == path(SCAN), "{}", run.stdout);
    ensure!(end["success"] == false && end["failed"] == 2, "{end}");
    let said = format!("{}{}", run.stdout, run.stderr);
    ensure!(said.contains("no-such-file.jpg") && said.contains("broken.png"), "{said}");
    ensure!(said.contains("undecodable"), "{said}");
    Ok(())
}

fn standard_input() -> anyhow::Result<()> {
    let run = run_with(command(["read", "-"]), Some(data::read(data::example(SCAN))?))?;
    ensure!(run.code == Some(0), "ended with {:?}: {}", run.code, run.stderr);
    ensure!(run.stdout.contains(SCAN_PHRASE), "{}", run.stdout);
    Ok(())
}

fn folder() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fs::copy(data::example(SCAN), folder.path().join("b.jpg"))?;
    fs::copy(data::example(PDF), folder.path().join("a.pdf"))?;
    let run = read_well(&["--format", "ndjson", &folder.path().display().to_string()])?;
    let (pages, _) = objects(&run.stdout)?;
    let names: Vec<&str> = pages.iter().filter_map(|page| page["file"].as_str()?.rsplit('/').next()).collect();
    ensure!(names == ["a.pdf", "b.jpg"], "{names:?}");
    Ok(())
}

/// A PDF of five pages, in a folder that is removed when dropped.
fn five_pages() -> anyhow::Result<(tempfile::TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("five.pdf");
    let pages: Vec<Vec<String>> = (1..=5).map(|page| vec![format!("This is sheet {page} of five")]).collect();
    fs::write(&path, pdf::text_pages(&pages))?;
    Ok((folder, path.display().to_string()))
}

fn pages() -> anyhow::Result<()> {
    let (_folder, five) = five_pages()?;
    let run = read_well(&["--format", "ndjson", "--pages", "2-3,5", &five])?;
    let (pages, _) = objects(&run.stdout)?;
    let read: Vec<(u64, String)> = pages
        .iter()
        .map(|page| {
            (page["page"].as_u64().unwrap_or_default(), page["text"].as_str().unwrap_or_default().trim().to_owned())
        })
        .collect();
    let expected = [2, 3, 5].map(|page| (page, format!("This is sheet {page} of five")));
    ensure!(read == expected, "{read:?}");
    Ok(())
}

fn pages_outside() -> anyhow::Result<()> {
    let (_folder, five) = five_pages()?;
    let run = run(["read", "--pages", "4-9", &five])?;
    ensure!(run.code == Some(1), "ended with {:?}", run.code);
    ensure!(run.stderr.contains('5') && run.stderr.contains("page"), "{}", run.stderr);
    let malformed = ocr_tests::program::run(["read", "--pages", "3-1", &five])?;
    ensure!(malformed.code == Some(2) && malformed.stderr.contains("3-1"), "{:?} {}", malformed.code, malformed.stderr);
    Ok(())
}

fn min_confidence() -> anyhow::Result<()> {
    let all = read_well(&["--format", "tsv", &path(SCAN)])?.stdout.lines().count();
    let sure = read_well(&["--format", "tsv", "--min-confidence", "0.99", &path(SCAN)])?.stdout.lines().count();
    ensure!(sure < all, "{sure} of {all} lines");
    Ok(())
}

fn password(shared: &Shared) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    fs::write(&right, "test\n")?;
    fs::write(&wrong, "guess")?;
    let encrypted = shared.path("data/pdf/issue15893_reduced.pdf").display().to_string();
    let without = run(["read", &encrypted])?;
    ensure!(without.code == Some(1) && without.stderr.contains("--password-file"), "{}", without.stderr);
    let with_wrong = run(["read", "--password-file", &wrong.display().to_string(), &encrypted])?;
    ensure!(with_wrong.code == Some(1) && with_wrong.stderr.contains("password"), "{}", with_wrong.stderr);
    ensure!(!with_wrong.stderr.contains("guess"), "the password is repeated: {}", with_wrong.stderr);
    read_well(&["--password-file", &right.display().to_string(), &encrypted])?;
    Ok(())
}

fn unknown() -> anyhow::Result<()> {
    let scan = path(SCAN);
    for (arguments, bits) in [
        (vec!["read", "--model", "no-such-model", &scan], vec!["no-such-model", "pp-ocrv6-small"]),
        (vec!["read", "--format", "docx", &scan], vec!["docx", "ndjson"]),
        (vec!["read", "--orientation", "45", &scan], vec!["45", "auto"]),
        (vec!["read", "--languages", "tlh", &scan], vec!["tlh", "en"]),
        (vec!["read", "--strategies", "gpu", &scan], vec!["\"gpu\" is none of gpu-fp16, gpu-int8, cpu"]),
        (vec!["read", "--strategies", "cpu,cpu", &scan], vec!["cpu is named twice"]),
        (vec!["read", "--strategies", "", &scan], vec!["names no strategy; name some of gpu-fp16, gpu-int8, cpu"]),
        (vec!["read", "--colour", &scan], vec!["--colour"]),
        (vec!["reed", &scan], vec!["reed", "read"]),
        (vec!["read"], vec!["FILE"]),
    ] {
        let run = run(&arguments)?;
        ensure!(run.code.is_some_and(|code| code != 0), "{arguments:?} succeeded");
        ensure!(run.stdout.is_empty(), "{arguments:?} wrote {}", run.stdout);
        for bit in bits {
            ensure!(run.stderr.contains(bit), "{arguments:?}: no {bit:?} in: {}", run.stderr);
        }
    }
    Ok(())
}

fn models() -> anyhow::Result<()> {
    let run = run(["models"])?;
    ensure!(run.code == Some(0), "{}", run.stderr);
    for bundle in ["pp-ocrv6-small", "pp-ocrv6-tiny", "pp-ocrv5-mobile", "pp-ocrv4-mobile"] {
        ensure!(run.stdout.contains(bundle), "no {bundle} in: {}", run.stdout);
    }
    Ok(())
}

fn help() -> anyhow::Result<()> {
    for (arguments, bits) in [
        (vec!["--help"], vec!["read", "serve", "models"]),
        (
            vec!["read", "--help"],
            vec![
                "--format",
                "--pages",
                "--model",
                "--orientation",
                "--dpi",
                "--password-file",
                "--min-confidence",
                "ndjson",
            ],
        ),
        (vec!["serve", "--help"], vec!["--port", "--admin-port", "8100", "8101", "OCR_PORT"]),
        (vec!["--version"], vec!["ocr "]),
    ] {
        let run = run(&arguments)?;
        ensure!(run.code == Some(0), "{arguments:?}: {}", run.stderr);
        for bit in bits {
            ensure!(run.stdout.contains(bit), "{arguments:?}: no {bit:?} in: {}", run.stdout);
        }
        ensure!(!run.stdout.contains("decode-worker"), "{arguments:?} shows what is hidden");
    }
    Ok(())
}
