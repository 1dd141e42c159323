//! Each lint finds its dirt and nothing else, on any threads, in any company.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::codec;
use crate::data::feature::Schema;
use crate::data::index::{Index, IndexCell, Payload, SegmentBuilder};
use crate::data::info::Kind;
use crate::data::objects::Objects;
use crate::data::record::payload_hash;
use crate::dataset::{Backing, Dataset};
use crate::error::Origin;
use crate::shard::Fetch;

mod goldens;
mod made;

use made::{clips, copies, located, photos, recordings, texts};

/// A cell of a dataset in memory.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Media(Vec<u8>),
    Int(i64),
    Float(f64),
    Objects(Objects),
    Null,
}

/// Payloads by row and column.
#[derive(Debug)]
struct Memory(BTreeMap<(u64, usize), Vec<u8>>);

impl Fetch for Memory {
    fn fetch(&self, row: u64, column: usize, _: &Payload, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        out.extend_from_slice(&self.0[&(row, column)]);
        Ok(())
    }

    fn origin(&self, row: u64) -> Origin {
        Origin { row: Some(row), ..Origin::default() }
    }
}

/// A dataset of rows as they are, in the order of their splits: also of what no ingest lets in.
pub(crate) fn dataset(schema: Schema, splits: &[(&str, Vec<Vec<Cell>>)]) -> Dataset {
    let mut builder = SegmentBuilder::new(&schema);
    let (mut payloads, mut row) = (BTreeMap::new(), 0);
    for (split, rows) in splits {
        for row_cells in rows {
            let cells = row_cells.iter().enumerate().map(|(column, cell)| match cell {
                Cell::Media(bytes) => {
                    let kind = schema.columns[column].feature.kind().unwrap();
                    let info = codec::sniff(bytes, kind).unwrap().probe(bytes, &Limits::default()).unwrap();
                    payloads.insert((row, column), bytes.clone());
                    IndexCell::Payload(Payload {
                        offset: 0,
                        length: bytes.len() as u64,
                        hash: payload_hash(bytes),
                        info,
                    })
                }
                Cell::Int(v) => IndexCell::Int(*v),
                Cell::Float(v) => IndexCell::Float(*v),
                Cell::Objects(objects) => IndexCell::Objects(objects.len() as u32),
                Cell::Null => IndexCell::Null,
            });
            let packed: Vec<Option<Vec<u8>>> = row_cells
                .iter()
                .map(|cell| if let Cell::Objects(objects) = cell { Some(objects.pack()) } else { None })
                .collect();
            let table = |column: usize| packed[column].as_deref();
            builder.push_with(&format!("{split}/{row}"), &cells.collect::<Vec<_>>(), &table).unwrap();
            row += 1;
        }
        builder.end_shard(split, 0, [0; 32]);
    }
    let index = Index::new(vec![Arc::new(builder.finish().unwrap().open().unwrap())]).unwrap();
    Dataset::from_parts("memory", schema, index, Backing::Custom(Arc::new(Memory(payloads)))).unwrap()
}

fn look(dataset: &Dataset, options: &ValidateOptions) -> Report {
    validate(dataset, &lints(), options, &|_, _| Ok(())).unwrap()
}

/// The rows that each lint named; of findings about a column, its name and split.
fn named(report: &Report) -> BTreeMap<&'static str, Vec<String>> {
    let of = |f: &Finding| match f.row {
        Some(row) => row.to_string(),
        None => f.split.as_ref().map_or_else(|| f.column.clone(), |split| format!("{} {split}", f.column)),
    };
    let found = report.lints.iter().filter(|lint| lint.found > 0);
    found.map(|lint| (lint.code, lint.findings.iter().map(of).collect())).collect()
}

type Expected = &'static [(&'static str, &'static [&'static str])];

