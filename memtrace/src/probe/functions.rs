//! Puts calls of the kernel's own functions (kfuncs) into the programs.
//!
//! aya 0.14 does not bind them, so the object calls helpers that no kernel has, and those
//! instructions are replaced before it is loaded: where a function is wanted and the kernel
//! has it by its call, elsewhere by one that does nothing.

use memtrace_ebpf::{CounterLayout, PREEMPT_DISABLE, PREEMPT_ENABLE, RDONLY_CAST};

use super::Handler;
use crate::kernel::{
    Btf, Features,
    btf::{Kind, TypeId},
};

/// The functions of the kernel that the programs call, by their numbers in its BTF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Functions {
    guard: Option<Guard>,
    cast: Option<Cast>,
}

/// What turns preemption off and on, where tracepoints call their programs with it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guard {
    disable: TypeId,
    enable: TypeId,
}

/// `bpf_rdonly_cast()`: the result can be read with a plain load, which a fault does not
/// harm, instead of a helper. All kernels with counters per CPU have it (both came with 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cast {
    function: TypeId,
    /// Any struct that begins with 32 bits.
    to: TypeId,
}

impl Functions {
    /// What this kernel has and what makes sense on it.
    pub(super) fn of(btf: &Btf, features: &Features, handler: Handler) -> Self {
        let guard = || {
            Some(Guard {
                disable: btf.function("bpf_preempt_disable")?,
                enable: btf.function("bpf_preempt_enable")?,
            })
        };
        let cast = || {
            Some(Cast {
                function: btf.function("bpf_rdonly_cast")?,
                // Its `nr` is an int.
                to: btf.find(Kind::Struct, "upid")?,
            })
        };
        Self {
            guard: features.preemptible_tracepoints.then(guard).flatten(),
            cast: (handler != Handler::Plain
                && features.layout == CounterLayout::PerCpu
                && features.offsets.upid_nr == 0)
                .then(cast)
                .flatten(),
        }
    }

    /// What to try if the kernel refuses the programs with these: without one of them.
    pub(super) const fn fewer(self) -> Option<Self> {
        match self {
            Self {
                guard,
                cast: Some(_),
            } => Some(Self { guard, cast: None }),
            Self { guard: Some(_), .. } => Some(Self {
                guard: None,
                cast: None,
            }),
            Self { guard: None, .. } => None,
        }
    }

    /// See [`Config`](memtrace_ebpf::Config)`::share_type`.
    pub(super) fn share_type(self) -> u32 {
        self.cast.map_or(0, |cast| cast.to.0)
    }
}

/// Length of an instruction: opcode, registers, offset, number (include/uapi/linux/bpf.h).
const LENGTH: usize = 8;
/// `BPF_JMP | BPF_CALL` of a helper: no register, no offset.
const HELPER: [u8; 4] = [0x85, 0, 0, 0];
/// The same with `BPF_PSEUDO_KFUNC_CALL` in place of the source register.
const FUNCTION: [u8; 4] = [0x85, 0x20, 0, 0];
/// `r0 = 0`.
const NOTHING: [u8; LENGTH] = [0xb7, 0, 0, 0, 0, 0, 0, 0];

fn instruction(start: [u8; 4], number: u32) -> [u8; LENGTH] {
    let [a, b, c, d] = start;
    let [e, f, g, h] = number.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The object with every call of the stand-ins replaced.
pub(super) fn bind(object: &[u8], functions: Functions) -> Vec<u8> {
    let Functions { guard, cast } = functions;
    let replacements = [
        (PREEMPT_DISABLE, guard.map(|guard| guard.disable)),
        (PREEMPT_ENABLE, guard.map(|guard| guard.enable)),
        (RDONLY_CAST, cast.map(|cast| cast.function)),
    ]
    .map(|(number, function)| {
        let by = function.map_or(NOTHING, |id| instruction(FUNCTION, id.0));
        (instruction(HELPER, number), by)
    });
    let mut object = object.to_vec();
    // Sections of instructions are aligned to them.
    for place in object.chunks_exact_mut(LENGTH) {
        for (from, to) in replacements {
            if place == from {
                place.copy_from_slice(&to);
            }
        }
    }
    object
}

#[cfg(test)]
impl Functions {
    /// All that there are, with numbers that no other has.
    pub(super) const ALL: Self = Self {
        guard: Some(Guard {
            disable: TypeId(0x0102_0304),
            enable: TypeId(5),
        }),
        cast: Some(Cast {
            function: TypeId(7),
            to: TypeId(8),
        }),
    };
}

/// How many stand-ins of each function there are.
#[cfg(test)]
pub(super) fn places(object: &[u8]) -> [usize; 3] {
    [PREEMPT_DISABLE, PREEMPT_ENABLE, RDONLY_CAST].map(|number| {
        let wanted = instruction(HELPER, number);
        object
            .chunks_exact(LENGTH)
            .filter(|place| **place == wanted)
            .count()
    })
}

#[cfg(test)]
mod tests {
    use super::{Functions, bind, places};

    const ALL: Functions = Functions::ALL;

    const DISABLE: [u8; 8] = [0x85, 0, 0, 0, 1, 0, 0, 0x7d];
    const ENABLE: [u8; 8] = [0x85, 0, 0, 0, 2, 0, 0, 0x7d];
    const CAST: [u8; 8] = [0x85, 0, 0, 0, 3, 0, 0, 0x7d];
    const OTHER: [u8; 8] = [0x85, 0, 0, 0, 6, 0, 0, 0];

    #[test]
    fn stand_ins_are_replaced_and_nothing_else_is() {
        let object = [OTHER, DISABLE, CAST, ENABLE, OTHER].concat();
        assert_eq!(places(&object), [1, 1, 1]);
        let expected = [
            OTHER,
            [0x85, 0x20, 0, 0, 4, 3, 2, 1],
            [0x85, 0x20, 0, 0, 7, 0, 0, 0],
            [0x85, 0x20, 0, 0, 5, 0, 0, 0],
            OTHER,
        ];
        assert_eq!(bind(&object, ALL), expected.concat());
        let nothing = [0xb7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            bind(&object, Functions::default()),
            [OTHER, nothing, nothing, nothing, OTHER].concat()
        );
    }

    /// Each is given up by itself, the one that exactness needs last.
    #[test]
    fn what_the_kernel_refuses_is_given_up_one_by_one() {
        assert_eq!(ALL.share_type(), 8);
        let without_cast = Functions { cast: None, ..ALL };
        assert_eq!(ALL.fewer(), Some(without_cast));
        assert_eq!(without_cast.share_type(), 0);
        assert_eq!(without_cast.fewer(), Some(Functions::default()));
        assert_eq!(Functions::default().fewer(), None);
    }
}
