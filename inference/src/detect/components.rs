//! Connected text pixels of a probability map.
//!
//! A box needs only the hull of its pixels, and that needs only the first and last pixel of each row. So components are
//! joined from horizontal runs, which is quicker than following contours and finds the same outer hulls; the inner
//! contours that `RETR_LIST` of OpenCV adds are boxes around gaps, which fall to the box threshold anyway.

/// The ends of one component's runs: `[x, y]` of pixels, enough for its convex hull.
pub type Points = Vec<[i32; 2]>;

/// A run of text pixels in a row, both ends included.
#[derive(Clone, Copy, Debug)]
struct Run {
    y: i32,
    first: i32,
    last: i32,
}

/// The components of `map` (rows of `width`) above `threshold`, joined over edges and corners, from top to bottom.
/// With `dilate` every pixel also sets its right, lower and lower right neighbours (a 2 x 2 square).
#[must_use]
pub fn components(map: &[f32], width: usize, threshold: f32, dilate: bool) -> Vec<Points> {
    let runs = runs(map, width, threshold, dilate);
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    let mut above = 0;
    for (index, run) in runs.iter().enumerate() {
        while above < index
            && (runs[above].y < run.y - 1 || (runs[above].y == run.y - 1 && runs[above].last < run.first - 1))
        {
            above += 1;
        }
        let mut other = above;
        while other < index && runs[other].y == run.y - 1 && runs[other].first <= run.last + 1 {
            join(&mut parents, other, index);
            other += 1;
        }
    }
    let mut slots: Vec<Option<usize>> = vec![None; runs.len()];
    let mut found: Vec<Points> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let root = root(&mut parents, index);
        let slot = *slots[root].get_or_insert_with(|| {
            found.push(Points::new());
            found.len() - 1
        });
        found[slot].push([run.first, run.y]);
        if run.last > run.first {
            found[slot].push([run.last, run.y]);
        }
    }
    found
}

fn runs(map: &[f32], width: usize, threshold: f32, dilate: bool) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut row_set = vec![false; width];
    let mut row_before = vec![false; width];
    for (y, row) in (0..).zip(map.chunks_exact(width.max(1))) {
        for (set, &probability) in row_set.iter_mut().zip(row) {
            *set = probability > threshold;
        }
        let is_set = |x: usize| {
            let own = row_set[x] || (dilate && x > 0 && row_set[x - 1]);
            own || (dilate && (row_before[x] || (x > 0 && row_before[x - 1])))
        };
        let mut start = None;
        for (x, position) in (0..width).zip(0..) {
            match (is_set(x), start) {
                (true, None) => start = Some(position),
                (false, Some(first)) => {
                    runs.push(Run { y, first, last: position - 1 });
                    start = None;
                }
                _ => {}
            }
        }
        if let (Some(first), Ok(end)) = (start, i32::try_from(width)) {
            runs.push(Run { y, first, last: end - 1 });
        }
        std::mem::swap(&mut row_set, &mut row_before);
    }
    runs
}

fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

/// Joins two components under the one that began first, so that components come out from top to bottom.
fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: &[&str], dilate: bool) -> Vec<Points> {
        let map: Vec<f32> = rows.iter().flat_map(|row| row.chars().map(|c| if c == '#' { 0.9 } else { 0.1 })).collect();
        components(&map, rows[0].len(), 0.3, dilate)
    }

    #[test]
    fn pixels_that_touch_at_a_corner_are_one_component() {
        assert_eq!(found(&["#..", ".#.", "..#"], false).len(), 1);
        assert_eq!(found(&["..#", ".#.", "#.."], false).len(), 1);
    }

    #[test]
    fn pixels_apart_are_two_components() {
        assert_eq!(found(&["#.#", "#.#"], false), [vec![[0, 0], [0, 1]], vec![[2, 0], [2, 1]]]);
    }

    #[test]
    fn arms_that_meet_further_down_are_one_component() {
        assert_eq!(found(&["#...#", "#...#", "#####"], false), [vec![[0, 0], [4, 0], [0, 1], [4, 1], [0, 2], [4, 2]]]);
        assert_eq!(found(&["#.#.#", "###.#", "..###"], false).len(), 1);
    }

    #[test]
    fn many_runs_above_one_below_all_join() {
        assert_eq!(found(&["#.#.#.#", "#######", "#.#.#.#"], false).len(), 1);
    }

    #[test]
    fn a_run_may_end_at_the_border() {
        assert_eq!(found(&["..##"], false), [vec![[2, 0], [3, 0]]]);
    }

    #[test]
    fn dilation_grows_to_the_right_and_below() {
        assert_eq!(found(&["....", ".#..", "...."], true), [vec![[1, 1], [2, 1], [1, 2], [2, 2]]]);
    }

    #[test]
    fn nothing_is_found_in_an_empty_map() {
        assert!(components(&[], 0, 0.3, false).is_empty());
        assert!(found(&["....", "...."], false).is_empty());
    }
}
