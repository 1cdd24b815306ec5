//! Signatures: what a set of words certainly does not hold.
//!
//! A Bloom filter (B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM
//! 13, 1970): each word sets [`PROBES`] bits; a word of which one bit is not set is not there. The
//! bits of a word are found by double hashing, which is as good as that many hash functions (A.
//! Kirsch and M. Mitzenmacher, "Less hashing, same performance: building a better Bloom filter",
//! ESA 2006). With [`BITS_A_WORD`] bits for each word, one in about 7,000 words that are not there
//! seems to be.
//!
//! Bit `n` is bit `n % 8` of byte `n / 8`, the lowest first, as PostgreSQL's `get_bit` counts them.

use super::Word;

/// Bits that a word sets.
pub const PROBES: usize = 8;
/// Bits of a signature for each word in it.
pub const BITS_A_WORD: usize = 20;

/// The bits of `word`, each to be taken modulo the number of bits of a signature. Below 2³⁶.
#[must_use]
pub fn probes(word: Word) -> [u64; PROBES] {
    let (start, step) = (word & 0xffff_ffff, word >> 32 | 1);
    std::array::from_fn(|index| start + index as u64 * step)
}

/// The signature of these words; each should be there once.
#[must_use]
pub fn sign(words: &[Word]) -> Vec<u8> {
    let mut signature = vec![0_u8; (words.len() * BITS_A_WORD / 8).next_multiple_of(8).max(8)];
    let bits = signature.len() as u64 * 8;
    for word in words {
        for probe in probes(*word) {
            let (byte, bit) = place(probe, bits);
            signature[byte] |= bit;
        }
    }
    signature
}

/// Whether what was signed may hold `word`. An empty signature says nothing, so it may.
#[must_use]
pub fn may_hold(signature: &[u8], word: Word) -> bool {
    let bits = signature.len() as u64 * 8;
    bits == 0
        || probes(word).into_iter().all(|probe| {
            let (byte, bit) = place(probe, bits);
            signature[byte] & bit != 0
        })
}

fn place(probe: u64, bits: u64) -> (usize, u8) {
    let bit = probe % bits;
    let byte = usize::try_from(bit / 8).expect("it is below the length of a slice");
    (byte, 1 << (bit % 8))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn word(number: u64) -> Word {
        xxh3_64(&number.to_le_bytes())
    }

    #[test]
    fn few_words_that_are_not_there_seem_to_be() {
        for (count, most) in [(10, 20.0), (100, 4.0), (1_000, 3.0), (3_000, 3.0)] {
            let words: Vec<_> = (0..count).map(word).collect();
            let signature = sign(&words);
            let others = 1_000_000..1_100_000;
            let taken = others.filter(|other| may_hold(&signature, word(*other))).count();
            let in_ten_thousand = taken as f64 / 10.0;
            assert!(in_ten_thousand <= most, "{in_ten_thousand} of 10,000, of {count} words");
        }
    }

    #[test]
    fn nothing_is_in_a_signature_of_nothing() {
        assert!(!may_hold(&sign(&[]), word(1)));
        assert!(may_hold(&[], word(1)));
    }

    proptest! {
        #[test]
        fn what_was_signed_is_held(words in prop::collection::vec(any::<u64>(), 0..500)) {
            let signature = sign(&words);
            prop_assert!(words.iter().all(|word| may_hold(&signature, *word)));
        }
    }
}
