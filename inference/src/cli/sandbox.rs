//! `ocr sandbox`: shows what a decode process can and cannot do on this machine.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use crate::decode::{
    PoolSettings,
    sandbox::{
        probe::Attack,
        prove::{greeting, prove},
    },
};

/// Prove on this machine that decoding a hostile document is harmless
///
/// Starts a decode process for each attack, has it make the attack, and prints what came of it. Exit code 1 if an
/// attack was let through.
#[derive(clap::Args, Debug)]
pub struct SandboxArgs {
    /// The PDF library
    #[arg(long, value_name = "FILE", env = "OCR_PDFIUM")]
    pdfium: Option<PathBuf>,
    /// Folder of fonts for PDFs that embed none
    #[arg(long, value_name = "DIR", env = "OCR_FONTS")]
    fonts: Option<PathBuf>,
}

impl SandboxArgs {
    /// Makes all attacks and prints the table.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.report(&mut io::stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                // Nobody is left to tell where stderr is closed.
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::from(2)
            }
        }
    }

    /// True where every attack was denied.
    fn report(self, out: &mut impl Write) -> anyhow::Result<bool> {
        let settings = PoolSettings { pdfium: self.pdfium, fonts: self.fonts, ..PoolSettings::default() };
        let hello = greeting(&settings)?;
        match hello.landlock_abi {
            Some(abi) => writeln!(out, "landlock  interface {abi}")?,
            None => writeln!(out, "landlock  not in this kernel; seccomp denies every opening of a file")?,
        }
        writeln!(out, "seccomp   {}", if hello.seccomp { "in force" } else { "not in force" })?;
        writeln!(out, "memory    {} MiB of address space", hello.address_space_bytes >> 20)?;
        writeln!(out)?;
        writeln!(out, "{:<12} {:<8} how", "attack", "outcome")?;
        let mut all_denied = true;
        for attack in Attack::ALL {
            let proof = prove(&settings, attack)?;
            all_denied &= proof.denied;
            let outcome = if proof.denied { "denied" } else { "ALLOWED" };
            writeln!(out, "{:<12} {outcome:<8} {}", attack.as_str(), proof.how)?;
        }
        Ok(all_denied)
    }
}