/// Every dirty dataset, with what is to be found in it.
fn cases() -> Vec<(&'static str, Dataset, Expected)> {
    vec![
        (
            "photos",
            photos(true),
            &[
                ("left-out", &["image"]),
                ("undecodable", &["10"]),
                ("label-out-of-range", &["11"]),
                ("label-unknown", &["12", "13"]),
                ("class-empty", &["label"]),
                ("class-rare", &["label"]),
                ("class-missing", &["label test"]),
                ("class-imbalance", &["label"]),
                ("value-not-finite", &["14"]),
                ("dark", &["3"]),
                ("light", &["4"]),
                ("blurred", &["5"]),
                ("out-of-focus", &["5"]),
                ("low-information", &["6"]),
                ("odd-aspect", &["8"]),
                ("odd-size", &["9"]),
                ("gray-among-colour", &["7"]),
            ],
        ),
        (
            "recordings",
            recordings(true),
            &[
                ("silent", &["2"]),
                ("clipped", &["3"]),
                ("dc-offset", &["4"]),
                ("mixed-sample-rates", &["5"]),
                ("odd-duration", &["6"]),
                ("transcript-empty", &["7", "8"]),
                ("transcript-odd-rate", &["9", "10"]),
                ("transcript-too-fast", &["10"]),
                ("mojibake", &["11"]),
                ("control-characters", &["12"]),
            ],
        ),
        (
            "located",
            located(true),
            &[
                ("box-outside", &["2", "3"]),
                ("box-no-area", &["3", "4"]),
                ("box-tiny", &["5"]),
                ("box-twice", &["6"]),
                ("object-unknown", &["7"]),
            ],
        ),
        ("texts", texts(true), &[("text-empty", &["5"]), ("text-long", &["6"]), ("text-duplicate", &["7"])]),
        (
            "copies",
            copies(true),
            &[("duplicate", &["2", "12"]), ("leak", &["4", "5"]), ("text-duplicate", &["0", "1"])],
        ),
        ("clips", clips(true), &[("clip-frozen", &["2", "3"]), ("clip-black", &["3"])]),
    ]
}

#[test]
fn every_lint_finds_its_dirt_and_nothing_else() {
    let mut met: Vec<&str> = Vec::new();
    for (name, dataset, expected) in cases() {
        let report = look(&dataset, &ValidateOptions::default());
        let want: BTreeMap<&str, Vec<String>> =
            expected.iter().map(|(code, rows)| (*code, rows.iter().map(|r| (*r).to_owned()).collect())).collect();
        assert_eq!(named(&report), want, "{name}");
        assert_eq!(report.rows, dataset.rows());
        met.extend(want.keys());
        for lint in &report.lints {
            assert_eq!(lint.threshold.is_some(), lints().get(lint.code).unwrap().threshold.is_some());
            for finding in &lint.findings {
                assert_eq!(finding.threshold, lint.threshold, "{name} {}", lint.code);
                assert_eq!(finding.id.is_some(), finding.row.is_some() || lint.code == "left-out");
                assert!(finding.row.is_none() || finding.split.is_some());
            }
        }
    }
    let missing: Vec<&str> = LINTS.iter().map(|lint| lint.code).filter(|code| !met.contains(code)).collect();
    assert!(missing.is_empty(), "no dirt for {missing:?}");
}

#[test]
fn clean_data_is_clean() {
    for dataset in [photos(false), located(false), recordings(false), texts(false), copies(false), clips(false)] {
        assert_eq!(named(&look(&dataset, &ValidateOptions::default())), BTreeMap::new());
    }
}

#[test]
fn neither_threads_nor_memory_nor_other_lints_change_what_is_found() {
    for (name, dataset, _) in cases() {
        let whole = look(&dataset, &ValidateOptions { threads: 1, ..ValidateOptions::default() });
        for (threads, decode_memory) in [(2, 2 << 30), (5, 1), (16, 20_000)] {
            let other = look(&dataset, &ValidateOptions { threads, decode_memory, ..ValidateOptions::default() });
            assert_eq!(other, whole, "{name} {threads} {decode_memory}");
        }
        for lint in &whole.lints {
            let only = ValidateOptions { only: vec![lint.code.into()], ..ValidateOptions::default() };
            let alone = look(&dataset, &only);
            assert_eq!(alone.lints, std::slice::from_ref(lint), "{name} {}", lint.code);
            assert!(alone.decoded == 0 || lints().get(lint.code).unwrap().decodes, "{name} {}", lint.code);
            let skipped =
                look(&dataset, &ValidateOptions { skip: vec![lint.code.into()], ..ValidateOptions::default() });
            let rest: Vec<_> = whole.lints.iter().filter(|other| other.code != lint.code).cloned().collect();
            assert_eq!(skipped.lints, rest, "{name} {}", lint.code);
        }
    }
}

