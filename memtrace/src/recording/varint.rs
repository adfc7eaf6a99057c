//! Numbers of variable length (LEB128), and a cursor over bytes that never reads beyond
//! their end.

/// The contents of a block do not follow the format although its checksum is right: it
/// was written by a defective or hostile program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends seven bits per byte, the lowest first; the highest bit says that more follow.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed numbers so that small ones are short: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Appends a length and that many bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What has not been read yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut at = 0;
        let value = number_at(self.0, &mut at)?;
        self.0 = self.0.get(at..).unwrap_or_default();
        Ok(value)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        self.number().map(unzigzag)
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A length and that many bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.number()?;
        self.take(len)
    }
}

/// Reads the number that begins at `at`, and moves `at` behind it.
#[inline]
pub(super) fn number_at(bytes: &[u8], at: &mut usize) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(Malformed)?;
        *at += 1;
        // The tenth byte has room for one bit.
        if shift == 63 && byte > 1 {
            return Err(Malformed);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every number is read back, and takes a byte for each seven bits.
        #[test]
        fn numbers_round_trip(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put(&mut out, value);
            let bits = 64 - value.leading_zeros() as usize;
            prop_assert_eq!(out.len(), bits.div_ceil(7).max(1));
            let mut bytes = Bytes(&out);
            prop_assert_eq!(bytes.number(), Ok(value));
            prop_assert!(bytes.is_empty());
            for cut in 0..out.len() {
                prop_assert_eq!(Bytes(&out[..cut]).number(), Err(Malformed));
            }
        }

        /// Signs do not make numbers long.
        #[test]
        fn zigzag_round_trips(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    /// Numbers beyond 64 bits and beyond the end are refused.
    #[test]
    fn overlong_numbers_are_malformed() {
        assert_eq!(zigzag(-1), 1);
        assert_eq!(zigzag(1), 2);
        assert_eq!(Bytes(&[0xff; 10]).number(), Err(Malformed));
        assert_eq!(Bytes(&[0x80; 20]).number(), Err(Malformed));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Bytes(&most).number(), Ok(u64::MAX));
        assert_eq!(Bytes(&[2, 7]).bytes(), Err(Malformed));
        assert_eq!(Bytes(&most).bytes(), Err(Malformed));
    }
}
