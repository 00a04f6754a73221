//! A hash for words: a multiplication for each eight bytes, of which most words have no more. Wasm lacks the wide multiplications that
//! hashes made for other machines are built on. Nobody outside chooses the keys of the word lists.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by words.
pub(crate) type WordMap<K, V> = HashMap<K, V, BuildHasherDefault<WordHasher>>;

/// Odd, and of no pattern: the golden ratio's digits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// See the module.
#[derive(Default)]
pub(crate) struct WordHasher(u64);

impl WordHasher {
    #[inline]
    fn add(&mut self, eight: u64) {
        self.0 = (self.0.rotate_left(23) ^ eight).wrapping_mul(MIX);
    }
}

impl Hasher for WordHasher {
    /// What is no multiple of eight bytes ends with its last eight, or is put together of its two ends.
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            bytes.as_chunks::<8>().0.iter().for_each(|eight| self.add(u64::from_le_bytes(*eight)));
            self.add(u64::from_le_bytes(*last));
        } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            self.add(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)));
        } else if let ([first, ..], [.., last]) = (bytes, bytes) {
            let middle = bytes.get(bytes.len() / 2).copied().unwrap_or_default();
            self.add(u64::from_le_bytes([*first, middle, *last, 0, 0, 0, 0, 0]));
        }
    }

    /// The length that precedes a list's bytes.
    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.0 ^= n as u64;
    }

    /// A map looks at the lower half, which the multiplication mixes less than the upper.
    #[inline]
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn the_words_of_the_lists_fall_apart_in_every_bit_that_a_map_looks_at() {
        let lists = [include_str!("../data/en.tsv"), include_str!("../data/it.tsv"), include_str!("../data/it-service.tsv")].concat();
        let words: HashSet<&str> = lists.lines().filter_map(|line| line.split_once('\t')).map(|(word, _)| word).collect();
        let hash = |word: &&str| BuildHasherDefault::<WordHasher>::default().hash_one(word.as_bytes());
        // Of as many places as words, chance leaves 63 % taken.
        for shift in [0, 8, 16] {
            let taken: HashSet<u64> = words.iter().map(|word| (hash(word) >> shift) % words.len() as u64).collect();
            assert!(taken.len() * 100 / words.len() >= 60, "shifted by {shift}: {} of {}", taken.len(), words.len());
        }
        assert_ne!(hash(&"a"), hash(&"aa"));
    }
}
