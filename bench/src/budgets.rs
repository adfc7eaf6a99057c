//! The budgets of the design, and whether they are kept.

use crate::{
    results::{Budget, HandlerCost, Results, Verdict, Wall},
    storm,
    tools::{GNU_TIME, MEMTRACE, RECORDING},
    workloads::{C_BUILD, FAULTS, SPAWN, START},
};

/// Parts of the benchmark that budgets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A workload of this name.
    Wall(&'static str),
    /// The handler's cost.
    Handler,
    /// memtrace's own process.
    Own,
    /// Recordings.
    Recording,
    /// The storm of which nothing may be lost.
    Lost,
    /// The storm of forks.
    Storm,
}

/// All budgets whose part was selected.
pub(crate) fn judge(results: &Results, selected: &dyn Fn(Part) -> bool) -> Vec<Budget> {
    let mut budgets = Vec::new();
    let mut add = |part: Part, what: String, unit: &str, budget, figure| {
        if selected(part) {
            budgets.push(judged(what, unit, budget, figure));
        }
    };
    let handler = |tracked| {
        let smallest =
            |cost: &&HandlerCost| cost.tracked == tracked && !cost.shares && cost.images <= 1;
        results
            .handler
            .iter()
            .find(smallest)
            .map(|cost| cost.net_ns)
    };
    let text = str::to_owned;
    add(
        Part::Handler,
        text("handler of a counter change, tracked process, net of an empty program"),
        "ns",
        100.0,
        handler(true),
    );
    add(
        Part::Handler,
        text("the same, untracked process"),
        "ns",
        25.0,
        handler(false),
    );
    let beyond = |workload| wall(results, workload, MEMTRACE).and_then(|row| row.beyond_start);
    add(
        Part::Wall(FAULTS),
        text("fault loop, wall ratio beyond start-up"),
        "x",
        1.06,
        beyond(FAULTS),
    );
    add(
        Part::Wall(SPAWN),
        text("400 x vfork + exec, wall ratio beyond start-up"),
        "x",
        1.10,
        beyond(SPAWN),
    );
    add(
        Part::Wall(C_BUILD),
        text("compiling C, wall ratio beyond start-up"),
        "x",
        1.03,
        beyond(C_BUILD),
    );
    let recorded = |workload| {
        let recorded = wall(results, workload, RECORDING).and_then(|row| row.beyond_start);
        crate::statistics::ratio(recorded?, beyond(workload)?)
    };
    add(
        Part::Wall(FAULTS),
        text("fault loop, recorded in windows of 10 ms over not recorded"),
        "x",
        1.01,
        recorded(FAULTS),
    );
    add(
        Part::Wall(C_BUILD),
        text("compiling C, recorded in windows of 10 ms over not recorded"),
        "x",
        1.01,
        recorded(C_BUILD),
    );
    add(
        Part::Wall(START),
        text("start-up: memtrace -- /bin/true over /usr/bin/time /bin/true"),
        "ms",
        15.0,
        start_up(results),
    );
    let cpu = results.own.iter().find(|own| own.tool == MEMTRACE);
    add(
        Part::Own,
        text("CPU time of memtrace while a C build runs, of that of the build"),
        "%",
        2.0,
        cpu.and_then(|own| own.percent),
    );
    let largest = |limit: u64| {
        let tracked = results
            .handler
            .iter()
            .filter(|cost| cost.tracked && !cost.shares && cost.images <= limit);
        tracked.max_by_key(|cost| cost.images)
    };
    let crowd = largest(10_000).filter(|cost| cost.images > 1);
    let images = crowd.map_or(0, |cost| cost.images);
    let rss = crowd
        .and_then(|cost| cost.rss_bytes)
        .map(|bytes| bytes as f64 / f64::from(1 << 20));
    add(
        Part::Handler,
        format!("RSS of memtrace with {images} other live images"),
        "MiB",
        32.0,
        rss,
    );
    let most = largest(u64::MAX).map_or(0, |cost| cost.images);
    add(
        Part::Handler,
        format!("handler, dearest of 1 to {most} other images over 1"),
        "x",
        1.2,
        flatness(&results.handler),
    );
    let recording = results.recordings.iter().find(|one| one.resolution == "0");
    let each =
        recording.and_then(|one| crate::statistics::ratio(one.bytes as f64, one.entries as f64));
    add(
        Part::Recording,
        text("recording of every change of a C build, per change"),
        "bytes",
        8.0,
        each,
    );
    let created = results.lost.as_ref().map_or(0, |lost| lost.created);
    let lost = results.lost.as_ref().map(|lost| {
        let missing = lost.created.abs_diff(lost.reported);
        // A loss that did not change the number is one all the same.
        missing.max(u64::from(!lost.none_lost)) as f64
    });
    add(
        Part::Lost,
        format!("lost processes of {created} that fork and exec"),
        "",
        0.0,
        lost,
    );
    let storm = results.storm.iter().find(|row| row.how == storm::TOP);
    let forks = storm.map_or(0, |storm| storm.forks);
    add(
        Part::Storm,
        format!("storm of {forks} forks, wall ratio while memtrace top looks on"),
        "x",
        1.10,
        storm.and_then(|storm| storm.ratio),
    );
    let rss = storm.and_then(|storm| storm.rss_peak_bytes);
    add(
        Part::Storm,
        text("largest RSS of memtrace top meanwhile"),
        "MiB",
        32.0,
        rss.map(|bytes| bytes as f64 / f64::from(1 << 20)),
    );
    budgets
}

fn judged(what: String, unit: &str, budget: f64, figure: Option<f64>) -> Budget {
    let verdict = match figure {
        None => Verdict::NotMeasured,
        Some(figure) if figure <= budget => Verdict::Met,
        Some(_) => Verdict::Missed,
    };
    Budget {
        what,
        unit: unit.to_owned(),
        budget,
        figure,
        verdict,
    }
}

fn wall<'a>(results: &'a Results, workload: &str, tool: &str) -> Option<&'a Wall> {
    let mut rows = results.wall.iter();
    rows.find(|row| row.workload == workload && row.tool == tool)
}

/// How much longer memtrace needs than GNU time for a program that ends at once, ms.
fn start_up(results: &Results) -> Option<f64> {
    let of = |tool| wall(results, START, tool).map(|row| row.wall_ms);
    Some(of(MEMTRACE)? - of(GNU_TIME)?)
}

/// The largest ratio of the handler's cost with more images to that with one.
fn flatness(handler: &[HandlerCost]) -> Option<f64> {
    let tracked = || handler.iter().filter(|cost| cost.tracked && !cost.shares);
    let one = tracked().find(|cost| cost.images == 1)?.net_ns;
    tracked()
        .filter(|cost| cost.images > 1)
        .filter_map(|cost| crate::statistics::ratio(cost.net_ns, one))
        .reduce(f64::max)
}
