//! Writes small PDFs: good ones of many pages, and the frames of hostile ones.

use flate2::{Compress, Compression, FlushCompress};

/// A PDF being written, object by object; objects are numbered from 1.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    objects: Vec<Vec<u8>>,
}

impl Writer {
    /// No object yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object; returns its number.
    pub fn add(&mut self, object: impl Into<Vec<u8>>) -> usize {
        self.objects.push(object.into());
        self.objects.len()
    }

    /// Adds a stream with the entries of its dictionary besides `/Length`; returns its number.
    pub fn add_stream(&mut self, entries: &str, data: &[u8]) -> usize {
        self.add(stream(entries, data))
    }

    /// Number that the next object will have.
    #[must_use]
    pub fn next(&self) -> usize {
        self.objects.len() + 1
    }

    /// The file, with object `root` as its catalogue and more entries for the trailer.
    #[must_use]
    pub fn finish(&self, root: usize, trailer: &str) -> Vec<u8> {
        let mut file = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
        let mut offsets = Vec::with_capacity(self.objects.len());
        for (index, object) in self.objects.iter().enumerate() {
            offsets.push(file.len());
            file.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
            file.extend_from_slice(object);
            file.extend_from_slice(b"\nendobj\n");
        }
        let table = file.len();
        let size = self.objects.len() + 1;
        file.extend_from_slice(format!("xref\n0 {size}\n0000000000 65535 f \n").as_bytes());
        for offset in offsets {
            file.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
        }
        let end = format!("trailer\n<</Size {size}/Root {root} 0 R{trailer}>>\nstartxref\n{table}\n%%EOF\n");
        file.extend_from_slice(end.as_bytes());
        file
    }
}

/// A stream object.
#[must_use]
pub fn stream(entries: &str, data: &[u8]) -> Vec<u8> {
    let mut object = format!("<<{entries}/Length {}>>\nstream\n", data.len()).into_bytes();
    object.extend_from_slice(data);
    object.extend_from_slice(b"\nendstream");
    object
}

/// Data as `FlateDecode` reads it.
#[must_use]
pub fn deflate(data: &[u8]) -> Vec<u8> {
    repeat_deflated(data, 1)
}

/// `chunk`, `times` over, as `FlateDecode` (zlib) reads it: small however much it becomes.
///
/// The chunk is compressed twice, not `times`: flushed to whole bytes, it gives the same bytes each time that the same
/// chunk stands before it. So a gigabyte is made in no time.
///
/// # Panics
/// Never: compressing to memory does not fail.
#[must_use]
pub fn repeat_deflated(chunk: &[u8], times: usize) -> Vec<u8> {
    let mut compressor = Compress::new(Compression::best(), false);
    let mut flushed = || {
        let mut bytes = Vec::with_capacity(chunk.len() + chunk.len() / 100 + 1_000);
        #[expect(clippy::expect_used, reason = "compressing to memory does not fail")]
        compressor.compress_vec(chunk, &mut bytes, FlushCompress::Sync).expect("memory takes all");
        bytes
    };
    let (first, next) = (flushed(), flushed());
    let mut file = vec![0x78, 0xda];
    let mut checksum = Adler32::default();
    let of_chunk = Adler32::of(chunk);
    for index in 0..times {
        file.extend_from_slice(if index == 0 { &first } else { &next });
        checksum.append(of_chunk, chunk.len());
    }
    // An empty last block.
    file.extend_from_slice(&[0x03, 0x00]);
    file.extend_from_slice(&checksum.value().to_be_bytes());
    file
}

/// The checksum of zlib (RFC 1950): two sums modulo 65521.
#[derive(Clone, Copy, Debug)]
struct Adler32 {
    a: u64,
    b: u64,
}

impl Default for Adler32 {
    fn default() -> Self {
        Self { a: 1, b: 0 }
    }
}

impl Adler32 {
    const MODULUS: u64 = 65_521;

    fn of(data: &[u8]) -> Self {
        let mut sum = Self::default();
        for byte in data {
            sum.a = (sum.a + u64::from(*byte)) % Self::MODULUS;
            sum.b = (sum.b + sum.a) % Self::MODULUS;
        }
        sum
    }

    /// Makes this the checksum of what it was of, followed by `length` bytes whose checksum is `other`.
    fn append(&mut self, other: Self, length: usize) {
        let length = length as u64 % Self::MODULUS;
        self.b = (self.b + other.b + length * (self.a + Self::MODULUS - 1)) % Self::MODULUS;
        self.a = (self.a + other.a + Self::MODULUS - 1) % Self::MODULUS;
    }

