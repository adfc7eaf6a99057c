//! A run without BPF: what the tracer asks of it, and what becomes of what it tells.

use super::{
    Backend, TraceError, Tracer,
    record::{Feed, kernel_release},
    run::{Traced, words},
};
use crate::{
    attend::Attendant,
    kernel::{Obstacle, Proc, clock, cpus},
    launch::{Signals, Spec, Stopped},
    model::{CrossChecks, Limit, Limited, Sampled, Stats},
    phases::Phases,
    ptrace::{self, News, SoFar},
    recording::{Head, State},
};

/// Runs the command, which is stopped, without BPF.
pub(super) fn without_bpf(
    tracer: &Tracer,
    spec: &Spec,
    stopped: Stopped,
    signals: &mut Signals,
    mut feed: Feed<'_>,
    why: Option<&str>,
    phases: Phases,
) -> Result<Traced, TraceError> {
    // BPF has ids as this process sees them; here they are looked up in /proc.
    if Proc::mounted() != Proc::Own {
        return Err(TraceError::Proc(Obstacle::ProcOfOthers));
    }
    let wanted = ptrace::Wanted {
        ptrace: tracer.backend != Backend::Poll,
        wait_tree: tracer.wait_tree,
        notice: tracer.notice,
    };
    if let Some(notice) = tracer.notice
        && (tracer.segments || tracer.vm_events)
    {
        notice("--segments and --vm-events need BPF, and do nothing here");
    }
    let attendant = Attendant::new(tracer.limit, tracer.live.as_ref());
    let mut sink = None;
    if feed.is_wanted() {
        feed.begin(&sampled(spec))?;
        sink = Some(|news: News<'_>| match news {
            News::Event(event) => feed.event(event),
            News::SoFar(known) => feed.state(&state(known)),
        });
    }
    let sink = sink.as_mut().map(|sink| sink as &mut dyn FnMut(News<'_>));
    let measured = ptrace::trace(wanted, spec, stopped, signals, why, attendant, sink)?;
    feed.finish(&measured.last);
    Ok(Traced {
        summary: measured.model.finish(measured.last),
        finished: measured.finished,
        phases,
    })
}

/// What is known while the run goes on, as recordings have it.
fn state(known: SoFar) -> State {
    let SoFar {
        at,
        tree,
        images,
        processes,
    } = known;
    State {
        at,
        tree,
        images,
        processes,
        stats: Stats::default(),
        undecodable: 0,
        cross_checks: CrossChecks::default(),
        snapshots: Vec::new(),
        segments: Vec::new(),
    }
}

/// What is known of a recording without BPF before it begins.
fn sampled(spec: &Spec) -> Head {
    Head {
        page_size: cpus::page_size(),
        width_ns: 0,
        created_at: clock::boottime().unwrap_or(0),
        realtime_offset_ns: clock::realtime_offset().unwrap_or(0),
        command: words(spec),
        kernel: kernel_release(),
        memtrace: env!("CARGO_PKG_VERSION").to_owned(),
        tier: Sampled::TIER.to_owned(),
        limits: vec![Limit {
            reason: "it was sampled without BPF, and how far from the truth it is was not written"
                .to_owned(),
            bound_bytes: None,
            of: Limited::Rss,
        }],
        record_sizes: Head::own_record_sizes(),
    }
}
