//! The kernel side's structs, field by field.
//!
//! Each struct has one function that visits its fields in the order of the format; the same
//! function writes and reads. New fields go to the end, so that older readers skip them.
//! Addresses of kernel memory are not recorded: a recording can be given away.

use memtrace_ebpf::{
    Branch, COMM_LEN, Image, ImageWindow, Integral, Process, SEGMENTS, SIZES, SegmentsRecord, Tree,
    TreeWindow,
    event::{Exec, Exit, Fork, Freed, Header, IMAGE_WINDOW, Oom, TREE_WINDOW},
};

use super::varint::{Bytes, Malformed, put, put_bytes, unzigzag, zigzag};

/// Writes fields or reads them.
pub(super) trait Visit {
    /// A number without sign.
    fn number(&mut self, value: &mut u64);
    /// Bytes of any length; what does not fit into the slice is dropped. Gives how many
    /// there are.
    fn bytes(&mut self, value: &mut [u8], len: usize) -> usize;
    /// Whether there are further fields.
    fn has_more(&self) -> bool;
    /// A time, as the distance from `base`.
    fn time(&mut self, value: &mut u64, base: u64) {
        let mut distance = zigzag(value.wrapping_sub(base).cast_signed());
        self.number(&mut distance);
        *value = base.wrapping_add(unzigzag(distance).cast_unsigned());
    }
    /// A number with sign.
    fn signed(&mut self, value: &mut i64) {
        let mut number = zigzag(*value);
        self.number(&mut number);
        *value = unzigzag(number);
    }
    /// A number of 32 bits.
    fn small(&mut self, value: &mut u32) {
        let mut number = u64::from(*value);
        self.number(&mut number);
        // Larger ones are nothing a writer of this version writes.
        *value = u32::try_from(number).unwrap_or(u32::MAX);
    }
}

/// Appends fields.
#[derive(Debug)]
pub(super) struct Put<'a>(pub(super) &'a mut Vec<u8>);

impl Visit for Put<'_> {
    fn has_more(&self) -> bool {
        true
    }

    fn number(&mut self, value: &mut u64) {
        put(self.0, *value);
    }

    fn bytes(&mut self, value: &mut [u8], len: usize) -> usize {
        let value = value.get(..len).unwrap_or(value);
        put_bytes(self.0, value);
        value.len()
    }
}

/// Takes fields off.
#[derive(Debug)]
pub(super) struct Take<'a> {
    bytes: Bytes<'a>,
    malformed: bool,
}

impl<'a> Take<'a> {
    pub(super) const fn new(bytes: Bytes<'a>) -> Self {
        Self {
            bytes,
            malformed: false,
        }
    }

    /// Whether all fields were there.
    pub(super) const fn end(&self) -> Result<(), Malformed> {
        if self.malformed {
            Err(Malformed)
        } else {
            Ok(())
        }
    }
}

impl Visit for Take<'_> {
    fn has_more(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn number(&mut self, value: &mut u64) {
        match self.bytes.number() {
            Ok(number) => *value = number,
            Err(Malformed) => self.malformed = true,
        }
    }

    fn bytes(&mut self, value: &mut [u8], _len: usize) -> usize {
        let Ok(bytes) = self.bytes.bytes() else {
            self.malformed = true;
            return 0;
        };
        for (to, from) in value.iter_mut().zip(bytes) {
            *to = *from;
        }
        bytes.len().min(value.len())
    }
}

fn integrals(v: &mut impl Visit, integrals: &mut [Integral]) {
    for Integral { hi, lo } in integrals {
        v.number(hi);
        v.number(lo);
    }
}

fn signed(v: &mut impl Visit, values: &mut [i64]) {
    for value in values {
        v.signed(value);
    }
}

fn numbers(v: &mut impl Visit, values: &mut [u64]) {
    for value in values {
        v.number(value);
    }
}

fn times(v: &mut impl Visit, values: &mut [u64], base: u64) {
    for value in values {
        v.time(value, base);
    }
}

