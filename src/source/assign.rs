//! Splits by fractions, in place of those that a source says: the ones that `dsctl split` gives the same rows.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Lister, Listing, Watch, labels};
use crate::data::partition::{Fractions, Member, place};
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::spool::Spill;

/// Which split each row goes into ([`crate::data::partition`]): a hash of the seed and its id, or its group. What is added later changes it for none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Assign {
    /// The splits with their shares, which are 1 together.
    pub fractions: Vec<(String, f64)>,
    /// An expression: rows for whose ids its first group is the same are in one split; a row that it does not match goes by its id.
    pub group_id: Option<String>,
    /// Another seed is another assignment.
    pub seed: u64,
}

impl Assign {
    /// Refuses what can be seen to be wrong without looking at any file.
    pub fn validate(&self) -> Result<()> {
        self.read().map(|_| ())
    }

    fn read(&self) -> Result<(Fractions, Option<Regex>)> {
        let help = "write --split-fractions train=0.8,validation=0.1,test=0.1";
        let name = |(split, share): &(String, f64)| {
            let split = labels::split_name(split).map_err(|fault| Error::config(fault.message, help))?;
            Ok((split, *share))
        };
        let fractions = Fractions::new(self.fractions.iter().map(name).collect::<Result<_>>()?)?;
        let regex = self.group_id.as_ref().map(|expression| {
            let help = "the first group is what rows have in common: '^[^/]+/(speaker\\d+)_'";
            let regex = Regex::new(expression).map_err(|e| Error::config(format!("--split-group-id: {e}"), help))?;
            if regex.captures_len() < 2 {
                let what = format!("--split-group-id: {expression:?} has no group in parentheses");
                return Err(Error::config(what, help));
            }
            Ok(regex)
        });
        Ok((fractions, regex.transpose()?))
    }

    /// A listing with these splits. Ids are hashed with what will stand before them.
    pub(super) fn assign(&self, listing: Listing, id_prefix: &str, spill: &Spill, watch: Watch<'_>) -> Result<Listing> {
        let (fractions, group) = self.read()?;
        let Listing { schema, entries, refused, notes, excerpts: _, tree } = listing;
        let mut lister = Lister::new(spill, watch).within(&tree);
        notes.into_iter().for_each(|note| lister.note(note));
        for refusal in refused.iter() {
            lister.refuse(refusal?)?;
        }
        let mut alone = 0u64;
        for at in 0..entries.len() {
            let mut entry = entries.get(at)?;
            let id = format!("{id_prefix}{}", entry.id);
            let found = group.as_ref().and_then(|regex| regex.captures(&id)).and_then(|found| found.get(1));
            alone += u64::from(group.is_some() && found.is_none());
            let member = found.map_or(Member::Row(row_key(&id)), |found| Member::Named(found.as_str()));
            fractions.at(place(self.seed, member)).clone_into(&mut entry.split);
            lister.entry(entry)?;
        }
        if alone > 0 {
            lister.note(format!("--split-group-id does not match {alone} ids: each is a group of its own"));
        }
        lister.finish(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceOptions;
    use crate::source::folder::Folder;
    use crate::source::listing::listed;

    fn splits(names: &[String], assign: Assign) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join("test").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"RIFF\0\0\0\0WAVEfmt ").unwrap();
        }
        let options = SourceOptions { assign: Some(assign), ..SourceOptions::default() };
        let (_, entries) = listed(&Folder, dir.path(), &options).unwrap();
        let mut all: Vec<_> = entries.into_iter().map(|entry| (entry.id, entry.split)).collect();
        all.sort();
        all
    }

    fn halves(group_id: Option<&str>) -> Assign {
        let fractions = vec![("train".to_owned(), 0.5), ("dev".to_owned(), 0.5)];
        Assign { fractions, group_id: group_id.map(str::to_owned), seed: 3 }
    }

    #[test]
    fn rows_that_come_later_move_none_and_groups_stay_together() {
        let name = |n: usize| format!("{}/s{}_{n}.wav", ["a", "b"][n % 2], n % 7);
        let names: Vec<String> = (0..60).map(name).collect();
        let all = splits(&names, halves(None));
        let train = all.iter().filter(|(_, split)| split == "train").count();
        assert!((15..45).contains(&train) && all.iter().all(|(_, split)| split == "train" || split == "validation"));
        let some = splits(&names[..20], halves(None));
        assert!(some.iter().all(|row| all.contains(row)));
        let grouped = splits(&names, halves(Some(r"/s(\d+)_")));
        let mut of = std::collections::BTreeMap::new();
        for (id, split) in &grouped {
            let group = id.split("/s").nth(1).unwrap().split('_').next().unwrap().to_owned();
            assert_eq!(of.entry(group).or_insert(split), &split, "{id}");
        }
        assert_eq!(of.len(), 7);
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        let of = |parts: &[(&str, f64)]| parts.iter().map(|(s, f)| ((*s).to_owned(), *f)).collect::<Vec<_>>();
        for assign in [
            Assign { fractions: of(&[("train", 0.5)]), ..Assign::default() },
            Assign { fractions: of(&[("train", 1.5), ("test", -0.5)]), ..Assign::default() },
            Assign { fractions: of(&[("val", 0.5), ("dev", 0.5)]), ..Assign::default() },
            Assign { fractions: of(&[("a/b", 1.0)]), ..Assign::default() },
            Assign { group_id: Some("(".into()), ..halves(None) },
            Assign { group_id: Some("x".into()), ..halves(None) },
            Assign::default(),
        ] {
            let options = SourceOptions { assign: Some(assign), ..SourceOptions::default() };
            assert_eq!(options.validate().unwrap_err().exit_code(), 2);
        }
    }
}
