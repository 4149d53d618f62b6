//! Page ranges as people write them: `1-3,7`.

/// Pages of a document, counted from 1, sorted, without repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRanges(Vec<std::ops::RangeInclusive<u32>>);

/// Why a page range is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageRangesError {
    #[error("{0:?} is not a page or a range of pages; write pages as 1-3,7")]
    Malformed(String),
    #[error("page numbers start at 1")]
    Zero,
    #[error("the range {0}-{1} runs backwards")]
    Backwards(u32, u32),
    #[error("more than {} ranges", PageRanges::MOST)]
    TooMany,
}

impl PageRanges {
    /// Most ranges of one request.
    pub const MOST: usize = 100;

    /// The pages of a document of `page_count` pages, counted from 0; `Err` with the first page that it does not have.
    ///
    /// # Errors
    /// The first page asked for that the document does not have, counted from 1.
    pub fn select(&self, page_count: u32) -> Result<Vec<u32>, u32> {
        match self.0.last() {
            Some(last) if *last.end() > page_count => Err((*last.end()).min(page_count.max(*last.start() - 1) + 1)),
            _ => Ok(self.0.iter().flat_map(|range| range.clone().map(|page| page - 1)).collect()),
        }
    }
}

impl std::str::FromStr for PageRanges {
    type Err = PageRangesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| match part.trim().parse::<u32>() {
            Ok(0) => Err(PageRangesError::Zero),
            Ok(page) => Ok(page),
            Err(_) => Err(PageRangesError::Malformed(text.chars().take(40).collect())),
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(PageRangesError::Backwards(first, last));
            }
            if ranges.len() == Self::MOST {
                return Err(PageRangesError::TooMany);
            }
            ranges.push(first..=last);
        }
        Ok(Self(merge(ranges)))
    }
}

/// Sorts ranges and joins those that touch or overlap, so that no page is read twice.
fn merge(mut ranges: Vec<std::ops::RangeInclusive<u32>>) -> Vec<std::ops::RangeInclusive<u32>> {
    ranges.sort_by_key(|range| *range.start());
    let mut merged: Vec<std::ops::RangeInclusive<u32>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(text: &str, page_count: u32) -> Result<Vec<u32>, u32> {
        text.parse::<PageRanges>().unwrap().select(page_count)
    }

    #[test]
    fn ranges_are_sorted_and_joined() {
        assert_eq!(select("7,1-3,2-4", 9), Ok(vec![0, 1, 2, 3, 6]));
    }

    #[test]
    fn a_page_that_is_not_there_is_named() {
        assert_eq!(select("1-5", 3), Err(4));
        assert_eq!(select("9", 3), Err(9));
        assert_eq!(select("1", 0), Err(1));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        assert_eq!("0".parse::<PageRanges>(), Err(PageRangesError::Zero));
        assert_eq!("3-1".parse::<PageRanges>(), Err(PageRangesError::Backwards(3, 1)));
        assert!(matches!("a".parse::<PageRanges>(), Err(PageRangesError::Malformed(_))));
        assert!(matches!("".parse::<PageRanges>(), Err(PageRangesError::Malformed(_))));
        assert_eq!(["1"; 101].join(",").parse::<PageRanges>(), Err(PageRangesError::TooMany));
    }
}
