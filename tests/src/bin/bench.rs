//! Ours over HTTP beside other programs that read with the same models, over the shared receipts, one page at a time.
//!
//! The contestants take turns, round by round, in an order that moves on each round, so that a machine that becomes
//! slower does so for all of them. Compared are ratios within a round.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use ocr_tests::{
    data::{self, Shared, repository},
    memory::{Sampler, megabytes, tree_cpu_seconds},
    score::WordScore,
    server::{Options, Server},
};

const USAGE: &str = "usage: bench [--ocr PROGRAM] [--pages N] [--rounds N] [--without ours|oar-ocr|RapidOCR]...";

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse(std::env::args().skip(1))?;
    let shared = Shared::find().map_err(|reason| anyhow::anyhow!("the bench reads the shared receipts: {reason}"))?;
    let mut receipts = shared.receipts()?;
    receipts.truncate(settings.pages);
    let folder = pages_with_warm_up(&receipts)?;
    let mut contestants = contestants(&settings, folder.path())?;

    let mut rounds: Vec<Vec<(usize, Round)>> = Vec::new();
    for number in 0..settings.rounds {
        let mut round = Vec::new();
        for turn in 0..contestants.len() {
            let index = (turn + number) % contestants.len();
            let result = contestants[index].run(&receipts).with_context(|| contestants[index].name())?;
            eprintln!(
                "round {}/{}: {} {:.3} s a page",
                number + 1,
                settings.rounds,
                contestants[index].name(),
                result.seconds / count(receipts.len())
            );
            round.push((index, result));
        }
        rounds.push(round);
    }
    report(&shared, &receipts, &contestants, &rounds)
}

struct Settings {
    pages: usize,
    rounds: usize,
    without: Vec<String>,
}

impl Settings {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut settings = Self { pages: 80, rounds: 5, without: Vec::new() };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().context(USAGE)?;
            match flag.as_str() {
                "--ocr" => ocr_tests::program::use_binary(PathBuf::from(value)),
                "--pages" => settings.pages = value.parse().context(USAGE)?,
                "--rounds" => settings.rounds = value.parse().context(USAGE)?,
                "--without" => settings.without.push(value),
                _ => bail!(USAGE),
            }
        }
        ensure!(settings.pages > 0 && settings.rounds > 0, USAGE);
        Ok(settings)
    }
}

/// What a contestant did in one round.
struct Round {
    /// Seconds of all pages, the warm-up left out.
    seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
    /// Texts, in the order of the pages.
    texts: Vec<String>,
    /// As `score_receipts.py` reads it.
    tsv: String,
}

enum Contestant {
    Ours(Box<Server>),
    /// A program that reads a folder and prints `file<TAB>seconds<TAB>text` for each page.
    Program {
        name: &'static str,
        command: Box<dyn Fn() -> Command>,
    },
}

impl Contestant {
    fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "ours",
            Self::Program { name, .. } => name,
        }
    }

    fn run(&mut self, receipts: &[PathBuf]) -> anyhow::Result<Round> {
        match self {
            Self::Ours(server) => ours(server, receipts),
            Self::Program { command, .. } => program(command(), receipts.len()),
        }
    }
}

fn ours(server: &Server, receipts: &[PathBuf]) -> anyhow::Result<Round> {
    server.api().read(data::read(&receipts[0])?)?;
    let sampler = Sampler::start(server.pid());
    let cpu = tree_cpu_seconds(server.pid())?;
    let (mut seconds, mut texts, mut tsv) = (0.0, Vec::new(), Vec::new());
    for receipt in receipts {
        let bytes = data::read(receipt)?;
        let sent = Instant::now();
        let document = server.api().read(bytes)?;
        let took = sent.elapsed().as_secs_f64();
        seconds += took;
        let text = document.text.replace(['\t', '\n', '\u{c}'], " ");
        writeln!(tsv, "{}\t{took:.4}\t{text}", data::name(receipt))?;
        texts.push(text);
    }
    Ok(Round {
        seconds,
        cpu_seconds: tree_cpu_seconds(server.pid())? - cpu,
        peak_bytes: sampler.peak()?,
        texts,
        tsv: String::from_utf8(tsv)?,
    })
}

/// The page of the warm-up comes first in the folder, and is left out of all but CPU and memory.
fn program(mut command: Command, pages: usize) -> anyhow::Result<Round> {
    let child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().context("cannot start")?;
    let sampler = Sampler::start(child.id());
    let output = child.wait_with_output().context("cannot wait")?;
    ensure!(output.status.success(), "ended with {}", output.status);
    let rows: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().skip(1).map(str::to_owned).collect();
    ensure!(rows.len() == pages, "read {} of {pages} pages", rows.len());
    let (mut seconds, mut texts) = (0.0, Vec::new());
    for row in &rows {
        let mut fields = row.splitn(3, '\t').skip(1);
        seconds += fields.next().context("a row without seconds")?.parse::<f64>().context("a row without seconds")?;
        texts.push(fields.next().unwrap_or_default().to_owned());
    }
    let cpu_seconds = sampler.last_cpu_seconds()?;
    Ok(Round { seconds, cpu_seconds, peak_bytes: sampler.peak()?, texts, tsv: rows.join("\n") + "\n" })
}