/// An image; times as distances from `base`.
pub(super) fn image(v: &mut impl Visit, image: &mut Image, base: u64) {
    let Image {
        // Told by what is around it.
        header: _,
        id,
        mm: _,
        // That of its process.
        branch: _,
        parent,
        process,
        tgid,
        tree,
        state,
        kind,
        born_at,
        cur,
        peak,
        peak_rss,
        peak_rss_at,
        own_peak,
        peak_rss_swap,
        held_rss_swap,
        at_peak,
        at_peak_shared,
        seq,
        integral,
        integral_at,
        events,
        vm_peak,
        vm_cur,
        vm_integral,
        vm_integral_at,
        hiwater_vm,
        hiwater_rss,
        text_bytes,
        inherited,
        shared,
        uncertain,
        huge,
        peak_huge,
        // The kernel side's notes for itself.
        freed: _,
        freed_before: _,
        vm_before: _,
        sizes_are_new: _,
        own_peak_is_cur: _,
        events_before: _,
        looked_at: _,
        faults_seen: _,
        fault_pending: _,
        user_left: _,
        lent: _,
        held_shared: _,
        borrowers: _,
        sharer: _,
        heir: _,
        last_heir: _,
        older: _,
        younger: _,
        held_back: _,
        counted: _,
        readings: _,
        booked: _,
        residual,
        cpu_mask: _,
        cpus: _,
        ncpus: _,
        end_reason,
        window,
    } = image;
    v.number(id);
    v.number(parent);
    v.small(tgid);
    v.small(tree);
    v.small(state);
    v.small(kind);
    v.time(born_at, base);
    signed(v, cur);
    signed(v, peak);
    v.signed(peak_rss);
    v.time(peak_rss_at, base);
    signed(v, own_peak);
    v.signed(peak_rss_swap);
    v.signed(held_rss_swap);
    signed(v, at_peak);
    v.signed(at_peak_shared);
    v.number(seq);
    integrals(v, integral);
    times(v, integral_at, base);
    v.number(events);
    // The first that there were; the others are at the end.
    let (peaks, more_peaks) = vm_peak.split_at_mut(6);
    let (sizes_now, more_sizes) = vm_cur.split_at_mut(3);
    let (sums, more_sums) = vm_integral.split_at_mut(3);
    numbers(v, peaks);
    numbers(v, sizes_now);
    integrals(v, sums);
    v.time(vm_integral_at, base);
    v.number(hiwater_vm);
    v.number(hiwater_rss);
    v.number(text_bytes);
    v.signed(inherited);
    v.signed(shared);
    v.signed(uncertain);
    v.signed(residual);
    v.small(end_reason);
    // No meaning any more: sizes of virtual memory as windows have them.
    numbers(v, &mut [0; SIZES]);
    image_window(v, window, base);
    if window.updates > 0 {
        window.image = *id;
        window.header.tree = *tree;
    }
    // Those of the first files end here.
    if v.has_more() {
        numbers(v, more_peaks);
        numbers(v, more_sizes);
        integrals(v, more_sums);
    }
    if v.has_more() {
        v.signed(huge);
        v.signed(peak_huge);
        v.number(process);
    }
}

/// An image's open window; one that is not open is one number.
fn image_window(v: &mut impl Visit, window: &mut ImageWindow, base: u64) {
    let ImageWindow {
        header: Header { kind, tree: _, at },
        // Those of the image around it.
        image: _,
        start,
        seq,
        min_rss,
        max_rss,
        max_rss_at,
        min,
        max,
        last,
        at_tree_max,
        sizes,
        updates,
        counted,
    } = window;
    v.small(updates);
    if *updates == 0 {
        return;
    }
    *kind = IMAGE_WINDOW;
    v.time(at, base);
    v.time(start, base);
    v.number(seq);
    v.signed(min_rss);
    v.signed(max_rss);
    v.time(max_rss_at, base);
    signed(v, min);
    signed(v, max);
    signed(v, last);
    signed(v, at_tree_max);
    numbers(v, sizes);
    v.small(counted);
}

