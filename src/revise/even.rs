//! Groups to splits with even shares of classes: largest first, each to where it is wanted most.
//!
//! No group is ever on two sides, so shares are as exact as groups are small. The assignment follows from the groups and the seed alone; but a group that is
//! added, or grows, may send others elsewhere, as it is with all that looks at counts.

/// A group: where the seed puts it among equals, and its rows of each stratum, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub place: u64,
    pub rows: Vec<(usize, u64)>,
}

impl Group {
    fn size(&self) -> u64 {
        self.rows.iter().map(|(_, rows)| rows).sum()
    }
}

/// The split of each group by its number among `shares`, so that of each stratum, and of all rows, every split has about its share.
///
/// Groups come by size, the largest first. Each goes where the sum of squares of what is too much or too little grows least, of each stratum in proportion to its
/// rows: that is where its classes are wanted most.
pub(super) fn even(groups: &[Group], strata: usize, shares: &[f64]) -> Vec<usize> {
    // The last stratum is all rows.
    let mut totals = vec![0u64; strata + 1];
    for (stratum, rows) in groups.iter().flat_map(|group| &group.rows) {
        totals[*stratum] += rows;
        totals[strata] += rows;
    }
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(groups[*at].size()), groups[*at].place));
    // What each split lacks of each stratum.
    let mut wants: Vec<Vec<f64>> =
        shares.iter().map(|share| totals.iter().map(|total| *total as f64 * share).collect()).collect();
    let mut chosen = vec![0; groups.len()];
    for at in order {
        let group = &groups[at];
        let all = group.rows.iter().copied().chain([(strata, group.size())]);
        let grows = |want: &[f64]| -> f64 {
            let each = all.clone().map(|(stratum, rows)| {
                let rows = rows as f64;
                rows * (rows - 2.0 * want[stratum]) / totals[stratum] as f64
            });
            each.sum()
        };
        let costs = wants.iter().zip(shares).enumerate().filter(|(_, (_, share))| **share > 0.0);
        let best = costs.map(|(split, (want, _))| (grows(want), split)).min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, split)) = best else { continue };
        chosen[at] = split;
        for (stratum, rows) in all {
            wants[split][stratum] -= rows as f64;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    /// The bound, of all rows and of each stratum: what one split has too much or too little is no more than the two largest groups. A group goes to a split that has room for it as long
    /// as one has; the last ones are small.
    #[test]
    fn shares_are_as_even_as_groups_are_small_and_order_is_no_matter() {
        for case in 0..60 {
            let mut stream = Key::new(8).with(case).stream();
            let strata = 1 + stream.below(4) as usize;
            let groups: Vec<Group> = (0..20 + stream.below(60))
                .map(|_| {
                    // Mostly of one class, as a speaker's or a patient's rows are, or mixed.
                    let rows = (0..1 + stream.below(2)).map(|_| stream.below(strata as u64) as usize);
                    let mut rows: Vec<(usize, u64)> = rows.map(|s| (s, 1 + s as u64)).collect();
                    rows.sort_unstable();
                    rows.dedup_by_key(|(stratum, _)| *stratum);
                    rows.iter_mut().for_each(|(_, rows)| *rows += stream.below(9));
                    Group { place: stream.below(u64::MAX), rows }
                })
                .collect();
            let shares = [[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.34, 0.33, 0.33], [0.5, 0.5, 0.0]][case as usize % 4];
            let chosen = even(&groups, strata, &shares);
            let rows = |split: Option<usize>, stratum: Option<usize>| -> f64 {
                let of = groups.iter().zip(&chosen).filter(|(_, s)| split.is_none_or(|split| split == **s));
                let of = of.flat_map(|(group, _)| &group.rows).filter(|(s, _)| stratum.is_none_or(|st| st == *s));
                of.map(|(_, rows)| *rows as f64).sum()
            };
            let mut sizes: Vec<u64> = groups.iter().map(Group::size).collect();
            sizes.sort_unstable();
            let bound = sizes.iter().rev().take(2).sum::<u64>() as f64;
            for (split, share) in shares.iter().enumerate() {
                for stratum in (0..strata).map(Some).chain([None]) {
                    let apart = (rows(Some(split), stratum) - share * rows(None, stratum)).abs();
                    assert!(
                        apart <= bound,
                        "case {case}, split {split}, stratum {stratum:?}: {apart} rows, {bound} allowed"
                    );
                }
            }
            assert!(shares[2] > 0.0 || chosen.iter().all(|split| *split != 2), "a split without a share gets none");
            let turned: Vec<Group> = groups.iter().rev().cloned().collect();
            let mut again = even(&turned, strata, &shares);
            again.reverse();
            assert_eq!(again, chosen, "case {case}");
        }
    }
}
