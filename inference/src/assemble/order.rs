//! The order in which a person reads the lines of a page.
//!
//! Plain rows from top to bottom mix the columns of a newsletter (37 % character error on one); columns taken wherever a
//! vertical gap runs through would tear the prices of a receipt from their items. So a gutter divides a stretch of the
//! page only where prose stands on both sides of it: several lines each, and long ones. The rest is read by rows.

use ocr_api::Quad;

/// A column of prose has at least this many lines.
const MIN_COLUMN_LINES: usize = 3;
/// The middle one of a column's lines, by width, is at least this many line heights wide. A price is about 3, a line of a
/// newsletter's column 15 to 40.
const MIN_COLUMN_WIDTH: f32 = 8.0;
/// A gutter is at least this many line heights wide.
const MIN_GUTTER: f32 = 0.4;
/// Two lines stand in one row where they share this much of the lower one's height.
const SAME_ROW: f32 = 0.5;
/// Columns within columns are looked for this deep.
const MAX_DEPTH: usize = 6;
/// Above this number of lines a page is read by rows only, since gutters are searched in quadratic time.
const MAX_LINES: usize = 4000;

/// Lines that stand in one row, by their index, from left to right.
pub type Block = Vec<usize>;

/// A line's extent on the level page.
#[derive(Clone, Copy, Debug)]
struct Extent {
    index: usize,
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
}

impl Extent {
    fn height(&self) -> f32 {
        self.bottom - self.top
    }

    fn middle(&self) -> f32 {
        f32::midpoint(self.top, self.bottom)
    }
}

/// The rows of a page in reading order; every line stands in exactly one.
#[must_use]
pub fn reading_order(lines: &[Quad]) -> Vec<Block> {
    let extents = level(lines);
    let height = median(extents.iter().map(Extent::height)).max(1.0);
    let mut rows = Vec::new();
    order(extents, height, MAX_DEPTH, &mut rows);
    rows
}

/// The lines as upright rectangles, after the page's skew was taken out: that of the middle line by angle.
fn level(lines: &[Quad]) -> Vec<Extent> {
    let is_long = |[a, b, _, d]: &Quad| (b[0] - a[0]).abs() > 2.0 * (d[1] - a[1]).abs();
    let angle = median(lines.iter().filter(|line| is_long(line)).map(|[a, b, ..]| (b[1] - a[1]).atan2(b[0] - a[0])));
    let (sin, cos) = (-angle).sin_cos();
    let rotated = |[x, y]: [f32; 2]| [x * cos - y * sin, x * sin + y * cos];
    let bounds = |(index, quad): (usize, &Quad)| {
        // Middles of the sides rather than corners: a line a little off the page's skew keeps its height.
        let [a, b, c, d] = quad.map(rotated);
        let middle = |p: [f32; 2], q: [f32; 2]| [f32::midpoint(p[0], q[0]), f32::midpoint(p[1], q[1])];
        let sides = [middle(a, b), middle(b, c), middle(c, d), middle(d, a)];
        let (xs, ys) = (sides.map(|side| side[0]), sides.map(|side| side[1]));
        let (least, most) = (
            |v: [f32; 4]| v.into_iter().fold(f32::MAX, f32::min),
            |v: [f32; 4]| v.into_iter().fold(f32::MIN, f32::max),
        );
        Extent { index, left: least(xs), right: most(xs), top: least(ys), bottom: most(ys) }
    };
    lines.iter().enumerate().map(bounds).collect()
}

fn order(mut lines: Vec<Extent>, height: f32, depth: usize, rows: &mut Vec<Block>) {
    lines.sort_by(|a, b| a.middle().total_cmp(&b.middle()).then(a.left.total_cmp(&b.left)));
    let gutter = if depth == 0 || lines.len() > MAX_LINES { None } else { best_gutter(&lines, height) };
    let Some(gutter) = gutter else {
        by_rows(&lines, rows);
        return;
    };
    for band in bands(&lines, gutter) {
        match band {
            Band::Columns { left, right } => {
                order(left, height, depth - 1, rows);
                order(right, height, depth - 1, rows);
            }
            Band::Across(lines) => order(lines, height, 0, rows),
        }
    }
}

/// A stretch of the page from top to bottom.
enum Band {
    Columns { left: Vec<Extent>, right: Vec<Extent> },
    Across(Vec<Extent>),
}

/// The gutter, as an interval of x, that divides most lines into columns of prose.
fn best_gutter(lines: &[Extent], height: f32) -> Option<(f32, f32)> {
    let mut candidates: Vec<(f32, f32)> = lines
        .iter()
        .filter_map(|line| {
            // The gap to the right of this line, up to the next line's left edge among those that begin behind it.
            let next =
                lines.iter().filter(|other| other.left > line.right).map(|other| other.left).min_by(f32::total_cmp)?;
            (next - line.right >= MIN_GUTTER * height).then_some((line.right, next))
        })
        .collect();
    candidates.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    candidates.dedup();
    let divided = |gutter: (f32, f32)| -> usize {
        bands(lines, gutter)
            .iter()
            .map(|band| match band {
                Band::Columns { left, right } => left.len() + right.len(),
                Band::Across(_) => 0,
            })
            .sum()
    };
    candidates
        .into_iter()
        .map(|gutter| (divided(gutter), gutter))
        .filter(|(lines, _)| *lines > 0)
        .max_by(|a, b| a.0.cmp(&b.0).then((a.1.1 - a.1.0).total_cmp(&(b.1.1 - b.1.0))))
        .map(|(_, gutter)| gutter)
}

