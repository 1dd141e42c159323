//! Rows packed with token sequences, in memory of the samples: of a long sequence the full rows are counted, and what stands in a row is worked out when it is
//! asked for.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::batching::{Fit, Long, Pack, Piece, Pieces};

/// The rows of a window's sequences, in the order in which they are packed.
#[derive(Debug, Clone, Default)]
pub(super) struct Packing {
    /// Tokens of a row.
    length: u64,
    runs: Vec<Run>,
    /// What the rows beside those of runs hold, and where the pieces of each end.
    pieces: Vec<Piece>,
    ends: Vec<u32>,
}

/// The full rows that a sequence longer than a row is cut into.
#[derive(Debug, Clone, Copy)]
struct Run {
    sample: u32,
    /// The first of them, among all rows.
    first: u64,
    /// The rows of all runs up to this one's last.
    through: u64,
}

/// What of a sequence is packed.
struct Cut {
    sample: u32,
    /// Full rows of it.
    full: u64,
    /// What is left behind them, less than a row or as many tokens.
    rest: Piece,
    tokens: u64,
}

impl Packing {
    /// Puts sequences of these lengths into rows. Empty ones have no place.
    pub(super) fn new(lengths: &[u64], pack: &Pack) -> Self {
        let row = pack.length as u64;
        let cuts = (0..).zip(lengths).map(|(sample, length)| {
            let all = if pack.long == Long::Split { *length } else { row.min(*length) };
            let full = if all > row { all / row } else { 0 };
            let cut = all > row || all < *length;
            let rest = Piece { sample, range: cut.then_some((full * row, all)) };
            Cut { sample, full, rest, tokens: all - full * row }
        });
        let packing = Packing { length: row, ..Packing::default() };
        match pack.fit {
            Fit::Greedy => packing.greedy(cuts),
            Fit::Best => packing.best(cuts),
        }
    }

    /// One after the other.
    fn greedy(mut self, cuts: impl Iterator<Item = Cut>) -> Self {
        let mut room = 0;
        for Cut { sample, full, rest, tokens } in cuts {
            if full > 0 {
                self.run(sample, full);
                room = 0;
            }
            if tokens > room {
                self.ends.push(self.pieces.len() as u32);
                room = self.length;
            }
            if tokens > 0 {
                room -= tokens;
                self.pieces.push(rest);
                self.ends.last_mut().into_iter().for_each(|end| *end += 1);
            }
        }
        self
    }

    /// Best-fit decreasing, with the rows that have room by how much they have.
    fn best(mut self, cuts: impl Iterator<Item = Cut>) -> Self {
        let mut rests = Vec::new();
        for Cut { sample, full, rest, tokens } in cuts {
            if full > 0 {
                self.run(sample, full);
            }
            // What fills a row comes before all that does not.
            if tokens == self.length {
                self.row_of([rest]);
            } else if tokens > 0 {
                rests.push((rest, tokens));
            }
        }
        // Longest first, and in their order among equals.
        rests.sort_by_key(|(_, tokens)| Reverse(*tokens));
        let mut rows: Vec<Vec<Piece>> = Vec::new();
        let mut with: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (piece, own) in rests {
            let (row, room) = match with.range_mut(own..).next() {
                Some((room, those)) => {
                    let (room, row) = (*room, those.pop().unwrap_or_default());
                    if those.is_empty() {
                        with.remove(&room);
                    }
                    (row, room)
                }
                None => {
                    rows.push(Vec::new());
                    (rows.len() as u32 - 1, self.length)
                }
            };
            rows[row as usize].push(piece);
            if room > own {
                with.entry(room - own).or_default().push(row);
            }
        }
        for mut row in rows {
            // Within a row in the order of the epoch.
            row.sort_by_key(|piece| (piece.sample, piece.range));
            self.row_of(row);
        }
        self
    }

    fn run(&mut self, sample: u32, full: u64) {
        let before = self.in_runs();
        self.runs.push(Run { sample, first: self.rows(), through: before.saturating_add(full) });
    }

    fn row_of(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        self.pieces.extend(pieces);
        self.ends.push(self.pieces.len() as u32);
    }