/// The tree's open window; one that is not open is one number.
fn tree_window(v: &mut impl Visit, window: &mut TreeWindow, base: u64) {
    let TreeWindow {
        header: Header { kind, tree: _, at },
        start,
        seq,
        min_rss,
        max_rss,
        max_rss_at,
        min,
        max,
        last,
        at_max,
        shared,
        uncertain,
        updates,
    } = window;
    v.number(updates);
    if *updates == 0 {
        return;
    }
    *kind = TREE_WINDOW;
    v.time(at, base);
    v.time(start, base);
    v.number(seq);
    v.signed(min_rss);
    v.signed(max_rss);
    v.time(max_rss_at, base);
    signed(v, min);
    signed(v, max);
    signed(v, last);
    signed(v, at_max);
    v.signed(shared);
    v.signed(uncertain);
}

/// A tree; times as distances from `base`.
pub(super) fn tree(v: &mut impl Visit, tree: &mut Tree, base: u64) {
    let Tree {
        // The kernel side's notes for itself.
        lock: _,
        moment: _,
        epoch: _,
        epoch_start: _,
        epoch_high: _,
        epoch_rss: _,
        index: _,
        held_shared: _,
        held_shared_next: _,
        copying: _,
        events_before: _,
        shared_next: _,
        uncertain_next: _,
        latest: _,
        unlocked,
        cur,
        rss,
        peak_rss,
        peak_rss_at,
        peak_seq,
        peak,
        peak_rss_swap,
        held_rss_swap,
        integral,
        integral_at,
        shared,
        uncertain,
        peak_footprint_low,
        peak_footprint_low_at,
        peak_footprint_high,
        peak_footprint_high_at,
        files,
        files_of,
        files_integral,
        files_integral_at,
        shared_integral,
        shared_integral_at,
        huge,
        peak_huge,
        started_at,
        events,
        images,
        processes,
        live,
        threads,
        peak_threads,
        family_lost,
        window,
    } = tree;
    v.number(unlocked);
    signed(v, cur);
    v.signed(rss);
    v.signed(peak_rss);
    v.time(peak_rss_at, base);
    v.number(peak_seq);
    signed(v, peak);
    v.signed(peak_rss_swap);
    v.signed(held_rss_swap);
    integrals(v, integral);
    times(v, integral_at, base);
    v.signed(shared);
    v.signed(uncertain);
    v.signed(peak_footprint_low);
    v.time(peak_footprint_low_at, base);
    v.signed(peak_footprint_high);
    v.time(peak_footprint_high_at, base);
    integrals(v, std::slice::from_mut(shared_integral));
    v.time(shared_integral_at, base);
    v.time(started_at, base);
    v.number(events);
    v.number(images);
    v.number(processes);
    v.signed(live);
    v.signed(threads);
    v.signed(peak_threads);
    v.number(family_lost);
    tree_window(v, window, base);
    // Those of the first files end here.
    if v.has_more() {
        v.signed(files);
        v.number(files_of);
        integrals(v, std::slice::from_mut(files_integral));
        v.time(files_integral_at, base);
        v.signed(huge);
        v.signed(peak_huge);
    }
}

/// What one of several roots has with its descendants; times as distances from `base`.
pub(super) fn branch(v: &mut impl Visit, branch: &mut Branch, base: u64) {
    let Branch {
        cur,
        rss,
        peak_rss,
        peak_rss_at,
        at_peak,
    } = branch;
    signed(v, cur);
    v.signed(rss);
    v.signed(peak_rss);
    v.time(peak_rss_at, base);
    signed(v, at_peak);
}

/// What an image's segments hold.
pub(super) fn segments(v: &mut impl Visit, segments: &mut SegmentsRecord) {
    let SegmentsRecord {
        // Told by what is around it.
        header: _,
        image,
        untold,
        cur,
        at_peak,
        peak_resident,
        peak_swapped,
        // The kernel side's notes for itself.
        booked: _,
        untold_at_end: _,
        at_peak_is_cur: _,
        residual,
        mapped: _,
        mapped_at_peak,
        peak_mapped,
        looked_for: _,
        looked_at: _,
        mapped_known,
        watched,
        mixed,
        bookers: _,
        reserved: _,
    } = segments;
    v.number(image);
    v.number(untold);
    v.number(residual);
    for segment in 0..SEGMENTS {
        signed(v, &mut cur[segment]);
        signed(v, &mut at_peak[segment]);
        v.signed(&mut peak_resident[segment]);
        v.signed(&mut peak_swapped[segment]);
    }
    v.number(mapped_known);
    for segment in 0..SEGMENTS {
        v.number(&mut mapped_at_peak[segment]);
        v.number(&mut peak_mapped[segment]);
    }
    if v.has_more() {
        v.number(watched);
        v.number(mixed);
    }
}

