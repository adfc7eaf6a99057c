//! A trace for Perfetto's UI and `trace_processor`.
//!
//! * Each process is a process of the trace, with the counters that Perfetto knows from
//!   `/proc` (`mem.rss`, `mem.rss.anon`, ..., `mem.rss.watermark`), a slice per program that
//!   it ran, and instants for exec, exit and OOM kills. Its values are those of the image it
//!   used at that moment; memory of a fork or execve that failed is only in the tree.
//! * Where the recording has segments, each process has a counter per segment.
//! * Where it has calls that change mappings (`--events`), each thread has a track of them.
//! * The tree is a group of counters that share one axis, with instants for the peak and for
//!   lost records.
//!
//! Values are exact at the moments they are given for. Where the timeline has a width, these
//! are, per span: the image's maximum, what it held at the tree's maximum, and, at the
//! span's end, the last value. So the maximum of a counter of RSS is the peak.
//!
//! Packets are written as they come and can be cut anywhere: Perfetto sorts them by time.

mod calls;
mod counters;
mod lives;
mod proto;
mod segments;
mod stories;

use std::io;

use prost::Message as _;

use self::{
    lives::Lives,
    proto::{
        BOOTTIME, Clock, ClockSnapshot, DebugAnnotation, INCREMENTAL_STATE_CLEARED, Packet,
        REALTIME, TrackDescriptor, TrackEvent,
    },
};
use super::{Data, ExportError};

/// Writes the trace.
///
/// # Errors
///
/// The writer's, or the timeline cannot be read.
pub fn write(data: &Data<'_>, out: &mut dyn io::Write) -> Result<(), ExportError> {
    let mut trace = Trace {
        out,
        buffer: Vec::new(),
        start: data.started_boot_ns.unwrap_or(0),
    };
    let lives = Lives::new(data.summary);
    trace.header(data.summary.started_unix_ns)?;
    stories::tree(data, &mut trace)?;
    stories::processes(data, &lives, &mut trace)?;
    counters::processes_alive(data, &mut trace)?;
    counters::tree(data, &mut trace)?;
    counters::images(data, &lives, &mut trace)?;
    segments::segments(data, &lives, &mut trace)?;
    calls::calls(data, &lives, &mut trace)
}

/// Where packets go.
struct Trace<'o> {
    out: &'o mut dyn io::Write,
    buffer: Vec<u8>,
    /// The tree's start on the trace's clock.
    start: u64,
}

impl Trace<'_> {
    /// A moment on the trace's clock.
    const fn time(&self, ns: u64) -> u64 {
        self.start.saturating_add(ns)
    }

    /// Writes `packet` with the time of `ns` since the tree's start.
    fn packet(&mut self, ns: u64, packet: Packet) -> io::Result<()> {
        /// Key of the field `Trace.packet`: number 1, of a given length.
        const PACKET: u8 = 1 << 3 | 2;
        let packet = Packet {
            timestamp: Some(self.time(ns)),
            trusted_packet_sequence_id: Some(1),
            ..packet
        };
        self.buffer.clear();
        self.buffer.push(PACKET);
        packet
            .encode_length_delimited(&mut self.buffer)
            .map_err(io::Error::other)?;
        self.out.write_all(&self.buffer)
    }

    fn header(&mut self, started_unix_ns: Option<u64>) -> io::Result<()> {
        let clock = |clock_id, timestamp| Clock {
            clock_id: Some(clock_id),
            timestamp: Some(timestamp),
        };
        let mut clocks = vec![clock(BOOTTIME, self.start)];
        clocks.extend(started_unix_ns.map(|unix| clock(REALTIME, unix)));
        let snapshot = ClockSnapshot {
            clocks,
            primary_trace_clock: Some(BOOTTIME),
        };
        self.packet(
            0,
            Packet {
                clock_snapshot: Some(snapshot),
                sequence_flags: Some(INCREMENTAL_STATE_CLEARED),
                ..Packet::default()
            },
        )
    }

    fn track(&mut self, ns: u64, track: TrackDescriptor) -> io::Result<()> {
        self.packet(
            ns,
            Packet {
                track_descriptor: Some(track),
                ..Packet::default()
            },
        )
    }

    fn event(&mut self, ns: u64, event: TrackEvent) -> io::Result<()> {
        self.packet(
            ns,
            Packet {
                track_event: Some(event),
                ..Packet::default()
            },
        )
    }
}

/// A number shown with a slice or an instant.
fn number(name: &str, value: u64) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        uint_value: Some(value),
        ..DebugAnnotation::default()
    }
}

/// A number that can be below 0.
fn signed(name: &str, value: i64) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        int_value: Some(value),
        ..DebugAnnotation::default()
    }
}

/// A text shown with a slice or an instant.
fn text(name: &str, value: String) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        string_value: Some(value),
        ..DebugAnnotation::default()
    }
}

/// A pid as the format has it.
fn pid(pid: u32) -> i32 {
    i32::try_from(pid).unwrap_or(i32::MAX)
}
