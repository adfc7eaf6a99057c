//! Without BPF: what is asked of `ptrace`, and what becomes of what it tells.

use std::time::Duration;

use super::{
    Backend, TraceError, Tracer,
    attach::{Attached, Stop},
    ears::Ears,
    looking::{Looking, Onlooker},
    record::{Feed, kernel_release},
    roots::Wanted,
    run::{Traced, words},
    system,
};
use crate::{
    attend::Attendant,
    cgroup::Cgroup,
    kernel::{Obstacle, Proc, clock, cpus},
    launch::{Signals, Spec, Stopped},
    model::{Limit, Limited, Sampled, reasons::Remedy},
    overview::Overview,
    phases::Phases,
    ptrace::{self, Asked, Attachment, Listener, Over, Seen},
    recording::Head,
    targets::Target,
};

/// Runs the command, which is stopped, without BPF.
pub(super) fn run<'a>(
    tracer: &Tracer,
    spec: &Spec,
    (stopped, cgroup): (Stopped, Option<Cgroup>),
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
        cgroup: cgroup.as_ref(),
    };
    tell_of_idle(tracer);
    let attendant = Attendant::new(tracer.limit, tracer.live.as_ref());
    let mut ears = Ears::new(feed, onlooker.map(|onlooker| looking(tracer, onlooker)));
    ears.begin(&sampled(words(spec)))?;
    let listener = ears.listens().then_some(&mut ears as &mut dyn Listener);
    let mut measured = ptrace::trace(wanted, spec, stopped, signals, why, attendant, listener)?;
    measured.last.own_cgroup = cgroup.map(|cgroup| Box::new(cgroup.finish()));
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
            reason: Remedy::UseBpf
                .end("it was sampled, and how far from the truth it is comes with its end"),
            bound_bytes: None,
            of: Limited::Rss,
        }],
        record_sizes: Head::own_record_sizes(),
    }
}

/// What was taken over; or, where BPF cannot be used or is not wanted, why.
pub(super) fn instead<T>(
    tracer: &Tracer,
    taken: impl FnOnce() -> Result<T, TraceError>,
) -> Result<Result<T, Option<String>>, TraceError> {
    if matches!(tracer.backend, Backend::Ptrace | Backend::Poll) {
        return Ok(Err(None));
    }
    match taken() {
        Ok(taken) => Ok(Ok(taken)),
        Err(error) if tracer.backend == Backend::Auto && error.is_of_bpf() => {
            log::info!("BPF cannot be used: {error}");
            Ok(Err(Some(error.cause())))
        }
        Err(error) => Err(error),
    }
}

/// Looks at what runs already.
pub(super) fn attach<'a>(
    tracer: &'a Tracer,
    (targets, duration): (&[Target], Option<Duration>),
    (feed, onlooker): (Feed<'a>, Option<Onlooker<'a>>),
    signals: &Signals,
    why: Option<&str>,
    mut phases: Phases,
) -> Result<Attached, TraceError> {
    let (wanted, asked) = ask(tracer, targets, duration)?;
    notice(tracer, why);
    let mut ears = Ears::new(feed, onlooker.map(|onlooker| looking(tracer, onlooker)));
    ears.begin(&sampled(asked.command.clone()))
        .map_err(|error| match error {
            TraceError::Recording(source) => TraceError::Unrecorded(source),
            other => other,
        })?;
    let attendant = Attendant::new(tracer.limit, tracer.live.as_ref());
    let listener = ears.listens().then_some(&mut ears as &mut dyn Listener);
    let Some(attachment) = Attachment::begin(asked, listener) else {
        return Err(wanted.gone().into());
    };
    phases.done("what runs is taken in");
    let seen = attachment.follow(signals, attendant);
    let Seen {
        model,
        mut last,
        over,
    } = seen.map_err(system("wait for signals"))?;
    phases.at("it is over");
    last.limits.extend(wanted.limits());
    ears.feed.finish(&last);
    Ok(Attached {
        summary: model.finish(last),
        stop: stop(over),
        phases,
    })
}

/// Shows what runs already.
pub(super) fn observe(
    tracer: &Tracer,
    targets: &[Target],
    onlooker: Onlooker<'_>,
    signals: &Signals,
    why: Option<&str>,
) -> Result<Stop, TraceError> {
    let (wanted, mut asked) = ask(tracer, targets, None)?;
    asked.only_shown = true;
    notice(tracer, why);
    let mut ears = Ears::new(Feed::new(None), Some(looking(tracer, onlooker))).that_show_ends();
    let Some(attachment) = Attachment::begin(asked, Some(&mut ears)) else {
        return Err(wanted.gone().into());
    };
    let seen = attachment.follow(signals, Attendant::default());
    Ok(stop(seen.map_err(system("wait for signals"))?.over))
}

/// Who is meant.
fn ask(
    tracer: &Tracer,
    targets: &[Target],
    duration: Option<Duration>,
) -> Result<(Wanted, Asked), TraceError> {
    if Proc::mounted() != Proc::Own {
        return Err(TraceError::Proc(Obstacle::ProcOfOthers));
    }
    let wanted = Wanted::find(targets)?;
    let roots = wanted.all();
    let command = match roots[..] {
        [(pid, _)] => ptrace::program(pid).args,
        _ => wanted.words(),
    };
    let asked = Asked {
        roots,
        command,
        duration,
        wait_tree: tracer.wait_tree,
        everybody: targets.contains(&Target::All),
        only_shown: false,
    };
    Ok((wanted, asked))
}

/// What will be missing.
fn notice(tracer: &Tracer, why: Option<&str>) {
    if let (Some(notice), Some(why)) = (tracer.notice, why) {
        notice(&format!(
            "no BPF: {why}. /proc is looked at instead (tier P): short-lived processes and short peaks are missed"
        ));
    }
    tell_of_idle(tracer);
}

/// Which of the options do nothing.
fn tell_of_idle(tracer: &Tracer) {
    let asked = [
        (tracer.segments, "--segments"),
        (tracer.vm_events, "--vm-events"),
        (tracer.events, "--events"),
    ];
    let asked = asked.into_iter().filter(|(asked, _)| *asked);
    let names: Vec<&str> = asked.map(|(_, name)| name).collect();
    if let (Some(notice), false) = (tracer.notice, names.is_empty()) {
        notice(&format!(
            "without BPF nothing comes of {}",
            names.join(" and ")
        ));
    }
}

const fn stop(over: Over) -> Stop {
    match over {
        Over::Ended => Stop::Ended,
        Over::Signal(signal) => Stop::Signal(signal),
        Over::Time => Stop::Time,
        Over::Enough => Stop::Enough,
    }
}
