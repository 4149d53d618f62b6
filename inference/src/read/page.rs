//! One page from pixels to its answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use ocr_api::{ErrorCode, ErrorDetail, Page};

use super::{Inner, ReadOptions, networks::Networks, stream::Way};
use crate::{
    assemble::{self, PageFacts, ReadLine},
    decode::{Bitmap, DecodedPage, Ticket},
    detect::{self, TextBox},
    engine::{Array, EngineError, Lane, Tensor},
    meter::{Purpose, Stage, UnitTally},
    plan::{self, Orientation, Turn},
    recognise::{self, Cut, LineFormat, Steps},
};

/// Lines of a page that are cut out together.
const CHUNK: usize = 16;
/// Chunks of a page in work: enough to keep every thread busy, few enough that a page of thousands of lines stays small.
const CHUNKS_IN_WORK: usize = 2;

/// Reads a page; one that cannot be read is a page with its error.
pub(super) async fn read(way: &Way, decoded: DecodedPage, page_number: u32) -> Page {
    let Way { reader, options, cancel } = way;
    let sheet = Decoded::new(decoded, page_number);
    let (width, height, dpi) = (sheet.bitmap.width(), sheet.bitmap.height(), sheet.dpi);
    let elapsed = sheet.elapsed;
    let page = async {
        let found = cancel.run_until_cancelled(lines_on_any(way, &sheet.bitmap)).await.ok_or(Fault::Cancelled)??;
        assembled(&reader.inner, &sheet, found, options).await
    };
    page.await.unwrap_or_else(|fault| {
        let mut page = failed(page_number, fault.into(), elapsed.milliseconds());
        (page.image_width, page.image_height, page.dpi) = (width, height, dpi);
        page
    })
}

/// Reads a page of our own with networks that are on trial.
///
/// # Errors
/// As they came: what a way of computing is passed over for depends on it.
pub(super) async fn try_out(
    inner: &Arc<Inner>,
    networks: &Arc<Networks>,
    decoded: DecodedPage,
    options: &ReadOptions,
) -> Result<Page, Fault> {
    let sheet = Decoded::new(decoded, 1);
    let found = lines(inner, networks, &sheet.bitmap, options).await?;
    assembled(inner, &sheet, found, options).await
}

/// A page that could not be read: the same shape, empty, with the reason.
pub(super) fn failed(page_number: u32, error: ErrorDetail, elapsed_ms: u64) -> Page {
    Page {
        page_number,
        success: false,
        error: Some(error),
        image_width: 0,
        image_height: 0,
        dpi: None,
        orientation: 0,
        processing_time_ms: elapsed_ms,
        text: String::new(),
        markdown: String::new(),
        html: String::new(),
        json_output: serde_json::Map::new(),
        lines: Vec::new(),
        line_count: 0,
        avg_confidence: 0.0,
        warnings: Vec::new(),
    }
}

/// A decoded page on its way to its answer.
struct Decoded {
    page_number: u32,
    bitmap: Arc<Bitmap>,
    dpi: Option<u32>,
    dpi_lowered: bool,
    elapsed: Elapsed,
    /// The page's memory is its own until it is read.
    _memory: Ticket,
}

/// The time that a page takes, with that of its decoding.
#[derive(Clone, Copy)]
struct Elapsed {
    started: Instant,
    decoding: Duration,
}

