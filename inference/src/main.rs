//! The program `ocr`.

fn main() -> std::process::ExitCode {
    ocr_inference::allocator::give_back_large_blocks();
    ocr_inference::cli::run()
}