    fn value(self) -> u32 {
        u32::try_from(self.b << 16 | self.a).unwrap_or_default()
    }
}

/// Pages of text in 20-point Helvetica, which is not embedded: a line an entry, a page a list.
#[must_use]
pub fn text_pages(pages: &[Vec<String>]) -> Vec<u8> {
    let mut writer = Writer::new();
    let font = writer.add("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>");
    let resources = format!("/Font<</F {font} 0 R>>");
    let contents: Vec<Vec<u8>> = pages
        .iter()
        .map(|lines| {
            let mut content = String::from("BT /F 20 Tf 28 TL 60 740 Td\n");
            for line in lines {
                let escaped = line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
                content.extend(["(", &escaped, ") Tj T*\n"]);
            }
            content.push_str("ET\n");
            content.into_bytes()
        })
        .collect();
    with_pages(writer, &resources, &contents)
}

/// Pages that all show the same JPEG over the whole page, as a scanner's PDF does.
#[must_use]
pub fn scan_pages(jpeg: &[u8], (width, height): (u32, u32), count: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    let image = writer.add_stream(
        &format!(
            "/Type/XObject/Subtype/Image/Width {width}/Height {height}/BitsPerComponent 8/ColorSpace/DeviceRGB/Filter/DCTDecode"
        ),
        jpeg,
    );
    let content = format!("q 612 0 0 792 0 0 cm /I Do Q /Page {count} MP\n").into_bytes();
    with_pages(writer, &format!("/XObject<</I {image} 0 R>>"), &vec![content; count])
}

/// Finishes a file with one page, 612 x 792 points, for each content.
fn with_pages(mut writer: Writer, resources: &str, contents: &[Vec<u8>]) -> Vec<u8> {
    let streams: Vec<usize> = contents.iter().map(|content| writer.add_stream("", content)).collect();
    let tree = writer.next() + streams.len();
    let pages: Vec<usize> = streams
        .iter()
        .map(|content| {
            writer.add(format!(
                "<</Type/Page/Parent {tree} 0 R/MediaBox[0 0 612 792]/Resources<<{resources}>>/Contents {content} 0 R>>"
            ))
        })
        .collect();
    let kids: Vec<String> = pages.iter().map(|page| format!("{page} 0 R")).collect();
    writer.add(format!("<</Type/Pages/Kids[{}]/Count {}>>", kids.join(" "), pages.len()));
    let root = writer.add(format!("<</Type/Catalog/Pages {tree} 0 R>>"));
    writer.finish(root, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_points_at_every_object() {
        let file = text_pages(&[vec!["one (1)".into()], vec!["two".into()]]);
        let text = String::from_utf8_lossy(&file);
        let start: usize = text.rsplit("startxref\n").next().unwrap().lines().next().unwrap().parse().unwrap();
        // Offsets are in bytes, and the lossy text is longer where the header's four bytes were replaced.
        let table = String::from_utf8_lossy(&file[start..]).into_owned();
        assert!(table.starts_with("xref\n0 8\n"), "{table}");
        for (number, line) in table.lines().skip(3).take(7).enumerate() {
            let offset: usize = line[..10].parse().unwrap();
            let object = format!("{} 0 obj\n", number + 1);
            assert!(file[offset..].starts_with(object.as_bytes()), "{line}");
        }
        assert!(text.contains("(one \\(1\\)) Tj"), "parentheses are escaped");
        assert!(text.contains("/Count 2"));
    }

    #[test]
    fn what_repeats_is_small() {
        let bomb = repeat_deflated(&[b' '; 1 << 14], 256);
        assert!(bomb.len() < 10_000, "{}", bomb.len());
    }

    #[test]
    fn what_is_repeated_unpacks_to_that_with_a_right_checksum() {
        let chunk: Vec<u8> = (0..70_000_u64).map(|number| u8::try_from(number * number % 251).unwrap()).collect();
        for times in [0, 1, 2, 5] {
            let mut unpacked = Vec::new();
            let packed = repeat_deflated(&chunk, times);
            std::io::copy(&mut flate2::read::ZlibDecoder::new(packed.as_slice()), &mut unpacked).unwrap();
            assert!(unpacked == chunk.repeat(times), "{times}");
        }
    }
}
