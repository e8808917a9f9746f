//! Range requests (RFC 9110 section 14). Pure.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    Whole,
    /// These bytes, both ends included.
    Part {
        /// Offset of the first byte.
        first: u64,
        last: u64,
    },
    /// The range lies outside of the file.
    Unsatisfiable,
}

/// The bytes of a file of `length` that the headers `Range` and `If-Range` select, given its `ETag`.
///
/// A header that is not understood, several ranges included, is ignored, as the RFC allows.
pub fn select(range: Option<&str>, if_range: Option<&str>, etag: &str, length: u64) -> Selection {
    // A partial download of another file must not be continued with this one.
    if if_range.is_some_and(|condition| condition.trim() != etag) {
        return Selection::Whole;
    }
    let Some(wanted) = range.and_then(|r| r.trim().strip_prefix("bytes=")) else { return Selection::Whole };
    let Some((from, to)) = wanted.trim().split_once('-') else { return Selection::Whole };
    match (number(from), number(to)) {
        (RangeBound::Some(first), RangeBound::None) => part(first, length.saturating_sub(1), length),
        (RangeBound::Some(first), RangeBound::Some(last)) if last < first => Selection::Whole,
        (RangeBound::Some(first), RangeBound::Some(last)) => part(first, last.min(length.saturating_sub(1)), length),
        (RangeBound::None, RangeBound::Some(0)) => Selection::Unsatisfiable,
        (RangeBound::None, RangeBound::Some(suffix)) => {
            part(length.saturating_sub(suffix), length.saturating_sub(1), length)
        }
        _ => Selection::Whole,
    }
}

fn part(first: u64, last: u64, length: u64) -> Selection {
    if first >= length { Selection::Unsatisfiable } else { Selection::Part { first, last } }
}

enum RangeBound {
    None,
    Some(u64),
    Bad,
}

fn number(text: &str) -> RangeBound {
    let text = text.trim();
    if text.is_empty() {
        RangeBound::None
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are beyond the end of any file.
        RangeBound::Some(text.parse().unwrap_or(u64::MAX))
    } else {
        RangeBound::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let part = |first, last| Selection::Part { first, last };
        for (range, expected) in [
            (None, Selection::Whole),
            (Some("bytes=0-"), part(0, 99)),
            (Some("bytes=0-0"), part(0, 0)),
            (Some("bytes=10-19"), part(10, 19)),
            (Some("bytes=90-1000"), part(90, 99)),
            (Some("bytes=99-"), part(99, 99)),
            (Some("bytes=100-"), Selection::Unsatisfiable),
            (Some("bytes=100-200"), Selection::Unsatisfiable),
            (Some("bytes=99999999999999999999999-"), Selection::Unsatisfiable),
            (Some("bytes=-10"), part(90, 99)),
            (Some("bytes=-1000"), part(0, 99)),
            (Some("bytes=-0"), Selection::Unsatisfiable),
            (Some("bytes=20-10"), Selection::Whole),
            (Some("bytes=0-1,5-6"), Selection::Whole),
            (Some("bytes=a-b"), Selection::Whole),
            (Some("bytes=-"), Selection::Whole),
            (Some("lines=1-2"), Selection::Whole),
        ] {
            assert_eq!(select(range, None, "\"x\"", 100), expected, "{range:?}");
        }
        assert_eq!(select(Some("bytes=-5"), None, "\"x\"", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_file_is_answered_with_the_whole() {
        let of = |if_range| select(Some("bytes=10-"), Some(if_range), "\"x\"", 100);
        assert_eq!(of("\"x\""), Selection::Part { first: 10, last: 99 });
        assert_eq!(of("\"y\""), Selection::Whole);
        assert_eq!(of("W/\"x\""), Selection::Whole);
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Selection::Whole);
    }
}
