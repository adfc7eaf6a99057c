//! Records of processes and of images that ended, one item each.

use std::collections::VecDeque;

use memtrace_ebpf::{
    Image, SegmentsRecord,
    event::{EXEC, EXIT, Exec, Exit, FORK, FREED, Fork, Freed, IMAGE_END, OOM, Oom, SEGMENTS},
};

use super::{
    fields::{self, Put, Take},
    items::{next_item, put_item},
    varint::{Bytes, Malformed, put, unzigzag, zigzag},
};
use crate::{blank, event::Event};

/// A block of such records that is being filled.
#[derive(Debug, Default)]
pub(super) struct Life {
    out: Vec<u8>,
    body: Vec<u8>,
    /// Time of the record before.
    at: u64,
}

impl Life {
    /// Takes a record in that came after `position` records of the timeline of the same
    /// stretch; records of the timeline themselves are nothing for it.
    pub(super) fn push(&mut self, event: &Event, position: u32) {
        let body = &mut self.body;
        body.clear();
        let header = event.header();
        put(body, position.into());
        put(body, zigzag(header.at.wrapping_sub(self.at).cast_signed()));
        put(body, header.tree.into());
        let v = &mut Put(body);
        let tag = match event {
            Event::Fork(fork) => {
                fields::fork(v, &mut { *fork });
                FORK
            }
            Event::Exec(exec) => {
                fields::exec(v, &mut exec.as_ref().clone());
                EXEC
            }
            Event::Exit(exit) => {
                fields::exit(v, &mut { *exit });
                EXIT
            }
            Event::Freed(freed) => {
                fields::freed(v, &mut { *freed });
                FREED
            }
            Event::ImageEnd(image) => {
                fields::image(v, &mut image.as_ref().clone(), header.at);
                IMAGE_END
            }
            Event::Oom(oom) => {
                fields::oom(v, &mut { *oom });
                OOM
            }
            Event::Segments(segments) => {
                fields::segments(v, &mut segments.as_ref().clone());
                SEGMENTS
            }
            Event::Change(_)
            | Event::SizesChange(_)
            | Event::SegmentsChange(_)
            | Event::Call(_)
            | Event::ImageWindow(_)
            | Event::TreeWindow(_) => return,
        };
        self.at = header.at;
        put_item(&mut self.out, tag.into(), &self.body);
    }

    /// How many bytes there are so far.
    pub(super) const fn len(&self) -> usize {
        self.out.len()
    }

    /// The block's contents; begins the next one.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.at = 0;
        std::mem::take(&mut self.out)
    }
}

/// Reads a whole block: each record with its position in the timeline.
pub(super) fn read(raw: &[u8]) -> Result<VecDeque<(u32, Event)>, Malformed> {
    let mut events = VecDeque::new();
    let mut rest = Bytes(raw);
    let mut before = 0;
    while let Some((tag, mut body)) = next_item(&mut rest)? {
        let position = u32::try_from(body.number()?).unwrap_or(u32::MAX);
        let at = body.number()?;
        let at = unzigzag(at).cast_unsigned().wrapping_add(before);
        before = at;
        let tree = u32::try_from(body.number()?).unwrap_or(u32::MAX);
        let Ok(kind) = u32::try_from(tag) else {
            continue;
        };
        let mut header = blank::HEADER;
        (header.kind, header.tree, header.at) = (kind, tree, at);
        let mut v = Take::new(body);
        let event = match kind {
            FORK => {
                let mut fork = Fork {
                    header,
                    ..blank::FORK
                };
                fields::fork(&mut v, &mut fork);
                Event::Fork(fork)
            }
            EXEC => {
                let mut exec = Box::new(Exec {
                    header,
                    ..blank::EXEC
                });
                fields::exec(&mut v, &mut exec);
                Event::Exec(exec)
            }
            EXIT => {
                let mut exit = Exit {
                    header,
                    ..blank::EXIT
                };
                fields::exit(&mut v, &mut exit);
                Event::Exit(exit)
            }
            FREED => {
                let mut freed = Freed {
                    header,
                    ..blank::FREED
                };
                fields::freed(&mut v, &mut freed);
                Event::Freed(freed)
            }
            IMAGE_END => {
                let mut image = Box::new(Image {
                    header,
                    ..blank::IMAGE
                });
                fields::image(&mut v, &mut image, at);
                Event::ImageEnd(image)
            }
            OOM => {
                let mut oom = Oom {
                    header,
                    ..blank::OOM
                };
                fields::oom(&mut v, &mut oom);
                Event::Oom(oom)
            }
            SEGMENTS => {
                let mut segments = Box::new(SegmentsRecord {
                    header,
                    ..blank::SEGMENTS
                });
                fields::segments(&mut v, &mut segments);
                Event::Segments(segments)
            }
            // From a newer schema.
            _ => continue,
        };
        v.end()?;
        events.push_back((position, event));
    }
    Ok(events)
}
