//! What is answered, in which form.

use std::io::Cursor;

use anyhow::{Context, ensure};
use image::{Delay, DynamicImage, Frame, GenericImageView as _, ImageFormat, Rgba, RgbaImage, codecs::gif::GifEncoder};
use ocr_api::{ErrorCode, Warning, header};
use ocr_tests::{
    data::{self, PDF, PDF_PHRASE, SCAN_PHRASE},
    http::{Answer, comparable, send},
    server::Server,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{scan_bytes, text_pdf};

pub fn scan(server: &Server) -> anyhow::Result<()> {
    let answer = server.api().post("/v1/ocr", scan_bytes()?)?;
    ensure!(answer.header("content-type").starts_with("application/json"), "{}", answer.header("content-type"));
    let document = answer.document()?;
    ensure!(document.success && document.page_count == 1 && document.pages.len() == 1, "{}", answer.describe());
    ensure!(document.text.contains(SCAN_PHRASE), "{}", document.text);
    ensure!(document.request_id == answer.header(header::REQUEST_ID), "{}", document.request_id);
    ensure!(document.model.name == "pp-ocrv6-small", "{:?}", document.model);
    ensure!(document.model.digest.starts_with("sha256:") && document.model.digest.len() == 71, "{:?}", document.model);
    ensure!(document.line_count == document.lines.len(), "{} lines", document.line_count);
    ensure!(
        document.processing_time_ms > 0 && u128::from(document.processing_time_ms) <= answer.elapsed.as_millis() + 1,
        "{}",
        document.processing_time_ms
    );
    let page = &document.pages[0];
    ensure!((page.image_width, page.image_height) == (1000, 1520), "{} x {}", page.image_width, page.image_height);
    ensure!(
        page.success && page.page_number == 1 && page.dpi.is_none() && page.orientation == 0,
        "{}",
        answer.describe()
    );
    ensure!(page.line_count == page.lines.len() && page.line_count > 30, "{} lines", page.line_count);
    // Lines side by side are one line of the text.
    let joined = page.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ");
    ensure!(page.text.replace('\n', " ") == joined && document.text == page.text, "the text is not that of the lines");
    let lines = f64::from(u32::try_from(page.lines.len())?);
    let mean = page.lines.iter().map(|line| f64::from(line.confidence)).sum::<f64>() / lines;
    ensure!((mean - f64::from(page.avg_confidence)).abs() < 0.01 && mean > 0.9, "{mean} {}", page.avg_confidence);
    for line in &page.lines {
        ensure!((0.0..=1.0).contains(&line.confidence), "{line:?}");
        ensure!(line.bbox.iter().all(|[x, y]| (-1.0..=1001.0).contains(x) && (-1.0..=1521.0).contains(y)), "{line:?}");
        let words = line.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        ensure!(words == line.text.split_whitespace().collect::<Vec<_>>().join(" "), "{line:?}");
    }
    let raw = answer.json()?;
    let page = &raw["pages"][0];
    for (field, empty) in [("markdown", json!("")), ("html", json!("")), ("json_output", json!({}))] {
        ensure!(page[field] == empty, "{field} is {}", page[field]);
    }
    ensure!(nulls(&raw) == 0, "the answer has nulls: {raw}");
    Ok(())
}

fn nulls(value: &Value) -> usize {
    match value {
        Value::Null => 1,
        Value::Array(items) => items.iter().map(nulls).sum(),
        Value::Object(fields) => fields.values().map(nulls).sum(),
        _ => 0,
    }
}

pub fn pages_of_a_pdf(server: &Server) -> anyhow::Result<()> {
    let one = server.api().read(data::read(data::example(PDF))?)?;
    ensure!(one.text.contains(PDF_PHRASE), "{}", one.text);
    ensure!(one.pages[0].dpi == Some(150), "{:?}", one.pages[0].dpi);
    let three = server.api().read(text_pdf(3))?;
    ensure!(three.page_count == 3, "{}", three.page_count);
    ensure!(three.text == "This is sheet 1\u{c}This is sheet 2\u{c}This is sheet 3", "{:?}", three.text);
    let numbers: Vec<u32> = three.pages.iter().map(|page| page.page_number).collect();
    ensure!(numbers == [1, 2, 3], "{numbers:?}");
    let of_lines: Vec<u32> = three.lines.iter().map(|line| line.page_number).collect();
    ensure!(of_lines == [1, 2, 3], "{of_lines:?}");
    // 612 x 792 points at 150 dpi.
    ensure!((three.pages[0].image_width, three.pages[0].image_height) == (1275, 1650), "{:?}", three.pages[0]);
    Ok(())
}

pub fn routes(server: &Server) -> anyhow::Result<()> {
    let base = comparable(&server.api().read(text_pdf(1))?)?;
    for route in ["/v1/ocr/receipt", "/v1/parse"] {
        let answer = server.api().post(route, text_pdf(1))?;
        ensure!(comparable(&answer.document()?)? == base, "{route}: {}", answer.describe());
    }
    Ok(())
}

pub fn forms(server: &Server) -> anyhow::Result<()> {
    let base = comparable(&server.api().read(text_pdf(1))?)?;
    for name in ["invoice.pdf", "../../etc/passwd", "two\nlines\r\n.pdf", "", "\u{202e}fdp.exe", &"long".repeat(500)] {
        let answer = server.api().post_form("/v1/ocr", "file", name, text_pdf(1))?;
        // A line break inside a header breaks the form.
        if name.contains('\n') && answer.status != 200 {
            ensure!(answer.error()?.error.code == ErrorCode::BadRequest, "{name:?}: {}", answer.describe());
            continue;
        }
        ensure!(comparable(&answer.document()?)? == base, "{name:?}: {}", answer.describe());
    }
    Ok(())
}

fn get_format(server: &Server, path: &str, accept: Option<&str>) -> anyhow::Result<Answer> {
    let mut request = server.api().request(Method::POST, path).body(text_pdf(2));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let answer = send(request)?;
    ensure!(answer.status == 200, "{path} {accept:?}: {}", answer.describe());
    Ok(answer)
}

pub fn formats(server: &Server) -> anyhow::Result<()> {
    for (format, media) in [
        ("json", "application/json"),
        ("text", "text/plain"),
        ("ndjson", "application/x-ndjson"),
        ("tsv", "text/tab-separated-values"),
    ] {
        for answer in [
            get_format(server, &format!("/v1/ocr?format={format}"), None)?,
            get_format(server, "/v1/ocr", Some(media))?,
            get_format(server, &format!("/v1/ocr?format={format}"), Some("application/json"))?,
        ] {
            ensure!(answer.header("content-type").starts_with(media), "{format}: {}", answer.header("content-type"));
            ensure!(answer.text().contains("This is sheet 2"), "{format}: {}", answer.describe());
        }
    }
    let text = get_format(server, "/v1/ocr?format=text", None)?.text();
    ensure!(text.trim_end() == "This is sheet 1\u{c}This is sheet 2", "{text:?}");
    get_format(server, "/v1/ocr", Some("*/*"))?.document()?;
    Ok(())
}

pub fn ndjson(server: &Server) -> anyhow::Result<()> {
    let answer = get_format(server, "/v1/ocr?format=ndjson", None)?;
    let text = answer.text();
    let objects = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().context(text.clone())?;
    let [first, second, end] = objects.as_slice() else { anyhow::bail!("{} objects: {text}", objects.len()) };
    for (object, page) in [(first, 1), (second, 2)] {
        ensure!(object["page"] == page && object["success"] == true, "{object}");
        ensure!(object["file"] == answer.header(header::REQUEST_ID), "{object}");
        ensure!(object["lines"][0]["bbox"].as_array().is_some_and(|bbox| bbox.len() == 4), "{object}");
    }
    ensure!(end["status"] == "done" && end["success"] == true && end["pages"] == 2 && end["failed"] == 0, "{end}");
    Ok(())
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

pub fn animated_gif(server: &Server) -> anyhow::Result<()> {
    let scan = image::load_from_memory(&scan_bytes()?)?;
    // The head of the page down to the title, and a second frame without anything.
    let head = scan.crop_imm(100, 200, 800, 300);
    let white = RgbaImage::from_pixel(head.width(), head.height(), Rgba([255; 4]));
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, 30);
        let delay = Delay::from_numer_denom_ms(100, 1);
        for frame in [head.to_rgba8(), white] {
            encoder.encode_frame(Frame::from_parts(frame, 0, 0, delay))?;
        }
    }
    let document = server.api().read(bytes)?;
    ensure!(document.page_count == 1, "{} pages", document.page_count);
    ensure!(document.text.contains("UNITED STATES"), "{}", document.text);
    Ok(())
}