#[test]
fn what_is_not_listed_is_counted_and_the_first_are_listed() {
    for (_, dataset, _) in cases() {
        let whole = look(&dataset, &ValidateOptions { max_findings: u64::MAX, ..ValidateOptions::default() });
        for most in [0, 1, 2] {
            let some = look(&dataset, &ValidateOptions { max_findings: most, ..ValidateOptions::default() });
            assert_eq!(some.found, whole.found);
            for (some, whole) in some.lints.iter().zip(&whole.lints) {
                assert_eq!((some.found, some.left_out()), (whole.found, whole.found.saturating_sub(most)));
                assert_eq!(some.findings, whole.findings[..some.findings.len()], "{}", some.code);
            }
        }
        assert!(whole.lints.iter().all(|lint| lint.left_out() == 0));
    }
}

#[test]
fn thresholds_decide() {
    let (photos, recordings) = (photos(true), recordings(true));
    let with = |dataset: &Dataset, code: &str, value: f64| {
        let options = ValidateOptions {
            only: vec![code.into()],
            set: [(code.to_owned(), value)].into(),
            max_findings: u64::MAX,
            ..ValidateOptions::default()
        };
        look(dataset, &options).lints[0].clone()
    };
    for lint in LINTS.iter().filter(|lint| lint.threshold.is_some()) {
        for dataset in [&photos, &recordings] {
            // One of the ends lets everything pass, or all but.
            let least = with(dataset, lint.code, -1e300).found.min(with(dataset, lint.code, 1e300).found);
            assert!(least == 0, "{}", lint.code);
        }
    }
    let all = with(&photos, "dark", 2.0);
    assert_eq!((all.found, all.findings[0].measured.is_some()), (photos.rows() - 1, true));
    let (none, measured) = (with(&photos, "dark", 0.1), with(&photos, "dark", 0.32).findings[0].measured.unwrap());
    assert_eq!(none.found, u64::from(measured < 0.1));
    // What is at the threshold is not beyond it.
    assert_eq!(with(&photos, "dark", measured).found, 0);
}

#[test]
fn a_sample_is_spread_evenly_and_the_index_is_looked_at_whole() {
    let dataset = photos(true);
    let whole = look(&dataset, &ValidateOptions::default());
    let sampled = |sample| look(&dataset, &ValidateOptions { sample: Some(sample), ..ValidateOptions::default() });
    assert_eq!(sampled(1 << 40), whole);
    for sample in [0, 1, 7, 20] {
        let some = sampled(sample);
        assert_eq!((some.rows, some.decoded), (whole.rows, 2 * sample), "of both splits");
        for (some, whole) in some.lints.iter().zip(&whole.lints) {
            let lint = lints().get(some.code).unwrap().clone();
            if lint.decodes {
                assert!(some.found <= whole.found && (sample > 0 || some.found == 0), "{}", some.code);
            } else {
                assert_eq!(some, whole);
            }
        }
    }
    let test = look(&dataset, &ValidateOptions { split: Some("test".into()), ..ValidateOptions::default() });
    assert_eq!((test.rows, test.count(Severity::Error)), (20, 1), "what was left out is of no split");
}

#[test]
fn other_severities_decide_what_fails() {
    let dataset = clips(true);
    let report = look(&dataset, &ValidateOptions::default());
    assert_eq!((report.failed(false), report.failed(true), report.count(Severity::Warning)), (false, true, 3));
    let weighed = |severity| {
        let severity = [("clip-frozen".to_owned(), severity), ("clip-black".to_owned(), severity)].into();
        look(&dataset, &ValidateOptions { severity, ..ValidateOptions::default() })
    };
    assert!(weighed(Severity::Error).failed(false) && !weighed(Severity::Note).failed(true));
}

