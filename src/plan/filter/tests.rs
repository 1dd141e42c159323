use std::sync::Arc;

use super::*;
use crate::data::index::{Index, IndexCell, Payload, Segment, SegmentBuilder};
use crate::data::info::{Format, Info};

/// Five rows: pictures of widths 10, 20, 30, 40 and none; classes a, b, a, unknown and none.
fn rows() -> (Index, Schema) {
    let schema = Schema::new([
        ("image", Feature::Image),
        ("label", Feature::ClassLabel { names: vec!["a".into(), "b's".into()] }),
        ("score", Feature::Float),
        ("taken at", Feature::Int),
        ("good", Feature::Bool),
    ]);
    let mut builder = SegmentBuilder::new(&schema);
    for n in 0..5u32 {
        let info = Info { width: 10 + 10 * n, height: 7, duration_us: 500_000 * u64::from(n), ..Info::of(Format::Png) };
        let image = IndexCell::Payload(Payload { offset: 0, length: 100, hash: 0, info });
        let cells = [
            if n < 4 { image } else { IndexCell::Null },
            [IndexCell::Int(0), IndexCell::Int(1), IndexCell::Int(0), IndexCell::Int(-1), IndexCell::Null][n as usize],
            if n == 2 { IndexCell::Null } else { IndexCell::Float(f64::from(n) / 2.0) },
            IndexCell::Int(i64::from(n) - 2),
            IndexCell::Bool(n % 2 == 0),
        ];
        builder.push(&format!("set_{}/{n}.png", n / 2), &cells).unwrap();
    }
    builder.end_shard("train", 1, [0; 32]);
    let segment = Segment::from_bytes(builder.finish().unwrap().to_vec()).unwrap();
    (Index::new(vec![Arc::new(segment)]).unwrap(), schema)
}

#[test]
fn conditions_hold_where_they_should() {
    let (index, schema) = rows();
    for (text, expected) in [
        ("label = 'a'", vec![0, 2]),
        ("label == \"a\"", vec![0, 2]),
        ("label = 'b''s'", vec![1]),
        ("label != 'a'", vec![1]),
        ("label = 1", vec![1]),
        ("label in ['a', \"b's\"]", vec![0, 1, 2]),
        ("label not in ['a']", vec![1, 3, 4]),
        ("label is null", vec![3, 4]),
        ("label IS NOT NULL", vec![0, 1, 2]),
        ("label like 'b%'", vec![1]),
        ("image.width >= 20", vec![1, 2, 3]),
        ("not image.width >= 20", vec![0, 4]),
        ("image.width<20 or image.width>30", vec![0, 3]),
        ("image.bytes = 100 && image.height <> 8", vec![0, 1, 2, 3]),
        ("image.format = 'png'", vec![0, 1, 2, 3]),
        ("image is null", vec![4]),
        ("score > 0.4", vec![1, 3, 4]),
        ("score = 2", vec![4]),
        ("score >= 5e-1 and score <= 1_0", vec![1, 3, 4]),
        ("image.channels > 0", vec![]),
        ("`taken at` < 0", vec![0, 1]),
        ("`taken at` > -1.5", vec![1, 2, 3, 4]),
        ("`taken at` in (-2, 2)", vec![0, 4]),
        ("good", vec![0, 2, 4]),
        ("not good", vec![1, 3]),
        ("!(good || score > 1)", vec![1]),
        ("good = false", vec![1, 3]),
        ("id like 'set_1/%'", vec![2, 3]),
        ("id = 'set_0/0.png' or id like '%4___g'", vec![0, 4]),
        // And binds before or, not before and.
        ("good and score = 0 or label = 1", vec![0, 1]),
        ("good and (score = 0 or label = 1)", vec![0]),
        ("not good and score > 1", vec![3]),
    ] {
        let bound = Filter::parse(text).and_then(|f| f.bind(&schema)).unwrap_or_else(|e| panic!("{text}: {e}"));
        let held: Vec<u64> = (0..5).filter(|row| bound.holds(&index.row(*row))).collect();
        assert_eq!(held, expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let (_, schema) = rows();
    for (text, part) in [
        ("", "it ends where a column"),
        ("label", "stands alone"),
        ("label =", "character 8"),
        ("label = a", "character 9"),
        ("label = 'a", "a quote that nothing ends"),
        ("label = 'c'", "has no class \"c\""),
        ("label = true", "a class name in quotes"),
        ("label > 'a'", "is not a number"),
        ("lable = 'a'", "there are: image, label"),
        ("image.size > 3", "it has: width, height, pixels, channels, bytes, format"),
        ("image.duration < 1", "image has no fact \"duration\""),
        ("image.format = 'PNG'", "there is no format \"PNG\""),
        ("label = 2", "label has no class 2"),
        ("label = -1", "is null"),
        ("score = null", "is null"),
        ("id.width = 3", "the id has no width"),
        ("image > 3", "a fact of it"),
        ("label.width > 3", "has no width"),
        ("score = 'a'", "it takes a number"),
        ("score = 1 score = 2", "and, or, or the end"),
        ("(score = 1", "\")\""),
        ("score in [1, 2", "\",\" or \"]\""),
        ("score in []", "a number"),
        ("score like '1'", "is no text"),
        ("id like 3", "a pattern in quotes"),
        ("score is 3", "null"),
        ("score not 3", "in or like"),
        ("score = 1e999", "no number"),
        ("score = 3x", "no number"),
        ("score ; drop", "means nothing"),
    ] {
        let error = Filter::parse(text).and_then(|f| f.bind(&schema)).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let deep = format!("{}good{}", "(".repeat(5000), ")".repeat(5000));
    assert!(Filter::parse(&deep).unwrap_err().to_string().contains("within each other"));
}

#[test]
fn patterns_fit_as_in_sql() {
    let fits = |text: &str, pattern: &str| like(text, &pattern.chars().collect::<Vec<_>>());
    for (text, pattern) in [
        ("", ""),
        ("", "%"),
        ("abc", "abc"),
        ("abc", "a%"),
        ("abc", "%c"),
        ("abc", "%%b%"),
        ("äb", "_b"),
        ("aabaab", "%aab"),
    ] {
        assert!(fits(text, pattern), "{text} {pattern}");
    }
    for (text, pattern) in [("", "_"), ("abc", "ab"), ("abc", "a_"), ("abc", "%d%"), ("ABC", "abc"), ("aab", "%aaab")] {
        assert!(!fits(text, pattern), "{text} {pattern}");
    }
    assert!(!fits(&"a".repeat(2000), &format!("{}b", "%a".repeat(500))));
}
