//! Programs on the kernel's own functions, which tell of the mapping that changes of counters are
//! about.

use aya::{
    Btf, Endianness,
    maps::{HashMap, MapError},
    programs::{FEntry, FExit},
};
use memtrace_ebpf::{Base, SegmentHooks, SegmentsRecord};

use super::{Probe, ProbeError, attach, load::program_mut};
use crate::kernel;

/// The programs at the beginning and at the end of each function.
const PROGRAMS: [(&str, &str, Function); 4] = [
    // The one that needs least time to be verified comes first: where one is refused, all are.
    (
        "segment_reclaim",
        "segment_reclaim_done",
        Function::Named("try_to_unmap_one"),
    ),
    (
        "segment_copy",
        "segment_copy_done",
        Function::Named("copy_page_range"),
    ),
    ("segment_zap", "segment_zap_done", Function::Zap),
    (
        "segment_fault",
        "segment_fault_done",
        Function::Named("handle_mm_fault"),
    ),
];

/// Which function of the kernel.
#[derive(Clone, Copy)]
enum Function {
    Named(&'static str),
    /// The one that unmaps, whose name depends on the kernel.
    Zap,
}

/// The program that adds what was there before tracing, called for each thread.
pub(super) const BASES: &str = "base_segments";

/// The tracepoints of [`SegmentHooks::Hints`], as in [`super::load`].
pub(super) const HINTS: [(&str, &str); 3] = [
    ("segment_user_fault", "page_fault_user"),
    ("segment_kernel_fault", "page_fault_kernel"),
    ("segment_syscall", "sys_enter"),
];

impl Probe {
    /// Attaches all of them.
    pub(super) fn attach_functions(
        &mut self,
        kernel: &kernel::Btf,
        zap: &'static str,
    ) -> Result<(), ProbeError> {
        for (begin, end, function) in PROGRAMS {
            let name = match function {
                Function::Named(name) => name,
                Function::Zap => zap,
            };
            let id = kernel
                .function(name)
                .ok_or(ProbeError::NoFunction { name })?;
            let btf = Btf::parse(&attach::function(id, name), Endianness::default())
                .map_err(|source| ProbeError::Btf { source })?;
            let load = |program, source| ProbeError::Load {
                program,
                source: Box::new(source),
            };
            let attach = |program, source| ProbeError::Attach {
                program,
                source: Box::new(source),
            };
            // The end first: what was begun without its end would stay.
            let program: &mut FExit = program_mut(&mut self.ebpf, end)?;
            program.load(name, &btf).map_err(|e| load(end, e))?;
            program.attach().map_err(|e| attach(end, e))?;
            let program: &mut FEntry = program_mut(&mut self.ebpf, begin)?;
            program.load(name, &btf).map_err(|e| load(begin, e))?;
            program.attach().map_err(|e| attach(begin, e))?;
        }
        Ok(())
    }

    /// Their names, if they are in use.
    pub(super) fn functions(&self) -> impl Iterator<Item = &'static str> + use<> {
        let on = self.segments == SegmentHooks::Functions;
        PROGRAMS
            .into_iter()
            .flat_map(|(begin, end, _)| [begin, end])
            .filter(move |_| on)
    }

    /// Detaches a program on a function.
    pub(super) fn detach_function(&mut self, name: &'static str) -> Result<(), ProbeError> {
        let failed = |source| ProbeError::Attach {
            program: name,
            source: Box::new(source),
        };
        if let Ok(program) = program_mut::<FExit>(&mut self.ebpf, name) {
            return program.unload().map_err(failed);
        }
        let program: &mut FEntry = program_mut(&mut self.ebpf, name)?;
        program.unload().map_err(failed)
    }

    /// How segments are told apart.
    #[must_use]
    pub const fn segments(&self) -> SegmentHooks {
        self.segments
    }

    /// What the segments of the `mm_struct` at this address hold, if they are told apart.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn segments_of(&self, mm: u64) -> Result<Option<SegmentsRecord>, ProbeError> {
        const MAP: &str = "SEGMENTS_OF";
        if self.segments == SegmentHooks::Off {
            return Ok(None);
        }
        let failed = |source: MapError| ProbeError::Map {
            operation: "read",
            map: MAP,
            source,
        };
        let map = HashMap::<_, u64, SegmentsRecord>::try_from(self.map(MAP)?).map_err(failed)?;
        match map.get(&mm, 0) {
            Ok(segments) => Ok(Some(segments)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Gives the segments of images that were there before tracing, by the address of their `mm_struct`, what they
    /// had then. What has ended does not get it.
    ///
    /// # Errors
    ///
    /// When the map cannot be written or going through all threads fails.
    pub fn base_segments(&mut self, bases: &[(u64, Base)]) -> Result<(), ProbeError> {
        const MAP: &str = "BASES_OF";
        let failed = |operation| {
            move |source: MapError| ProbeError::Map {
                operation,
                map: MAP,
                source,
            }
        };
        for some in bases.chunks(memtrace_ebpf::BASES) {
            let mut map =
                HashMap::<_, u64, Base>::try_from(self.map_mut(MAP)?).map_err(failed("open"))?;
            for (mm, base) in some {
                map.insert(mm, base, 0).map_err(failed("fill"))?;
            }
            self.go_through_threads(BASES)?;
            let mut map =
                HashMap::<_, u64, Base>::try_from(self.map_mut(MAP)?).map_err(failed("open"))?;
            for (mm, _) in some {
                map.remove(mm).map_err(failed("empty"))?;
            }
        }
        Ok(())
    }

    /// No image gets any more of [`Probe::base_segments`].
    ///
    /// # Errors
    ///
    /// When the program for it cannot be unloaded.
    pub fn end_bases(&mut self) -> Result<(), ProbeError> {
        self.unload_walk(BASES)
    }

    /// Segments of images that live.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub(super) fn all_segments(&self) -> Result<Vec<SegmentsRecord>, ProbeError> {
        const MAP: &str = "SEGMENTS_OF";
        if self.segments == SegmentHooks::Off {
            return Ok(Vec::new());
        }
        let failed = |operation| {
            move |source: MapError| ProbeError::Map {
                operation,
                map: MAP,
                source,
            }
        };
        let map =
            HashMap::<_, u64, SegmentsRecord>::try_from(self.map(MAP)?).map_err(failed("open"))?;
        let mut found = Vec::new();
        for key in map.keys().take(self.most_images) {
            match map.get(&key.map_err(failed("read"))?, 0) {
                Ok(segments) => found.push(segments),
                // It ended meanwhile.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(failed("read")(error)),
            }
        }
        Ok(found)
    }
}

/// A failure to load or attach one of them.
pub(super) fn refused(error: ProbeError) -> ProbeError {
    ProbeError::SegmentFunctions {
        source: Box::new(error),
    }
}
