//! Rows into splits by fractions: each by its place, in strata, or in groups with even strata.

use std::collections::{BTreeMap, BTreeSet};

use super::units::{By, Together, number, value};
use super::{SplitBy, SplitOptions, SplitSummary, Work};
use crate::data::partition::{Member, place};
use crate::duplicates::Sets;
use crate::error::{Error, Result};
use crate::revise::even::{Group, even};
use crate::revise::overlay::Overlay;
use crate::revise::{Attempt, Old};
use crate::spool::{Sorted, Sorter};

/// Assigns the rows of a version by fractions.
pub(super) fn assign(old: &Old, options: &SplitOptions, sets: Option<Sets>) -> Result<Attempt<SplitSummary>> {
    let (schema, index) = (old.schema(), old.dataset.index());
    let by = By::of(&options.by, schema)?;
    let only: BTreeSet<&String> = options.only.iter().collect();
    let splits = &old.root.manifest.splits;
    only.iter().try_for_each(|split| old.dataset.has_split(split))?;
    let mut work = Work { overlay: Overlay::new(old, schema), done: SplitSummary::default() };
    work.done.before.clone_from(splits);
    work.done.after.clone_from(splits);
    let by_group = matches!(options.by, SplitBy::Group(_) | SplitBy::GroupId(_) | SplitBy::Even { .. });
    let grouped = by_group || sets.is_some();
    let together = sets.map(|sets| Together::new(sets, old, &by, by_group, options.seed)).transpose()?;
    let first = |row: u64| together.as_ref()?.first(row);
    let (mut groups, mut strata) = (Sorter::new(&old.spill), Sorter::new(&old.spill));
    let even_by = match &options.by {
        SplitBy::Even { group, stratum } if matches!(&**group, SplitBy::Group(column) if column == stratum) => {
            let help = "leave --stratify out: the rows of a value are in one split then";
            return Err(Error::config(format!("{stratum:?} is to be in one split, and in all of them"), help));
        }
        SplitBy::Even { stratum, .. } => match By::of(&SplitBy::Stratum(stratum.clone()), schema)? {
            By::Column(at) => Some(at),
            _ => None,
        },
        _ => None,
    };
    let mut evenly = Sorter::new(&old.spill);
    let mut alone = 0;
    let mut at = 0u64;
    for (segment, of) in index.segments().iter().enumerate() {
        for shard in 0..of.header().shards as usize {
            let Some((rows, shard)) = of.shard(shard) else { continue };
            let chosen = only.is_empty() || only.contains(&shard.split);
            for row in rows {
                let row = of.row(row);
                // All of a set go where its first row goes.
                let first = first(at).map(|first| index.row(first));
                let (unit, several) = (first.unwrap_or(row), first.is_some());
                let member = by.member(&unit, schema);
                let by_stratum = matches!(options.by, SplitBy::Stratum(_));
                let mut now = shard.split.as_str();
                if by_stratum && chosen {
                    // Those without a value are a stratum, too.
                    let stratum = stratum(match member {
                        Member::Group(value) => Some(value),
                        _ => None,
                    });
                    let place = place(options.seed, Member::Row(unit.key())).to_be_bytes();
                    let key = [&stratum[..], &place, &unit.key().to_be_bytes()].concat();
                    strata.push(&key, &at.to_be_bytes())?;
                } else if let (Some(column), true) = (even_by, chosen) {
                    // Which group, and of it which stratum: its own, not that of the first of its set.
                    let stratum = stratum(value(&row, column, &schema.columns[column].feature));
                    let key = [&place(options.seed, member).to_be_bytes(), &stratum[..]].concat();
                    evenly.push(&key, &at.to_be_bytes())?;
                } else if chosen {
                    now = options.fractions.at(place(options.seed, member));
                    work.put(segment, &row, &shard.split, now)?;
                }
                if grouped {
                    match member {
                        _ if by_stratum && several => {
                            // Those that are chosen come below, when their split is known.
                            if !chosen {
                                groups.push(
                                    &place(options.seed, Member::Row(unit.key())).to_be_bytes(),
                                    now.as_bytes(),
                                )?;
                            }
                        }
                        _ if by_stratum => alone += 1,
                        Member::Row(_) if !several => alone += 1,
                        // When their split is known.
                        _ if even_by.is_some() && chosen => {}
                        // The place stands for the group: two with one are as unlikely as two ids with one key.
                        member => groups.push(&place(options.seed, member).to_be_bytes(), now.as_bytes())?,
                    }
                }
                at += 1;
            }
        }
    }
    let strata = strata.finish()?;
    let mut from = 0;
    while from < strata.len() {
        let stratum = &strata.get(from).0[..STRATUM];
        let mut to = from + 1;
        while to < strata.len() && strata.get(to).0[..STRATUM] == *stratum {
            to += 1;
        }
        let counts = options.fractions.counts((to - from) as u64);
        let named = options.fractions.splits().zip(counts).flat_map(|(split, n)| (0..n).map(move |_| split));
        let mut before: Option<(&[u8], &str)> = None;
        for (at, split) in (from..to).zip(named) {
            // A set goes as a whole where its first place falls.
            let (key, _) = strata.get(at);
            let split = before.filter(|(other, _)| *other == key).map_or(split, |(_, split)| split);
            before = Some((key, split));
            let row = number(strata.get(at).1);
            if let Some(first) = first(row) {
                let key = index.row(first).key();
                groups.push(&place(options.seed, Member::Row(key)).to_be_bytes(), split.as_bytes())?;
            }
            let (segment, row) = index.locate(row);
            let was = old.split_of(segment, &row);
            work.put(segment, &row, &was, split)?;
        }
        from = to;
    }
    if even_by.is_some() {
        let evenly = evenly.finish()?;
        let shares: Vec<(&str, f64)> =
            options.fractions.splits().map(|split| (split, options.fractions.share(split))).collect();
        let (all, strata) = groups_of(&evenly);
        let chosen = even(&all, strata, &shares.iter().map(|(_, share)| *share).collect::<Vec<_>>());
        let mut at = 0;
        for (group, split) in all.iter().zip(chosen) {
            let now = shares[split].0;
            let rows = group.rows.iter().map(|(_, rows)| rows).sum::<u64>();
            for _ in 0..rows {
                let (key, row) = evenly.get(at);
                let row = number(row);
                let first = first(row).map(|first| index.row(first));
                let (segment, row) = index.locate(row);
                let is_alone = first.is_none() && matches!(by.member(&row, schema), Member::Row(_));
                let was = old.split_of(segment, &row);
                work.put(segment, &row, &was, now)?;
                at += 1;
                if !is_alone {
                    groups.push(&key[..8], now.as_bytes())?;
                }
            }
        }
    }
    let Work { overlay, mut done } = work;
    if grouped {
        let groups = groups.finish()?;
        let (mut count, mut apart) = (0, 0);
        let mut rows = groups.iter().peekable();
        while let Some((key, split)) = rows.next() {
            count += 1;
            let mut several = false;
            while let Some((_, other)) = rows.next_if(|(other, _)| *other == key) {
                several |= other != split;
            }
            apart += u64::from(several);
        }
        (done.groups, done.groups_apart, done.alone) = (Some(count), Some(apart), Some(alone));
    }
    done.after.retain(|_, rows| *rows > 0);
    let edit = if options.dry_run || done.moved == 0 { None } else { overlay.finish()? };
    Ok(Attempt { edit, touched: None, done })
}

