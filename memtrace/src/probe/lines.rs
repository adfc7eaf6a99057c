//! Leaves out of the object where in the source each instruction comes from.
//!
//! The kernel's verifier names those lines when it explains a refusal. That they are copied and
//! checked for every program takes a tenth of a start, so they are given to it only for a log.

use object::{Object as _, ObjectSection as _};

/// Where `struct btf_ext_info` of the lines is in the header of `.BTF.ext`: its length
/// (`struct btf_ext_header` of libbpf, after `line_info_off`).
const LINE_INFO_LEN: usize = 20;

/// The object without its lines; as it was if it has none.
pub(super) fn forget(object: &mut [u8]) {
    let found = place(object).and_then(|place| object.get_mut(place..place + 4));
    if let Some(length) = found {
        length.fill(0);
    }
}

fn place(object: &[u8]) -> Option<usize> {
    let file = object::File::parse(object).ok()?;
    let (start, _) = file.section_by_name(".BTF.ext")?.file_range()?;
    Some(usize::try_from(start).ok()? + LINE_INFO_LEN)
}

#[cfg(test)]
mod tests {
    use super::{forget, place};
    use crate::probe::object::{LEAN_OBJECT, OBJECT, PLAIN_OBJECT};

    #[test]
    fn only_the_length_changes() {
        for object in [OBJECT, LEAN_OBJECT, PLAIN_OBJECT] {
            let at = place(object).unwrap_or_default();
            let mut without = object.to_vec();
            forget(&mut without);
            assert_ne!(object.get(at..at + 4), Some(&[0; 4][..]));
            assert_eq!(without.get(at..at + 4), Some(&[0; 4][..]));
            assert_eq!(without.get(..at), object.get(..at));
            assert_eq!(without.get(at + 4..), object.get(at + 4..));
        }
    }

    #[test]
    fn what_is_no_object_stays() {
        let mut bytes = *b"no object";
        forget(&mut bytes);
        assert_eq!(&bytes, b"no object");
    }
}