/// A folder with the pages, and before them one of them for the warm-up.
fn pages_with_warm_up(receipts: &[PathBuf]) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("no folder for the pages")?;
    let first = receipts.first().context("no receipts")?;
    std::os::unix::fs::symlink(first, folder.path().join("000-warm-up.jpg"))?;
    for receipt in receipts {
        std::os::unix::fs::symlink(receipt, folder.path().join(data::name(receipt)))?;
    }
    Ok(folder)
}

fn contestants(settings: &Settings, folder: &Path) -> anyhow::Result<Vec<Contestant>> {
    let wanted = |name: &str| !settings.without.iter().any(|without| without == name);
    let peers = repository().join("target/peers");
    let shared = Shared::find().map_err(anyhow::Error::msg)?;
    let mut contestants = Vec::new();
    if wanted("ours") {
        contestants.push(Contestant::Ours(Box::new(Server::start(&Options::new())?)));
    }
    if wanted("oar-ocr") {
        let program = peers.join("peer-oar");
        ensure!(program.is_file(), "no {}; make peers builds it", program.display());
        let (peers, folder) = (peers.clone(), folder.to_owned());
        contestants.push(Contestant::Program {
            name: "oar-ocr",
            command: Box::new(move || {
                let mut command = Command::new(&program);
                let models = peers.join("models");
                command.args([
                    models.join("det.onnx"),
                    models.join("rec.onnx"),
                    models.join("dict.txt"),
                    folder.clone(),
                ]);
                command.env("LD_LIBRARY_PATH", peers.join("onnxruntime"));
                command
            }),
        });
    }
    if wanted("RapidOCR") {
        let python = data::rapidocr_python().map_err(anyhow::Error::msg)?;
        let (script, folder) = (shared.path("peers/rapid.py"), folder.to_owned());
        contestants.push(Contestant::Program {
            name: "RapidOCR",
            command: Box::new(move || {
                let mut command = Command::new(&python);
                command.arg(&script).arg(&folder).arg("nocls");
                command
            }),
        });
    }
    Ok(contestants)
}

fn report(
    shared: &Shared,
    receipts: &[PathBuf],
    contestants: &[Contestant],
    rounds: &[Vec<(usize, Round)>],
) -> anyhow::Result<()> {
    let pages = count(receipts.len());
    let of = |index: usize| rounds.iter().flatten().filter(move |(of, _)| *of == index).map(|(_, round)| round);
    let rate = |round: &Round| pages / round.seconds;
    println!("pages {}, one at a time, {} rounds; median (lowest to highest)", receipts.len(), rounds.len());
    for (index, contestant) in contestants.iter().enumerate() {
        let last = of(index).next_back().context("no round")?;
        let mut score = WordScore::default();
        for (receipt, text) in receipts.iter().zip(&last.texts) {
            score.add(&shared.receipt_truth(receipt)?, text);
        }
        let peak = of(index).map(|round| round.peak_bytes).max().unwrap_or_default();
        println!(
            "{:<9} pages {}  pages/s {}  word F1 {:.4}  CPU s a page {}  peak PSS {:.0} MB",
            contestant.name(),
            score.pages,
            spread(of(index).map(rate).collect()),
            score.f1(),
            spread(of(index).map(|round| round.cpu_seconds / pages).collect()),
            megabytes(peak)
        );
        score_by_script(shared, contestant.name(), &last.tsv)?;
    }
    let Some(ours) = contestants.iter().position(|contestant| contestant.name() == "ours") else { return Ok(()) };
    for (index, contestant) in contestants.iter().enumerate().filter(|(index, _)| *index != ours) {
        let ratios = of(ours).zip(of(index)).map(|(ours, theirs)| rate(ours) / rate(theirs)).collect();
        println!("ours / {}: {} x the pages a second, in the same round", contestant.name(), spread(ratios));
    }
    Ok(())
}

/// The shared script's own line, so that nobody has to trust our copy of its arithmetic.
fn score_by_script(shared: &Shared, name: &str, tsv: &str) -> anyhow::Result<()> {
    let folder = repository().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{name}.tsv"));
    fs::write(&file, tsv).with_context(|| format!("cannot write {}", file.display()))?;
    let output = Command::new("python3")
        .arg(shared.path("tools/score_receipts.py"))
        .arg(shared.path("data/receipts/box"))
        .stdin(fs::File::open(&file)?)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run python3")?;
    ensure!(output.status.success(), "score_receipts.py ended with {}", output.status);
    print!("          ");
    std::io::stdout().write_all(&output.stdout)?;
    Ok(())
}

/// `median (lowest to highest)`
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let [Some(lowest), Some(highest)] = [values.first(), values.last()] else { return "none".to_owned() };
    // Of an even number the mean of the two in the middle.
    let median = f64::midpoint(values[values.len() / 2], values[(values.len() - 1) / 2]);
    format!("{median:.3} ({lowest:.3} to {highest:.3})")
}

#[expect(clippy::cast_precision_loss, reason = "a count of pages")]
fn count(pages: usize) -> f64 {
    pages as f64
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert_eq!(spread(vec![4.0, 1.0, 2.0]), "2.000 (1.000 to 4.000)");
        assert_eq!(spread(vec![4.0, 1.0]), "2.500 (1.000 to 4.000)");
        assert_eq!(spread(Vec::new()), "none");
    }
}