impl Elapsed {
    fn milliseconds(self) -> u64 {
        u64::try_from((self.started.elapsed() + self.decoding).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Decoded {
    fn new(decoded: DecodedPage, page_number: u32) -> Self {
        let DecodedPage { bitmap, dpi, dpi_lowered, elapsed_ms, memory } = decoded;
        let elapsed = Elapsed { started: Instant::now(), decoding: Duration::from_millis(elapsed_ms) };
        Self { page_number, bitmap: Arc::new(bitmap), dpi, dpi_lowered, elapsed, _memory: memory }
    }
}

/// What was found on a page.
struct Found {
    lines: Vec<ReadLine>,
    turn: Turn,
    boxes: usize,
}

/// A page that lines are cut from.
struct Sheet {
    networks: Arc<Networks>,
    bitmap: Arc<Bitmap>,
    turn: Turn,
    purpose: Purpose,
    tally: UnitTally,
}

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("a stage of the page panicked")]
    Panicked,
    #[error("cancelled")]
    Cancelled,
}

impl From<Fault> for ErrorDetail {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Cancelled | Fault::Engine(EngineError::Stopped) => {
                Self::new(ErrorCode::Cancelled, "the request was given up before this page was read")
            }
            Fault::Engine(error @ EngineError::OutOfMemory { .. }) => {
                tracing::error!(%error, "memory ran out under a page");
                Self::new(
                    ErrorCode::OutOfMemory,
                    "there is not enough memory to read this page; send fewer pixels, raise the server's memory limit, or \
                     set a smaller model",
                )
            }
            Fault::Engine(error) => {
                tracing::error!(%error, "the engine failed on a page");
                Self::new(
                    ErrorCode::Engine,
                    "the model could not be run on this page; send it again, and report it with the request id",
                )
            }
            Fault::Panicked => {
                tracing::error!("a stage of a page panicked");
                Self::new(ErrorCode::Internal, "the page met a fault of ours; report it with the request id")
            }
        }
    }
}

/// Finds the lines with the reader's networks. Where those fail for what they run on, and not for the page, the reader
/// steps down and the page is read again, so that whoever sent it gets an answer.
async fn lines_on_any(way: &Way, page: &Arc<Bitmap>) -> Result<Found, Fault> {
    let Way { reader, options, .. } = way;
    let inner = &reader.inner;
    let mut networks = inner.running().ok_or(EngineError::Closed)?;
    loop {
        let error = match lines(inner, &networks, page, options).await {
            Err(Fault::Engine(error)) if error.is_of_the_strategy() => error,
            other => return other,
        };
        networks = reader.step_down(&networks, &error).await.ok_or(Fault::Engine(error))?;
    }
}

/// Makes the page of what was found on it.
async fn assembled(inner: &Inner, sheet: &Decoded, found: Found, options: &ReadOptions) -> Result<Page, Fault> {
    let assembling = Instant::now();
    let facts = PageFacts {
        page_number: sheet.page_number,
        width: sheet.bitmap.width(),
        height: sheet.bitmap.height(),
        turn: found.turn,
        dpi: sheet.dpi,
        dpi_lowered: sheet.dpi_lowered,
        boxes_found: found.boxes,
        min_confidence: options.min_confidence,
        elapsed_ms: sheet.elapsed.milliseconds(),
    };
    let page = blocking(move || assemble::page(&found.lines, &facts)).await;
    inner.meter.stage(options.purpose, Stage::Assemble, assembling.elapsed());
    page
}