pub fn blank(server: &Server) -> anyhow::Result<()> {
    for (name, colour) in [("white", [255; 3]), ("grey", [128; 3]), ("black", [0; 3])] {
        let picture = image::RgbImage::from_pixel(800, 600, image::Rgb(colour));
        let answer = server.api().post("/v1/ocr", encoded(&picture.into(), ImageFormat::Png)?)?;
        let document = answer.document()?;
        let page = &document.pages[0];
        ensure!(
            document.success && document.line_count == 0 && document.text.is_empty(),
            "{name}: {}",
            answer.describe()
        );
        ensure!(page.warnings.contains(&Warning::Blank), "{name}: {:?}", page.warnings);
        ensure!(
            document.avg_confidence.abs().max(page.avg_confidence.abs()) < f32::EPSILON,
            "{name}: {}",
            answer.describe()
        );
    }
    Ok(())
}

pub fn parameters(server: &Server) -> anyhow::Result<()> {
    let ask = |query: &str, body: Vec<u8>| server.api().post(&format!("/v1/ocr?{query}"), body)?.document();
    let some = ask("pages=2-3,5", text_pdf(6))?;
    let numbers: Vec<u32> = some.pages.iter().map(|page| page.page_number).collect();
    ensure!(numbers == [2, 3, 5] && some.page_count == 6, "{numbers:?} of {}", some.page_count);
    let fine = ask("dpi=200", text_pdf(1))?;
    ensure!(fine.pages[0].dpi == Some(200) && fine.pages[0].image_width == 1700, "{:?}", fine.pages[0]);
    let all = server.api().read(scan_bytes()?)?;
    let sure = ask("min_confidence=0.99", scan_bytes()?)?;
    ensure!(
        sure.line_count < all.line_count && sure.lines.iter().all(|line| line.confidence >= 0.99),
        "{}",
        sure.line_count
    );
    // A page that lies on its head is turned by the model, and by hand; boxes stay in its own pixels.
    let scan = image::load_from_memory(&scan_bytes()?)?;
    let turned = encoded(&scan.rotate180(), ImageFormat::Png)?;
    for (query, orientation) in [("orientation=auto", 180), ("orientation=180", 180)] {
        let document = ask(query, turned.clone())?;
        ensure!(document.text.contains(SCAN_PHRASE), "{query}: {}", document.text);
        let page = &document.pages[0];
        ensure!(page.orientation == orientation, "{query}: {}", page.orientation);
        let first = page.lines.first().context("no line")?;
        ensure!(first.bbox[0][1] > 1_200.0, "{query}: the first line of the text stands below: {:?}", first.bbox);
    }
    let (width, height) = scan.dimensions();
    let left = ask("orientation=auto", encoded(&scan.rotate270(), ImageFormat::Png)?)?;
    ensure!(left.text.contains(SCAN_PHRASE) && left.pages[0].orientation == 90, "{}", left.pages[0].orientation);
    ensure!(
        (left.pages[0].image_width, left.pages[0].image_height) == (height, width),
        "{:?}",
        left.pages[0].image_width
    );
    Ok(())
}