    fn in_runs(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.through)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.in_runs().saturating_add(self.ends.len() as u64)
    }

    /// What stands in a row below `rows`.
    pub(super) fn row(&self, row: u64) -> Pieces {
        // The last run that begins here or before, and the rows of those in front of it.
        let runs = &self.runs[..self.runs.partition_point(|run| run.first <= row)];
        let before = runs.len().checked_sub(2).map_or(0, |at| runs[at].through);
        let mut stored = row;
        if let Some(Run { sample, first, through }) = runs.last() {
            let nth = row - first;
            if nth < through - before {
                let from = nth * self.length;
                return Pieces::from_buf([Piece { sample: *sample, range: Some((from, from + self.length)) }]);
            }
            stored -= through;
        }
        let at = stored as usize;
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Pieces::from_slice(&self.pieces[from as usize..self.ends[at] as usize])
    }

    /// The tokens of all rows, given the lengths that were packed.
    pub(super) fn tokens(&self, lengths: &[u64]) -> u64 {
        let of = |piece: &Piece| piece.range.map_or(lengths[piece.sample as usize], |(from, to)| to - from);
        self.pieces.iter().map(of).fold(self.in_runs().saturating_mul(self.length), u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::batching::{Batching, Forming, WINDOW};
    use crate::plan::permute::Permutation;
    use crate::rng::Key;

    /// The plain construction: every piece of every sequence, one by one.
    fn plainly(lengths: &[u64], pack: &Pack) -> Vec<Vec<Piece>> {
        let row = pack.length as u64;
        let pieces = lengths.iter().enumerate().flat_map(|(sample, length)| {
            let all = match pack.long {
                Long::Split => *length,
                Long::Truncate => row.min(*length),
            };
            let cut = all > row || all < *length;
            let range = move |at: u64| cut.then(|| (at, all.min(at.saturating_add(row))));
            let piece = move |at| (Piece { sample: sample as u32, range: range(at) }, row.min(all - at));
            (0..all).step_by(pack.length).map(piece)
        });
        let mut rows: Vec<Vec<Piece>> = Vec::new();
        if pack.fit == Fit::Greedy {
            let mut room = 0;
            for (piece, length) in pieces {
                if length > room {
                    rows.push(Vec::new());
                    room = row;
                }
                room -= length;
                rows.last_mut().unwrap().push(piece);
            }
            return rows;
        }
        let mut pieces: Vec<_> = pieces.collect();
        pieces.sort_by_key(|(_, length)| Reverse(*length));
        // Of all rows with room the fullest; of those the one that was put into last.
        let mut rooms: Vec<(u64, usize)> = Vec::new();
        for (turn, (piece, own)) in pieces.into_iter().enumerate() {
            let with = (0..rows.len()).filter(|at| rooms[*at].0 >= own);
            let at = with.min_by_key(|at| (rooms[*at].0, Reverse(rooms[*at].1))).unwrap_or(rows.len());
            if at == rows.len() {
                rows.push(Vec::new());
                rooms.push((row, 0));
            }
            rows[at].push(piece);
            rooms[at] = (rooms[at].0 - own, turn);
        }
        rows.iter_mut().for_each(|row| row.sort_by_key(|piece| (piece.sample, piece.range)));
        rows
    }

    fn packs(length: usize) -> impl Iterator<Item = Pack> {
        let of = move |fit: &Fit| {
            let fit = *fit;
            Long::ALL.iter().map(move |long| Pack { column: "tokens".into(), length, fit, long: *long })
        };
        Fit::ALL.iter().flat_map(of)
    }

    fn batching(pack: &Pack) -> Batching {
        Batching { forming: Forming::Pack(pack.clone()), window: WINDOW, lengths: Vec::new() }
    }

    #[test]
    fn rows_are_those_of_the_plain_construction() {
        for case in 0..300u64 {
            let mut stream = Key::new(11).with(case).stream();
            let length = [1, 2, 7, 64][stream.below(4) as usize];
            let most = [1, 3, 100, 900][stream.below(4) as usize];
            let samples = [0, 1, 2, 30, 200][stream.below(5) as usize];
            let lengths: Vec<u64> = (0..samples)
                .map(|_| match stream.below(4) {
                    // Often just so many rows.
                    0 => length as u64 * stream.below(4),
                    _ => stream.below(most + 1),
                })
                .collect();
            let batch = 1 + stream.below(9) as usize;
            for pack in packs(length) {
                for key in [None, Some(Key::new(case))] {
                    let rows = plainly(&lengths, &pack);
                    let order = key.map(|key| Permutation::new(rows.len() as u64, key));
                    let at = |row: usize| order.map_or(row, |order| order.at(row as u64) as usize);
                    let rows: Vec<Vec<Piece>> = (0..rows.len()).map(|row| rows[at(row)].clone()).collect();
                    let want: Vec<Vec<Vec<Piece>>> = rows.chunks(batch).map(<[_]>::to_vec).collect();
                    let formed = batching(&pack).formed(&lengths, batch, 1, key);
                    let of = |n| formed.batch(n).into_iter().map(|pieces| pieces.to_vec()).collect::<Vec<_>>();
                    let got: Vec<_> = (0..formed.len()).map(of).collect();
                    assert_eq!(got, want, "case {case}: {pack:?}, {lengths:?}");
                    let packing = formed.packing().unwrap();
                    let tokens = rows.iter().flatten().map(|piece| {
                        let (from, to) = piece.range.unwrap_or((0, lengths[piece.sample as usize]));
                        to - from
                    });
                    assert_eq!(packing.tokens(&lengths), tokens.sum::<u64>());
                    assert!(packing.runs.len() <= lengths.len() && packing.pieces.len() <= lengths.len());
                }
            }
        }
    }

    #[test]
    fn sequences_of_any_length_take_no_more_memory_than_short_ones() {
        let lengths = [3, 1_000_000_000_000, 0, 256, u64::MAX / 2, 5];
        for pack in packs(256) {
            let formed = batching(&pack).formed(&lengths, 64, 1, Some(Key::new(1)));
            let packing = formed.packing().unwrap();
            assert!(packing.runs.len() <= 2 && packing.pieces.len() <= lengths.len());
            if pack.long == Long::Truncate {
                assert_eq!(packing.tokens(&lengths), 3 + 256 + 256 + 256 + 5);
                continue;
            }
            assert_eq!(packing.tokens(&lengths), lengths.iter().sum::<u64>());
            assert!(packing.rows() > u64::MAX / 512 && formed.len() == packing.rows().div_ceil(64));
            // The order is one of all rows: any row can be asked for, and each stands in one place.
            let order = Permutation::new(packing.rows(), Key::new(1));
            for row in [0, 1, 3_906_250_000, packing.rows() - 1] {
                let place = order.inverse(row);
                assert_eq!(formed.batch(place / 64)[(place % 64) as usize], packing.row(row), "{row}");
            }
            let last = formed.batch(formed.len() - 1);
            assert_eq!(last.len() as u64, packing.rows() - (formed.len() - 1) * 64);
        }
        // Beyond what can be counted.
        for pack in packs(1) {
            let formed = batching(&pack).formed(&[u64::MAX; 3], 2, 1, None);
            assert_eq!(formed.batch(0).len(), 2);
            assert!(!formed.is_empty() && formed.batch(formed.len() - 1).len() <= 2);
        }
    }
}