#[test]
fn wrong_options_name_what_is_there() {
    let dataset = clips(false);
    let wrong = |options: ValidateOptions| {
        let error = validate(&dataset, &lints(), &options, &|_, _| Ok(())).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    let default = ValidateOptions::default;
    let dark = || vec!["drak".to_owned()];
    assert!(wrong(ValidateOptions { only: dark(), ..default() }).contains("there are: dark"));
    assert!(wrong(ValidateOptions { skip: dark(), ..default() }).contains("no lint called \"drak\""));
    assert!(wrong(ValidateOptions { severity: [("x".into(), Severity::Note)].into(), ..default() }).contains("\"x\""));
    assert!(wrong(ValidateOptions { set: [("undecodable".into(), 1.0)].into(), ..default() }).contains("no threshold"));
    assert!(wrong(ValidateOptions { set: [("dark".into(), f64::NAN)].into(), ..default() }).contains("finite"));
    assert!(wrong(ValidateOptions { split: Some("tain".into()), ..default() }).contains("there are: train"));
    assert!(wrong(ValidateOptions { decode_memory: 0, ..default() }).contains("decode_memory"));
    let (only, skip) = (vec!["dark".into()], vec!["dark".into()]);
    assert!(wrong(ValidateOptions { only, skip, ..default() }).contains("no lint is left"));
    let stopped = validate(&dataset, &lints(), &default(), &|_, _| Err(Error::Interrupted)).unwrap_err();
    assert_eq!(stopped.exit_code(), 130);
}

#[test]
fn a_lint_from_outside_is_one_more_member() {
    const OWN: Lint = Lint {
        code: "even-row",
        summary: "a row of an even number",
        help: "take another",
        severity: Severity::Note,
        threshold: None,
        of: |feature| feature.kind() == Some(Kind::Video),
        decodes: false,
        rule: Rule::Row(|seen, _, _| (seen.row % 2 == 0).then(|| Told::new(seen.row as f64, "it is even"))),
    };
    let table = lints().with(OWN);
    let only = ValidateOptions { only: vec!["even-row".into()], ..ValidateOptions::default() };
    let report = validate(&clips(false), &table, &only, &|_, _| Ok(())).unwrap();
    assert_eq!((report.lints[0].found, report.decoded), (3, 0));
}

#[test]
fn damaged_payloads_are_findings_and_never_end_the_run() {
    let clean = made::picture(|x, y| made::noise(x, y, 0));
    let mut rows = Vec::new();
    for mutant in codec::mutants(&clean, 60) {
        let probed = codec::sniff(&mutant, Kind::Image).and_then(|codec| codec.probe(&mutant, &Limits::default()));
        rows.extend(probed.ok().map(|_| vec![Cell::Media(mutant)]));
    }
    assert!(rows.len() > 20, "{}", rows.len());
    let schema = Schema::new([("image", crate::data::feature::Feature::Image)]);
    let report = look(&dataset(schema, &[("train", rows)]), &ValidateOptions::default());
    assert!(report.count(Severity::Error) > 10, "{:?}", report.found);
}

#[test]
fn reports_for_machines_say_what_was_found() {
    let report = look(&photos(true), &ValidateOptions { max_findings: 1, ..ValidateOptions::default() });
    let log = sarif(&report);
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let listed: usize = report.lints.iter().map(|lint| lint.findings.len()).sum();
    assert_eq!((log["version"].as_str(), results.len()), (Some("2.1.0"), listed));
    let mut prints = std::collections::BTreeSet::new();
    for result in results {
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert!(place.as_str().is_some_and(|uri| !uri.is_empty()));
        assert!(prints.insert(result["partialFingerprints"]["feedstock/v1"].as_str().unwrap()));
    }
    assert_eq!(run["invocations"][0]["toolExecutionNotifications"].as_array().unwrap().len(), 1, "of label-unknown");

    // Of the strict one's failures, those that are not listed are one, and the note is none.
    for (strict, failures) in [(false, 3), (true, listed)] {
        let xml = junit(&report, strict);
        let count = |part: &str| xml.matches(part).count();
        assert_eq!(count("<testsuite "), report.lints.len());
        assert_eq!(count("<testcase "), count("</testcase>") + count("name=\"nothing found\" time=\"0\"/>"));
        assert_eq!(count("<failure "), failures, "{xml}");
        assert!(xml.contains(&format!("failures=\"{failures}\" errors=\"0\">\n  <testsuite ")), "{xml}");
        // One of two rows without a label is listed, the other is a case, too.
        assert_eq!(count("name=\"the rest\""), 1);
    }
}
