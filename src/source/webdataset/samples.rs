//! The samples of a shard: members that follow one another and have one key.

use std::path::Path;

use crate::error::{Fault, Reason, Result};
use crate::source::{Tree, walk};

/// A member of a sample.
#[derive(Debug)]
pub(super) struct Member {
    /// What stands behind the first dot of its name, in small letters.
    pub suffix: String,
    /// Its path in the shard.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What has one key.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// The path up to the first dot of the name.
    pub key: String,
    pub members: Vec<Member>,
    /// Why it cannot be taken.
    pub fault: Option<Fault>,
}

impl Sample {
    /// The member with a suffix.
    pub(super) fn get(&self, suffix: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.suffix == suffix)
    }
}

/// What of a shard is in no sample.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    pub hidden: u64,
    /// Of the shard itself, not of a sample: `__name__`.
    pub meta: u64,
    /// Names without a dot, with the first.
    pub keyless: u64,
    pub first: Option<String>,
}

impl Beside {
    pub(super) fn add(&mut self, other: Beside) {
        self.hidden += other.hidden;
        self.meta += other.meta;
        self.keyless += other.keyless;
        self.first = self.first.take().or(other.first);
    }
}

/// Key and suffix of a name: up to the first dot behind the last slash, and what stands behind it.
pub(super) fn key_of(name: &str) -> Option<(&str, &str)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    (dot > base).then(|| (&name[..dot], &name[dot + 1..]))
}

/// Whether a name is one of those that the shard has for itself.
fn is_meta(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    let first = if first.len() == name.len() { key_of(name).map_or(name, |(key, _)| key) } else { first };
    first.len() >= 4 && first.starts_with("__") && first.ends_with("__")
}

/// Hands over every sample of a shard in its order.
pub(super) fn each(tree: &Tree, shard: &Path, take: &mut dyn FnMut(Sample) -> Result<()>) -> Result<Beside> {
    let (mut beside, mut open) = (Beside::default(), Sample::default());
    // The suffixes of the sample before.
    let mut before = Vec::new();
    tree.members(shard, &mut |name, what| {
        if name.split('/').any(walk::is_hidden) && what.is_ok() {
            beside.hidden += 1;
            return Ok(());
        }
        if is_meta(name) {
            beside.meta += 1;
            return Ok(());
        }
        let Some((key, suffix)) = key_of(name) else {
            beside.keyless += 1;
            beside.first.get_or_insert_with(|| name.to_owned());
            return Ok(());
        };
        if key != open.key {
            let sample = std::mem::replace(&mut open, Sample { key: key.to_owned(), ..Sample::default() });
            if !sample.key.is_empty() {
                before.clear();
                before.extend(sample.members.iter().map(|member| member.suffix.clone()));
                take(sample)?;
            }
        }
        let suffix = suffix.to_lowercase();
        match what {
            _ if open.get(&suffix).is_some() => {
                let what = format!("the sample has two members that end in .{suffix}");
                open.fault.get_or_insert(Fault::new(Reason::Corrupt, what));
            }
            Ok(bytes) => open.members.push(Member { suffix, name: name.to_owned(), bytes }),
            Err(fault) => {
                let what = format!("its member {name}: {}", fault.message);
                open.fault.get_or_insert(Fault::new(fault.reason, what));
            }
        }
        Ok(())
    })?;
    if !open.key.is_empty() {
        // Where a shard is cut between two members, the last sample may be without its label.
        // One that ends as the sample before begins: what is missing elsewhere was never there.
        let lacks = || {
            let suffixes = open.members.iter().map(|member| &member.suffix);
            open.members.len() < before.len() && suffixes.eq(&before[..open.members.len()])
        };
        if tree.how_cut(shard).is_some_and(|is_damaged| is_damaged || lacks()) {
            let what = "the last sample of a shard that is damaged or cut: it may have lost members";
            open.fault.get_or_insert(Fault::new(Reason::Truncated, what));
        }
        take(open)?;
    }
    Ok(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_dot_of_the_name() {
        let cases = [
            ("a.jpg", Some(("a", "jpg"))),
            ("a.seg.png", Some(("a", "seg.png"))),
            ("d.x/a.jpg", Some(("d.x/a", "jpg"))),
            ("a.", Some(("a", ""))),
            ("d.x/a", None),
            ("a", None),
            ("d/.hidden", None),
        ];
        for (name, expected) in cases {
            assert_eq!(key_of(name), expected, "{name}");
        }
        let meta = ["__meta__", "__meta__.json", "__x__/y.jpg"].map(is_meta);
        let others = ["__.jpg", "_a_.jpg", "d/__meta__.json", "__a.jpg"].map(is_meta);
        assert_eq!((meta, others), ([true; 3], [false; 4]));
    }
}