async fn lines(
    inner: &Arc<Inner>,
    networks: &Arc<Networks>,
    page: &Arc<Bitmap>,
    options: &ReadOptions,
) -> Result<Found, Fault> {
    let purpose = options.purpose;
    let _work = inner.meter.engine_work();
    let planning = Instant::now();
    let given = page;
    let page = &sized(inner, given).await?;
    let (width, height) = plan::detector_size(page.width(), page.height(), &inner.detector);
    let resized = {
        let page = Arc::clone(page);
        let resample = inner.detector.resample;
        blocking(move || Arc::new(detect::resized(&page, width, height, resample))).await?
    };
    let turn = match options.orientation {
        Orientation::Fixed(turn) => turn,
        Orientation::Auto => upright_by(inner, networks, &resized, purpose).await?,
    };
    let (tensor, content) = {
        let (normalise, shapes) = (inner.detector.normalise, networks.layout.shapes);
        blocking(move || {
            let turned = plan::turned(Arc::unwrap_or_clone(resized), turn);
            let (width, height) = (turned.width(), turned.height());
            let tensor = detect::padded(detect::input(&turned, &normalise), shapes.page((width, height)));
            (tensor, (width as usize, height as usize))
        })
        .await?
    };
    let map_width = tensor.shape[3];
    inner.meter.stage(purpose, Stage::Plan, planning.elapsed());

    let detecting = Instant::now();
    let outputs = networks.detect.submit(tensor, purpose)?.outputs().await?;
    let units = inner.cost.detect_megapixel * f64::from(width) * f64::from(height) / 1e6;
    inner.meter.worked(purpose, units);
    options.tally.add(units);

    // The page as the detector saw it: turned by quarters, its sides change places.
    let seen = |page: &Bitmap| match turn {
        Turn::None | Turn::Half => (page.width(), page.height()),
        Turn::Quarter | Turn::ThreeQuarters => (page.height(), page.width()),
    };
    let (page_width, page_height) = seen(page);
    let boxes = {
        let inner = Arc::clone(inner);
        blocking(move || {
            let map = outputs.first().and_then(Array::floats).and_then(|map| detect::cropped(map, map_width, content));
            map.map(|map| detect::boxes(&map, content.0, page_width, page_height, &inner.detector))
        })
        .await?
        .ok_or_else(|| EngineError::Output {
            network: "detect",
            expected: format!("one map, {map_width} wide"),
            found: "something else".to_owned(),
        })?
    };
    inner.meter.stage(purpose, Stage::Detect, detecting.elapsed());

    let recognising = Instant::now();
    let count = boxes.len();
    let sheet =
        Sheet { networks: Arc::clone(networks), bitmap: Arc::clone(page), turn, purpose, tally: options.tally.clone() };
    let mut lines = recognise_all(inner, &sheet, boxes).await?;
    for line in &mut lines {
        line.corners = plan::resampled_corners(line.corners, seen(page), seen(given));
    }
    inner.meter.stage(purpose, Stage::Recognise, recognising.elapsed());
    Ok(Found { lines, turn, boxes: count })
}

/// The page at the size that the bundle wants pages to have.
async fn sized(inner: &Arc<Inner>, page: &Arc<Bitmap>) -> Result<Arc<Bitmap>, Fault> {
    let Some(limits) = &inner.page_size else { return Ok(Arc::clone(page)) };
    let (width, height) = plan::page_size(page.width(), page.height(), limits);
    if (width, height) == (page.width(), page.height()) {
        return Ok(Arc::clone(page));
    }
    let page = Arc::clone(page);
    let resample = inner.detector.resample;
    blocking(move || Arc::new(detect::resized(&page, width, height, resample))).await
}

/// How the page must be turned to stand upright, by the model; not at all where it is not sure.
async fn upright_by(
    inner: &Arc<Inner>,
    networks: &Networks,
    page: &Arc<Bitmap>,
    purpose: Purpose,
) -> Result<Turn, Fault> {
    let (Some(lane), Some(model)) = (&networks.orientation, &inner.orientation) else { return Ok(Turn::None) };
    let (page, model) = (Arc::clone(page), model.clone());
    let threshold = model.threshold;
    let input = blocking(move || plan::orientation_input(&page, &model)).await?;
    let outputs = lane.submit(input, purpose)?.outputs().await?;
    Ok(plan::upright_turn(outputs.first().and_then(Array::floats).unwrap_or_default(), threshold))
}