/// Cuts lines, sorted from top to bottom, into stretches of columns and stretches that a line runs across the gutter of.
fn bands(lines: &[Extent], gutter: (f32, f32)) -> Vec<Band> {
    let middle = f32::midpoint(gutter.0, gutter.1);
    let crosses = |line: &Extent| line.left < middle && line.right > middle;
    let mut bands: Vec<Band> = Vec::new();
    for stretch in lines.chunk_by(|a, b| crosses(a) == crosses(b)) {
        let (left, right): (Vec<Extent>, Vec<Extent>) = stretch.iter().partition(|line| line.right <= middle);
        let is_columns = stretch.first().is_some_and(|line| !crosses(line)) && is_prose(&left) && is_prose(&right);
        match (is_columns, bands.last_mut()) {
            (true, _) => bands.push(Band::Columns { left, right }),
            (false, Some(Band::Across(across))) => across.extend_from_slice(stretch),
            (false, _) => bands.push(Band::Across(stretch.to_vec())),
        }
    }
    bands
}

fn is_prose(lines: &[Extent]) -> bool {
    let height = median(lines.iter().map(Extent::height)).max(1.0);
    lines.len() >= MIN_COLUMN_LINES
        && median(lines.iter().map(|line| line.right - line.left)) >= MIN_COLUMN_WIDTH * height
}

/// Rows from top to bottom, each from left to right. A line belongs to the row whose last line it stands beside.
fn by_rows(lines: &[Extent], rows: &mut Vec<Block>) {
    let mut open: Vec<Vec<Extent>> = Vec::new();
    for line in lines {
        let beside = |other: &Extent| {
            let shared = line.bottom.min(other.bottom) - line.top.max(other.top);
            shared >= SAME_ROW * line.height().min(other.height())
        };
        let apart =
            |other: &Extent| line.left >= other.right - other.height() || line.right <= other.left + other.height();
        match open.last_mut() {
            Some(row) if row.iter().all(apart) && row.iter().any(beside) => {
                row.push(*line);
            }
            _ => open.push(vec![*line]),
        }
    }
    for mut row in open {
        row.sort_by(|a, b| a.left.total_cmp(&b.left));
        rows.push(row.iter().map(|line| line.index).collect());
    }
}

/// The middle value; 0 where there is none.
fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f32::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quad(x: f32, y: f32, width: f32) -> Quad {
        [[x, y], [x + width, y], [x + width, y + 20.0], [x, y + 20.0]]
    }

    fn flat(lines: &[Quad]) -> Vec<usize> {
        reading_order(lines).concat()
    }

    /// Two columns of five lines under a heading, the lines side by side.
    fn newsletter() -> Vec<Quad> {
        let mut lines = vec![quad(100.0, 0.0, 800.0)];
        for row in 1..=5_u8 {
            let y = 30.0 * f32::from(row);
            lines.extend([quad(100.0, y, 390.0), quad(510.0, y, 390.0)]);
        }
        lines
    }

    #[test]
    fn columns_of_prose_are_read_one_after_the_other() {
        assert_eq!(flat(&newsletter()), [0, 1, 3, 5, 7, 9, 2, 4, 6, 8, 10]);
    }

    #[test]
    fn a_line_across_divides_the_columns_above_from_those_below() {
        let mut lines = newsletter();
        lines.push(quad(100.0, 180.0, 800.0));
        for row in 7..=9_u8 {
            let y = 30.0 * f32::from(row);
            lines.extend([quad(100.0, y, 390.0), quad(510.0, y, 390.0)]);
        }
        assert_eq!(flat(&lines)[11..], [11, 12, 14, 16, 13, 15, 17]);
    }

    #[test]
    fn prices_stay_with_their_items() {
        let mut lines = Vec::new();
        for row in 0..8_u8 {
            let y = 30.0 * f32::from(row);
            lines.extend([quad(600.0, y, 70.0), quad(50.0, y, 300.0)]);
        }
        assert_eq!(reading_order(&lines)[..2], [vec![1, 0], vec![3, 2]]);
    }

    #[test]
    fn a_skewed_page_is_read_as_a_level_one() {
        let (sin, cos) = 0.05_f32.sin_cos();
        let skewed: Vec<Quad> =
            newsletter().iter().map(|line| line.map(|[x, y]| [x * cos - y * sin, x * sin + y * cos])).collect();
        assert_eq!(flat(&skewed), flat(&newsletter()));
    }

    #[test]
    fn three_columns_are_three_columns() {
        let mut lines = Vec::new();
        for row in 0..4_u8 {
            for column in 0..3_u8 {
                lines.push(quad(300.0 * f32::from(column), 30.0 * f32::from(row), 280.0));
            }
        }
        assert_eq!(flat(&lines), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
    }

    #[test]
    fn no_lines_have_no_order() {
        assert!(reading_order(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_line_is_read_exactly_once(
            lines in prop::collection::vec((0.0..2000.0_f32, 0.0..3000.0_f32, 1.0..1500.0_f32), 0..60),
        ) {
            let lines: Vec<Quad> = lines.iter().map(|&(x, y, width)| quad(x, y, width)).collect();
            let mut seen = flat(&lines);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lines.len()).collect::<Vec<_>>());
        }
    }
}