/// The groups in records of group and stratum, in their order, and how many strata there are.
fn groups_of(evenly: &Sorted) -> (Vec<Group>, usize) {
    let mut strata: BTreeMap<&[u8], usize> = BTreeMap::new();
    strata.extend(evenly.iter().map(|(key, _)| (&key[8..], 0)));
    strata.values_mut().enumerate().for_each(|(number, of)| *of = number);
    let mut groups: Vec<Group> = Vec::new();
    for (key, _) in evenly.iter() {
        let place = number(&key[..8]);
        let stratum = strata[&key[8..]];
        match groups.last_mut().filter(|group| group.place == place) {
            Some(group) => match group.rows.last_mut() {
                Some((last, rows)) if *last == stratum => *rows += 1,
                _ => group.rows.push((stratum, 1)),
            },
            None => groups.push(Group { place, rows: vec![(stratum, 1)] }),
        }
    }
    (groups, strata.len())
}

/// Bytes of a stratum in a key.
const STRATUM: usize = 9;

/// A stratum in a key; those without a value are one, too.
fn stratum(value: Option<u64>) -> [u8; STRATUM] {
    let mut key = [0; STRATUM];
    if let Some(value) = value {
        key[0] = 1;
        key[1..].copy_from_slice(&value.to_be_bytes());
    }
    key
}