/// Reads the lines in the boxes. Longest first, so that no long line is left for the end while other threads idle.
async fn recognise_all(inner: &Arc<Inner>, sheet: &Sheet, boxes: Vec<TextBox>) -> Result<Vec<ReadLine>, Fault> {
    let mut boxes = boxes;
    if let (Some(lane), Some(model)) = (&sheet.networks.line_orientation, &inner.line_orientation) {
        let format = LineFormat::from(model);
        for chunk in boxes.chunks_mut(CHUNK) {
            let cuts: Vec<Cut> = chunk.iter().map(|found| recognise::cut(found.corners, &format)).collect();
            let outputs = run_lines(lane, sheet, cuts, format).await?;
            for (found, output) in chunk.iter_mut().zip(outputs) {
                let scores = output.first().and_then(Array::floats).unwrap_or_default();
                if scores.get(1).is_some_and(|&upside_down| upside_down > model.threshold) {
                    found.corners.rotate_left(2);
                }
            }
        }
    }
    let format = LineFormat::from(&inner.recogniser);
    let mut cuts: Vec<Cut> = boxes.iter().map(|found| recognise::cut(found.corners, &format)).collect();
    cuts.sort_by_key(|cut| std::cmp::Reverse(cut.padded));
    let chunks: Vec<Vec<Cut>> = cuts.chunks(CHUNK).map(<[Cut]>::to_vec).collect();
    let lines: Vec<Vec<ReadLine>> = stream::iter(chunks)
        .map(|chunk| recognise_chunk(inner, sheet, chunk, format))
        .buffered(CHUNKS_IN_WORK)
        .try_collect()
        .await?;
    Ok(lines.into_iter().flatten().collect())
}

async fn recognise_chunk(
    inner: &Arc<Inner>,
    sheet: &Sheet,
    cuts: Vec<Cut>,
    format: LineFormat,
) -> Result<Vec<ReadLine>, Fault> {
    let purpose = sheet.purpose;
    let outputs = run_lines(&sheet.networks.recognise, sheet, cuts.clone(), format).await?;
    let (inner, tally) = (Arc::clone(inner), sheet.tally.clone());
    blocking(move || {
        let mut lines = Vec::with_capacity(cuts.len());
        for (cut, output) in cuts.iter().zip(outputs) {
            // A line counts as its share of one of 320 pixels, the width that the weights are given for.
            let units = inner.cost.recognise_line * f64::from(cut.padded) / 320.0;
            inner.meter.worked(purpose, units);
            tally.add(units);
            let steps = Steps::new(&output, &inner.recogniser).map_err(|error| EngineError::Output {
                network: "recognise",
                expected: error.expected,
                found: error.found,
            })?;
            let reading = recognise::read(&steps, &inner.dictionary, inner.recogniser.space_threshold);
            if reading.confidence >= inner.recogniser.drop_score {
                #[expect(clippy::cast_precision_loss, reason = "widths of a line are far below 2^24")]
                let filled = cut.width as f32 / cut.padded as f32;
                lines.push(ReadLine { corners: cut.corners, filled, reading });
            }
        }
        Ok(lines)
    })
    .await?
}

/// Cuts lines out of the page and runs each through a network; outputs in the order of the cuts.
async fn run_lines(lane: &Lane, sheet: &Sheet, cuts: Vec<Cut>, format: LineFormat) -> Result<Vec<Vec<Array>>, Fault> {
    let (page, turn) = (Arc::clone(&sheet.bitmap), sheet.turn);
    let tensors: Vec<Tensor> = blocking(move || {
        #[expect(clippy::cast_precision_loss, reason = "sides of a page are far below 2^24")]
        let (width, height) = (page.width() as f32, page.height() as f32);
        // Lines are cut from the page as it came: turning it whole would cost a second copy.
        let on_page =
            |cut: &Cut| Cut { corners: cut.corners.map(|point| turn.point_before(point, width, height)), ..*cut };
        cuts.iter().map(|cut| recognise::line(&page, &on_page(cut), &format)).collect()
    })
    .await?;
    let tickets =
        tensors.into_iter().map(|tensor| lane.submit(tensor, sheet.purpose)).collect::<Result<Vec<_>, _>>()?;
    let mut outputs = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        outputs.push(ticket.outputs().await?);
    }
    Ok(outputs)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Fault::Panicked)
}
