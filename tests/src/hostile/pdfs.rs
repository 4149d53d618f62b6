//! PDFs: with broken frames, with loops, with contents that need more memory or time than there is.

use ocr_api::ErrorCode;
use rand::{Rng as _, rngs::StdRng};

use super::{Expect, Hostile};
use crate::pdf::{Writer, deflate, repeat_deflated, stream, text_pages};

/// Bytes of content that no decode process may hold: 1.5 GiB.
const TOO_MUCH_MIB: usize = 1_536;

pub fn kinds(random: &mut StdRng) -> Vec<Hostile> {
    let mut kinds = frames(random);
    kinds.extend(contents());
    kinds.extend(killers());
    kinds.extend(endless());
    kinds
}

/// The file around the pages is wrong.
fn frames(random: &mut StdRng) -> Vec<Hostile> {
    let good = text_pages(&[vec!["Invoice 4711".into()], vec!["Page two".into()]]);
    vec![
        Hostile::new("pdf_of_a_header", b"%PDF-1.7\n%%EOF\n".to_vec(), Expect::Code(&[ErrorCode::Undecodable])),
        Hostile::new("pdf_of_0_pages", tree("/Kids[]/Count 0"), Expect::Code(&[ErrorCode::Undecodable])),
        Hostile::new("pdf_page_tree_in_a_loop", tree("/Kids[2 0 R 2 0 R]/Count 1000000"), Expect::Anything),
        Hostile::new("pdf_page_count_that_lies", tree("/Kids[3 0 R]/Count 2000000000"), Expect::Anything),
        Hostile::new("pdf_page_count_below_0", tree("/Kids[3 0 R]/Count -7"), Expect::Anything),
        Hostile::new("pdf_of_100000_pages", many_pages(), Expect::Code(&[ErrorCode::TooManyPages])),
        Hostile::new("pdf_encrypted", encrypted(), Expect::Code(&[ErrorCode::PasswordRequired])),
        Hostile::new("pdf_with_flipped_bytes", flipped(random, good.clone()), Expect::Anything),
        Hostile::new("pdf_with_wrong_offsets", wrong_offsets(random, &good), Expect::Anything),
        Hostile::new("pdf_tables_in_a_loop", table_loop(&good), Expect::Anything),
        Hostile::new("pdf_cut_in_half", good[..good.len() / 2].to_vec(), Expect::Anything),
        Hostile::new("pdf_with_an_endless_stream", endless_stream(), Expect::Anything),
        Hostile::new("pdf_object_nested_100000_deep", nested_object(), Expect::Anything),
        Hostile::new("pdf_that_runs_javascript", javascript(), Expect::Read),
    ]
}

/// A page is odd, and must be answered soon.
fn contents() -> Vec<Hostile> {
    let image = |entries: &str, data: &[u8]| {
        let object =
            stream(&format!("/Type/XObject/Subtype/Image/BitsPerComponent 8/ColorSpace/DeviceRGB{entries}"), data);
        page("/XObject<</I 5 0 R>>", &stream("", b"q 612 0 0 792 0 0 cm /I Do Q"), &[object])
    };
    let noise: Vec<u8> = (0..5_000_u32).map(|number| u8::try_from(number * 37 % 256).unwrap_or_default()).collect();
    vec![
        Hostile::new("pdf_page_without_contents", no_contents(), Expect::Read),
        Hostile::new("pdf_page_a_million_metres_wide", boxed("0 0 3000000000 3000000000"), Expect::Anything),
        Hostile::new("pdf_page_of_no_area", boxed("10 10 10 10"), Expect::Anything),
        Hostile::new("pdf_page_with_a_box_of_words", boxed("a b c d"), Expect::Anything),
        Hostile::new(
            "pdf_contents_nested_200000_deep",
            page("", &stream("", &brackets(200_000)), &[]),
            Expect::Anything,
        ),
        Hostile::new(
            "pdf_matrix_without_bounds",
            content(b"1e38 0 0 1e38 1e38 1e38 cm 1e38 1e38 m -1e38 -1e38 l 1e38 w S"),
            Expect::Anything,
        ),
        Hostile::new(
            "pdf_dashes_without_end",
            content(&b"[0.00001 0.00001] 0 d 0 0 m 600 700 l S ".repeat(5)),
            Expect::Anything,
        ),
        Hostile::new("pdf_font_that_draws_itself", font_loop(), Expect::Anything),
        Hostile::new(
            "pdf_stream_in_another_file",
            page("", b"<</Length 0/F(/etc/passwd)>>\nstream\n\nendstream", &[]),
            Expect::Anything,
        ),
        Hostile::new(
            "pdf_image_of_60000_by_60000",
            image("/Width 60000/Height 60000/Filter/FlateDecode", &repeat_deflated(&vec![0; 1 << 20], 64)),
            Expect::Anything,
        ),
        Hostile::new(
            "pdf_image_of_noise_called_jbig2",
            image("/Width 20000/Height 20000/Filter/JBIG2Decode", &noise),
            Expect::Anything,
        ),
        Hostile::new(
            "pdf_image_of_noise_called_jpeg_2000",
            image("/Width 2000/Height 2000/Filter/JPXDecode", &noise),
            Expect::Anything,
        ),
        Hostile::new(
            "pdf_image_of_noise_called_fax",
            image("/Width 30000/Height 30000/Filter/CCITTFaxDecode", &noise),
            Expect::Anything,
        ),
    ]
}

