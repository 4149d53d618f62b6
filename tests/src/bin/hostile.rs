//! Writes the hostile files to a folder, to look into one that a suite has named.
//!
//! usage: hostile FOLDER [SEED]

use std::{fs, path::PathBuf};

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("usage: hostile FOLDER [SEED]")?);
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse()).context("the seed is a number")?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for kind in ocr_tests::hostile::kinds(seed) {
        let path = folder.join(kind.name);
        fs::write(&path, &kind.bytes).with_context(|| format!("cannot write {}", path.display()))?;
        println!(
            "{:>9} bytes  {:<45} {:?}{}",
            kind.bytes.len(),
            kind.name,
            kind.expect,
            if kind.kills { ", kills" } else { "" }
        );
    }
    Ok(())
}
