//! How much room is asked for: numbers that make no sense are refused with a way out.

/// The largest buffer that is made, in KiB.
const LARGEST: u32 = 1 << 20;

/// The size of a buffer in KiB.
pub(crate) fn buffer(text: &str) -> Result<u32, String> {
    match number(text)? {
        0 => Err(
            "records need a buffer: give at least 4 KiB, or leave the option out for the default"
                .to_owned(),
        ),
        kib if kib > LARGEST => Err(format!("the largest buffer is {LARGEST} KiB (1 GiB)")),
        kib => Ok(kib),
    }
}

/// How many can be followed at once.
pub(crate) fn followed(text: &str) -> Result<u32, String> {
    match number(text)? {
        0 => Err(
            "the command itself has to be followed: give at least 1, or leave the option out for the default"
                .to_owned(),
        ),
        number => Ok(number),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("a whole number up to {} is wanted", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, buffer, followed};

    /// The smallest and largest values, and what is beyond.
    #[test]
    fn limits() {
        assert_eq!(buffer("1"), Ok(1));
        assert_eq!(buffer("1048576"), Ok(LARGEST));
        assert_eq!(followed("1"), Ok(1));
        assert_eq!(followed("4294967295"), Ok(u32::MAX));
        for text in ["0", "1048577", "-1", "1.5", "", "4294967296", "many"] {
            assert!(buffer(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "1e3", "4294967296"] {
            assert!(followed(text).is_err(), "{text}");
        }
    }
}