/// A process that lives; times as distances from `base`.
pub(super) fn process(v: &mut impl Visit, process: &mut Process, base: u64) {
    let Process {
        id,
        mm: _,
        refused_mm: _,
        // In the flags.
        oom_killed: _,
        exited: _,
        refused_child: _,
        image,
        started_at,
        tgid,
        ns_tgid,
        creator,
        tree,
        // Told by who its roots are.
        branch: _,
        reserved: _,
        flags,
        threads,
        exits,
        utime,
        stime,
        min_flt,
        maj_flt,
    } = process;
    v.small(tgid);
    v.small(ns_tgid);
    v.small(creator);
    v.small(tree);
    v.small(flags);
    v.number(image);
    v.time(started_at, base);
    v.number(threads);
    v.number(exits);
    v.number(utime);
    v.number(stime);
    v.number(min_flt);
    v.number(maj_flt);
    if v.has_more() {
        v.number(id);
    }
}

fn comm(v: &mut impl Visit, comm: &mut [u8; COMM_LEN]) {
    let len = comm.iter().position(|&b| b == 0).unwrap_or(comm.len());
    v.bytes(comm, len);
}

/// A record of a process's creation; its header is told by what is around it.
pub(super) fn fork(v: &mut impl Visit, fork: &mut Fork) {
    let Fork {
        header: Header { at, .. },
        process,
        creator_process,
        tgid,
        ns_tgid,
        creator,
        flags,
        image,
        started_at,
        inherited,
        comm: name,
    } = fork;
    v.small(tgid);
    v.small(ns_tgid);
    v.small(creator);
    v.small(flags);
    v.number(image);
    v.time(started_at, *at);
    v.signed(inherited);
    comm(v, name);
    if v.has_more() {
        v.number(process);
        v.number(creator_process);
    }
}

/// A record of a new program. Of path and arguments only what is valid.
pub(super) fn exec(v: &mut impl Visit, exec: &mut Exec) {
    let Exec {
        header: _,
        process,
        tgid,
        old_tid,
        image,
        old_image,
        maxrss,
        args_total,
        args_len,
        path_len,
        reserved: _,
        comm: name,
        path,
        args,
    } = exec;
    v.small(tgid);
    v.small(old_tid);
    v.number(image);
    v.number(old_image);
    v.number(maxrss);
    v.small(args_total);
    comm(v, name);
    *path_len = valid(v, path, *path_len);
    *args_len = valid(v, args, *args_len);
    if v.has_more() {
        v.number(process);
    }
}

/// The valid part of a field of bytes; gives its length.
fn valid(v: &mut impl Visit, field: &mut [u8], len: u32) -> u32 {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(field.len());
    u32::try_from(v.bytes(field, len)).unwrap_or(u32::MAX)
}

/// A record of a process's end.
pub(super) fn exit(v: &mut impl Visit, exit: &mut Exit) {
    let Exit {
        header: _,
        process,
        tgid,
        wait_status,
        again,
        flags,
        utime,
        stime,
        min_flt,
        maj_flt,
        maxrss,
        threads,
        reserved: _,
    } = exit;
    v.small(tgid);
    v.small(wait_status);
    v.small(again);
    v.small(flags);
    v.number(utime);
    v.number(stime);
    v.number(min_flt);
    v.number(maj_flt);
    v.number(maxrss);
    v.small(threads);
    if v.has_more() {
        v.number(process);
    }
}

/// A record of when the kernel let go of a process.
pub(super) fn freed(v: &mut impl Visit, freed: &mut Freed) {
    let Freed {
        header: _,
        process,
        runtime,
        utime,
        stime,
    } = freed;
    v.number(process);
    v.number(runtime);
    v.number(utime);
    v.number(stime);
}

/// A record of the OOM killer's choice.
pub(super) fn oom(v: &mut impl Visit, oom: &mut Oom) {
    let Oom {
        header: _,
        process,
        tgid,
        reserved: _,
    } = oom;
    v.small(tgid);
    if v.has_more() {
        v.number(process);
    }
}
