//! What is loaded is decided when the kernel has said what it refuses.

use memtrace_ebpf::SegmentHooks;

use super::{Fentry, Options, ProbeError, TreeLock, functions::Functions};
use crate::kernel::{Btf, Features};

/// Which of what does the same is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) functions: Functions,
    pub(super) segments: SegmentHooks,
    pub(super) lock: TreeLock,
}

impl Choice {
    /// What to try first.
    pub(super) fn first(
        kernel: &Btf,
        features: &Features,
        options: &Options,
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            functions: Functions::of(kernel, features, options.handler),
            segments: segment_hooks(options)?,
            lock: TreeLock::wanted(features, options),
        })
    }

    /// What to try when this failed so; `None`: nothing would help.
    ///
    /// One thing less at a time, for nobody tells which one the verifier does not accept: first what costs
    /// time only, last what exactness needs.
    pub(super) fn after(self, error: &ProbeError, options: &Options) -> Option<Self> {
        let mut next = self;
        match error {
            ProbeError::SegmentFunctions { .. }
                if options.segments.is_some_and(|sources| sources.hints)
                    && options.fentry != Fentry::On =>
            {
                next.segments = SegmentHooks::Hints;
            }
            error if !error.is_refusal() => return None,
            _ if self.lock == TreeLock::Spin => next.lock = TreeLock::Word,
            _ => next.functions = self.functions.fewer()?,
        }
        Some(next)
    }
}

/// How segments are to be told apart, if they are: rather by the kernel's functions.
fn segment_hooks(options: &Options) -> Result<SegmentHooks, ProbeError> {
    match options.segments {
        None => Ok(SegmentHooks::Off),
        Some(sources) if sources.zap.is_some() && options.fentry != Fentry::Off => {
            Ok(SegmentHooks::Functions)
        }
        Some(sources) if sources.hints && options.fentry != Fentry::On => Ok(SegmentHooks::Hints),
        Some(_) => Err(ProbeError::NoSegments),
    }
}

#[cfg(test)]
mod tests {
    use std::{io, iter};

    use aya::programs::ProgramError;
    use aya_obj::VerifierLog;

    use super::{
        Choice, Fentry, Functions, Options, ProbeError, SegmentHooks, TreeLock, segment_hooks,
    };
    use crate::kernel::SegmentSources;

    /// A program that the kernel did not take.
    fn failed(errno: i32) -> ProbeError {
        ProbeError::Load {
            program: "exec",
            source: Box::new(ProgramError::LoadError {
                io_error: io::Error::from_raw_os_error(errno),
                verifier_log: VerifierLog::new(String::new()),
            }),
        }
    }

    fn refused() -> ProbeError {
        failed(libc::EACCES)
    }

    /// One on a kernel function, for segments.
    fn refused_on_function() -> ProbeError {
        ProbeError::SegmentFunctions {
            source: Box::new(refused()),
        }
    }

    fn options(fentry: Fentry, segments: Option<SegmentSources>) -> Options {
        Options {
            fentry,
            segments,
            ..Options::new(2, 4096)
        }
    }

    const BOTH: SegmentSources = SegmentSources {
        zap: Some("unmap_page_range"),
        hints: true,
    };
    const NO_HINTS: SegmentSources = SegmentSources {
        hints: false,
        ..BOTH
    };
    const NO_ZAP: SegmentSources = SegmentSources { zap: None, ..BOTH };

    const ALL: Choice = Choice {
        functions: Functions::ALL,
        segments: SegmentHooks::Functions,
        lock: TreeLock::Spin,
    };

    /// The spin lock goes first, then the kernel's functions one by one, and what segments are told apart
    /// by stays: it can fail only by itself.
    #[test]
    fn what_is_refused_is_tried_with_one_thing_less_each_time() {
        let options = options(Fentry::Auto, Some(BOTH));
        let mut tried = vec![ALL];
        while let Some(next) = tried
            .last()
            .and_then(|last| last.after(&refused(), &options))
        {
            tried.push(next);
            assert!(tried.len() < 10, "{tried:?}");
        }
        let word = Choice {
            lock: TreeLock::Word,
            ..ALL
        };
        // See `functions` for what each of them is.
        let fewer = iter::successors(Some(Functions::ALL), |functions| functions.fewer());
        let mut expected = vec![ALL];
        expected.extend(fewer.map(|functions| Choice { functions, ..word }));
        assert_eq!(expected.len(), 4);
        assert_eq!(tried, expected);
    }

    /// An interrupted verifier and a forbidden one say nothing about programs, nor does anything else.
    #[test]
    fn other_failures_are_not_tried_again() {
        let options = options(Fentry::Auto, Some(BOTH));
        for errno in [libc::EAGAIN, libc::EPERM] {
            assert_eq!(ALL.after(&failed(errno), &options), None);
        }
        assert_eq!(ALL.after(&ProbeError::NoSegments, &options), None);
        assert_eq!(ALL.after(&ProbeError::NotRegistered, &options), None);
        let too_large = ALL.after(&failed(libc::E2BIG), &options);
        assert_eq!(too_large.map(|next| next.lock), Some(TreeLock::Word));
    }

    /// Programs on kernel functions are given up for hints only, with the same lock and functions.
    #[test]
    fn segments_go_by_hints_where_functions_are_refused() {
        let after =
            |fentry, sources| ALL.after(&refused_on_function(), &options(fentry, Some(sources)));
        let hints = Choice {
            segments: SegmentHooks::Hints,
            ..ALL
        };
        assert_eq!(after(Fentry::Auto, BOTH), Some(hints));
        assert_eq!(after(Fentry::Try, BOTH), Some(hints));
        assert_eq!(after(Fentry::On, BOTH), None);
        assert_eq!(after(Fentry::Auto, NO_HINTS), None);
    }

    #[test]
    fn segments_go_by_what_there_is_and_is_wanted() {
        use SegmentHooks::{Functions, Hints, Off};
        let chosen = |fentry, sources| segment_hooks(&options(fentry, sources)).ok();
        for (sources, auto, on, off) in [
            (None, Some(Off), Some(Off), Some(Off)),
            (Some(BOTH), Some(Functions), Some(Functions), Some(Hints)),
            (Some(NO_HINTS), Some(Functions), Some(Functions), None),
            (Some(NO_ZAP), Some(Hints), None, Some(Hints)),
        ] {
            let found = [Fentry::Auto, Fentry::Try, Fentry::On, Fentry::Off]
                .map(|fentry| chosen(fentry, sources));
            assert_eq!(found, [auto, auto, on, off], "{sources:?}");
        }
    }
}
