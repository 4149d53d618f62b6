//! The program `ocr`.

fn main() -> std::process::ExitCode {
    ocr_inference::cli::run()
}
