//! Integers as text, half as long as JSON's: the base64 VLQ of source maps. A digit has five bits of the number,
//! the lowest first, and a sixth that says that more follow; the lowest bit of the number is its sign.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends a number. `i64::MIN` becomes the number above it.
pub(super) fn put(out: &mut String, number: i64) {
    let mut rest = number.max(-i64::MAX).unsigned_abs() << 1 | u64::from(number < 0);
    loop {
        let more = rest >> 5 > 0;
        let digit = (rest & 31) as usize | usize::from(more) << 5;
        out.push(DIGITS.get(digit).map_or('A', |&digit| char::from(digit)));
        rest >>= 5;
        if !more {
            return;
        }
    }
}

/// The numbers of a text.
#[cfg(test)]
pub(super) fn read(text: &str) -> Vec<i64> {
    let mut out = Vec::new();
    let (mut number, mut shift) = (0_u64, 0);
    for digit in text.bytes() {
        let digit = DIGITS.iter().position(|known| *known == digit);
        let digit = digit.unwrap_or_default() as u64;
        number |= (digit & 31) << shift;
        shift += 5;
        if digit < 32 {
            let size = (number >> 1).cast_signed();
            out.push(if number & 1 == 1 { -size } else { size });
            (number, shift) = (0, 0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples that every description of source maps has.
    #[test]
    fn it_is_that_of_source_maps() {
        for (number, text) in [(0, "A"), (1, "C"), (-1, "D"), (16, "gB"), (123, "2H")] {
            let mut out = String::new();
            put(&mut out, number);
            assert_eq!(out, text, "{number}");
        }
    }

    proptest! {
        /// What is written can be read.
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec(-i64::MAX..=i64::MAX, 0..20)) {
            let mut out = String::new();
            for number in &numbers {
                put(&mut out, *number);
            }
            prop_assert_eq!(read(&out), numbers);
        }
    }
}