/// A page needs more memory than a decode process may use; measured with PDFium 5.15's library and 1 GiB.
fn killers() -> Vec<Hostile> {
    let bomb = repeat_deflated(&vec![b' '; 1 << 20], TOO_MUCH_MIB);
    let twice = deflate(&bomb);
    let operators = b"0 0 600 700 re f ".repeat(1 << 16);
    let curves = b"0 0 m 600 700 1 900 77 5 c\n".repeat(1 << 16);
    vec![
        Hostile::killer("pdf_bomb_packed_twice", page("", &stream("/Filter[/FlateDecode/FlateDecode]", &twice), &[])),
        Hostile::killer("pdf_bomb", page("", &stream("/Filter/FlateDecode", &bomb), &[])),
        Hostile::killer(
            "pdf_of_40_million_operators",
            page("", &stream("/Filter/FlateDecode", &repeat_deflated(&operators, 640)), &[]),
        ),
        Hostile::killer("pdf_forms_ten_times_each_other", forms_of_forms(12)),
        Hostile::killer(
            "pdf_path_of_30_million_curves",
            page("", &stream("/Filter/FlateDecode", &repeat_deflated(&curves, 480)), &[]),
        ),
    ]
}

/// A page needs more time than a request has; measured with PDFium: none was done after 10 s of one core.
fn endless() -> Vec<Hostile> {
    let soft_mask = page(
        "/ExtGState<</G<</SMask<</S/Luminosity/G 5 0 R>>>>>>",
        &stream("", &b"/G gs 0 0 600 700 re f ".repeat(2_000)),
        &[stream(
            "/Type/XObject/Subtype/Form/BBox[0 0 600 700]/Group<</S/Transparency>>",
            &b"0 0 600 700 re f ".repeat(1_000),
        )],
    );
    let pattern = page(
        "/Pattern<</P 5 0 R>>",
        &stream("", b"/Pattern cs /P scn 0 0 612 792 re f"),
        &[stream(
            "/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 10 10]/XStep 0.0001/YStep 0.0001/Resources<<>>",
            b"1 0 0 rg 0 0 5 5 re f",
        )],
    );
    let mut program = b"{ ".to_vec();
    program.extend(b"1.0001 mul sin cos exch ".repeat(20_000));
    program.extend(b"dup }");
    let shading = page(
        "/Shading<</S 5 0 R>>",
        &stream("", b"/S sh"),
        &[
            b"<</ShadingType 1/ColorSpace/DeviceRGB/Domain[0 1 0 1]/Matrix[600 0 0 700 0 0]/Function 6 0 R>>".to_vec(),
            stream("/FunctionType 4/Domain[0 1 0 1]/Range[0 1 0 1 0 1]", &program),
        ],
    );
    [
        ("pdf_soft_mask_drawn_2000_times", soft_mask),
        ("pdf_tiles_of_a_ten_thousandth_of_a_point", pattern),
        ("pdf_shading_that_computes", shading),
    ]
    .map(|(name, bytes)| Hostile { endless: true, ..Hostile::killer(name, bytes) })
    .into()
}

/// One page, 612 x 792: its resources, its content (object 4), and objects from 5 on.
fn page(resources: &str, content: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    page_with(&format!("/MediaBox[0 0 612 792]/Resources<<{resources}>>/Contents 4 0 R"), content, more)
}

fn page_with(entries: &str, content: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.add("<</Type/Catalog/Pages 2 0 R>>");
    writer.add("<</Type/Pages/Kids[3 0 R]/Count 1>>");
    writer.add(format!("<</Type/Page/Parent 2 0 R{entries}>>"));
    writer.add(content);
    for object in more {
        writer.add(object.as_slice());
    }
    writer.finish(1, "")
}

fn content(operators: &[u8]) -> Vec<u8> {
    page("", &stream("", operators), &[])
}

fn no_contents() -> Vec<u8> {
    page_with("/MediaBox[0 0 612 792]", b"null", &[])
}

