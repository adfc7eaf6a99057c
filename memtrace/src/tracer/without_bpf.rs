//! A run without BPF: what the tracer asks of it, and what becomes of what it tells.

use super::{
    Backend, TraceError, Tracer,
    ears::Ears,
    looking::{Looking, Onlooker},
    record::{Feed, kernel_release},
    run::{Traced, words},
};
use crate::{
    attend::Attendant,
    kernel::{Obstacle, Proc, clock, cpus},
    launch::{Signals, Spec, Stopped},
    model::{Limit, Limited, Sampled},
    overview::Overview,
    phases::Phases,
    ptrace::{self, Listener},
    recording::Head,
};

/// Runs the command, which is stopped, without BPF.
pub(super) fn without_bpf<'a>(
    tracer: &Tracer,
    spec: &Spec,
    stopped: Stopped,
    signals: &mut Signals,
    (feed, onlooker): (Feed<'a>, Option<Onlooker<'a>>),
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
    let mut ears = Ears::new(feed, onlooker.map(|onlooker| looking(tracer, onlooker)));
    ears.begin(&sampled(words(spec)))?;
    let listener = ears.listens().then_some(&mut ears as &mut dyn Listener);
    let measured = ptrace::trace(wanted, spec, stopped, signals, why, attendant, listener)?;
    ears.feed.finish(&measured.last);
    Ok(Traced {
        summary: measured.model.finish(measured.last),
        finished: measured.finished,
        phases,
    })
}

fn looking<'a>(tracer: &Tracer, onlooker: Onlooker<'a>) -> Looking<'a> {
    let overview = Overview::new(cpus::page_size(), clock::boottime().unwrap_or(0), true);
    Looking::new(onlooker, overview, tracer.limit.map(|limit| limit.peak_rss))
}

/// What is known of a recording without BPF before it begins.
fn sampled(command: Vec<Vec<u8>>) -> Head {
    Head {
        page_size: cpus::page_size(),
        width_ns: 0,
        created_at: clock::boottime().unwrap_or(0),
        realtime_offset_ns: clock::realtime_offset().unwrap_or(0),
        command,
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
