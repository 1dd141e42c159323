//! Ids of the rows of a manifest: the paths of their files.

use std::collections::HashMap;

use crate::data::record::row_key;
use crate::source::Part;

/// Rows entered by `row_key` of their file's relative path, or, of parts, of that and their place: sixteen bytes a file or
/// part, not its name.
pub(super) type Named = HashMap<u64, u64, xxhash_rust::xxh3::Xxh3DefaultBuilder>;

/// The id of the next row of a file: its path, then its path with `#2`, `#3`. A file may be called like the second row of
/// another: that id is its own.
pub(super) fn id(relative: &str, named: &mut Named) -> String {
    let key = row_key(relative);
    let mut n = named.get(&key).copied().unwrap_or_default();
    let id = loop {
        n += 1;
        let id = if n == 1 { relative.to_owned() } else { format!("{relative}#{n}") };
        if n == 1 || !named.contains_key(&row_key(&id)) {
            break id;
        }
    };
    named.insert(key, n);
    id
}

/// The id of a row that is a part of a file: its path and its place, so that it is the same wherever in the manifest the row
/// stands. A place that is named again goes on with `#2`, `#3`; no place is such a number, as each has a dash.
pub(super) fn part_id(relative: &str, part: &Part, named: &mut Named) -> String {
    let place = match part {
        Part::Seconds { start, end } => format!("{relative}#{}-{}", seconds(*start), seconds(*end)),
        Part::Samples { range, .. } => format!("{relative}#{}-{}", range.start, range.end),
    };
    let n = named.entry(row_key(&place)).or_default();
    *n += 1;
    if *n == 1 { place } else { format!("{place}#{n}") }
}

/// A time in an id: seconds to the microsecond, less than a sample of any rate, without zeros at the end.
fn seconds(time: f64) -> String {
    // No recording is as long: a number without hundreds of digits.
    if time.abs() >= 1e12 {
        return format!("{time:e}");
    }
    let text = format!("{time:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