fn boxed(numbers: &str) -> Vec<u8> {
    page_with(&format!("/MediaBox[{numbers}]/Contents 4 0 R"), &stream("", b"0 0 10 10 re f"), &[])
}

/// A file whose page tree has these entries; object 3 is a page.
fn tree(entries: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.add("<</Type/Catalog/Pages 2 0 R>>");
    writer.add(format!("<</Type/Pages{entries}>>"));
    writer.add("<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]>>");
    writer.finish(1, "")
}

fn many_pages() -> Vec<u8> {
    tree(&format!("/Count 100000/Kids[{}]", "3 0 R ".repeat(100_000)))
}

/// A page whose key nobody has: the check values are not those of any password that is tried.
fn encrypted() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.add("<</Type/Catalog/Pages 2 0 R>>");
    writer.add("<</Type/Pages/Kids[3 0 R]/Count 1>>");
    writer.add("<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]>>");
    let check = "5a".repeat(32);
    let id = "01".repeat(16);
    writer.finish(1, &format!("/ID[<{id}><{id}>]/Encrypt<</Filter/Standard/V 1/R 2/O<{check}>/U<{check}>/P -4>>"))
}

fn flipped(random: &mut StdRng, mut file: Vec<u8>) -> Vec<u8> {
    for _ in 0..file.len() / 50 {
        let at = random.random_range(9..file.len());
        file[at] = random.random();
    }
    file
}

/// Every offset of the table is another one.
fn wrong_offsets(random: &mut StdRng, file: &[u8]) -> Vec<u8> {
    let mut text: Vec<Vec<u8>> = file.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for line in text.iter_mut().filter(|line| line.ends_with(b" 00000 n ")) {
        *line = format!("{:010} 00000 n ", random.random_range(0..4_000_000_000_u32)).into_bytes();
    }
    text.join(&b'\n')
}

/// The table names itself as the one before it.
fn table_loop(file: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(file);
    let table = text.rsplit("startxref\n").next().and_then(|end| end.lines().next()).unwrap_or("0").to_owned();
    let at = file.windows(7).rposition(|window| window == b"trailer").map_or(0, |at| at + "trailer\n<<".len());
    let mut looped = file.to_vec();
    looped.splice(at..at, format!("/Prev {table}").into_bytes());
    looped
}

/// The content is said to have 4 GB.
fn endless_stream() -> Vec<u8> {
    page("", b"<</Length 4294967295>>\nstream\n0 0 10 10 re f\nendstream", &[])
}

fn brackets(depth: usize) -> Vec<u8> {
    let mut nested = vec![b'['; depth];
    nested.extend(vec![b']'; depth]);
    nested
}

fn nested_object() -> Vec<u8> {
    page("/ExtGState 5 0 R", &stream("", b"/G gs"), &[brackets(100_000)])
}

fn javascript() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.add("<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(while (true) { app.alert\\(1\\); })>>>>");
    writer.add("<</Type/Pages/Kids[3 0 R]/Count 1>>");
    writer.add("<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 5 0 R>>>>/Contents 4 0 R>>");
    writer.add_stream("", b"BT /F 30 Tf 100 600 Td (Total 19.90) Tj ET");
    writer.add("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>");
    writer.finish(1, "")
}

/// A letter of the font draws eight letters of the font.
fn font_loop() -> Vec<u8> {
    page(
        "/Font<</F 5 0 R>>",
        &stream("", b"BT /F 20 Tf (aaaa) Tj ET"),
        &[
            b"<</Type/Font/Subtype/Type3/FontBBox[0 0 10 10]/FontMatrix[1 0 0 1 0 0]/CharProcs<</a 6 0 R>>\
              /Encoding<</Differences[97/a]>>/FirstChar 97/LastChar 97/Widths[10]/Resources<</Font<</F 5 0 R>>>>>>"
                .to_vec(),
            stream("", b"BT /F 20 Tf (aaaaaaaa) Tj ET"),
        ],
    )
}

/// A form draws the next one ten times, and so on: 10 to the power of `depth` rectangles.
fn forms_of_forms(depth: usize) -> Vec<u8> {
    let forms: Vec<Vec<u8>> = (0..depth)
        .map(|level| {
            let entries = "/Type/XObject/Subtype/Form/BBox[0 0 600 700]";
            if level + 1 == depth {
                stream(entries, b"0 0 10 10 re f")
            } else {
                stream(&format!("{entries}/Resources<</XObject<</F {} 0 R>>>>", level + 6), &b"/F Do ".repeat(10))
            }
        })
        .collect();
    page("/XObject<</F 5 0 R>>", &stream("", b"/F Do"), &forms)
}
