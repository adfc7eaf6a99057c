//! Repeating, as `crate::repeat` has it for BPF programs.

/// Calls `turn` until it is done.
pub(crate) fn repeat<T>(turns: u32, turn: extern "C" fn(u32, *mut T) -> u64, with: &mut T) {
    for number in 0..turns {
        if turn(number, with) != 0 {
            break;
        }
    }
}
