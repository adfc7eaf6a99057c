//! `report --at`: at any time, what the processes hold sums to the tree's value.

use anyhow::{Context as _, Result, ensure};
use memtrace::recording::Index;
use memtrace_tests::{Lab, Recorded, require_privileges, scaled};

/// Where the tree's value is known: after each change, or where a window is long over and the next one has
/// not begun.
#[test]
fn the_processes_of_a_moment_sum_to_the_tree() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let file = lab.path("run.memtrace");
    let name = file.display().to_string();
    let words = format!(
        "loop{{ {} fork{{ anon 100 nap-us 40000 vfork{{ exec{{ NOTHING }} }} wait dontneed touch 50 nap-us 40000 }} \
         fork{{ exec{{ SELF anon 200 nap-us 60000 fork{{ touch 30 exec{{ NOTHING }} }} wait }} }} \
         shmem 20 nap-us 30000 unmap wait wait nap-us 60000 anon 5 unmap }}",
        scaled(6, 2)
    );
    for (resolution, more) in [
        ("0", &[][..]),
        ("0", &["--segments"]),
        ("1ms", &[]),
        ("10ms", &[]),
    ] {
        let options = [&["-f", "-o", &name, "--resolution", resolution], more].concat();
        lab.trace_with(&options, &words)?;
        let (summary, timeline) = Recorded::read(&file)?.timeline(None, usize::MAX)?;
        let mut index = Index::open(&file)?;
        let width = timeline.width_ns;
        let (mut checked, mut told) = (0, 0);
        // Each change is a span: some hundreds of them tell enough.
        let step = (timeline.tree.len() / 300).max(1);
        for pair in timeline.tree.windows(2).step_by(step) {
            let [span, next] = pair else { continue };
            let at = span.start_ns + 2 * width;
            // Several changes at one moment have one value after them.
            if at >= next.start_ns {
                continue;
            }
            let moment = index.at(at)?;
            let held = moment.images.values().map(|(amounts, _)| amounts.rss());
            assert_eq!(held.sum::<u64>(), span.last.rss(), "{at} at {resolution}");
            // What is not told apart has none.
            assert_eq!(moment.segments.is_empty(), more.is_empty(), "{at}");
            for (image, segments) in &moment.segments {
                let sum: i64 = segments.resident.iter().sum();
                let (held, _) = moment.images.get(image).context("no such image")?;
                let rss = held.rss();
                // Nothing but functions of the kernel tells which pages go at its end.
                let mut later = timeline.images[*image].iter();
                let ends = summary.images[*image].end_ns.is_some()
                    && later.all(|span| span.start_ns <= at || span.last.rss() < rss);
                if sum.cast_unsigned() > rss && ends {
                    continue;
                }
                assert_eq!(sum.cast_unsigned(), rss, "image {image} at {at}");
                told += 1;
            }
            checked += 1;
        }
        // A slow machine has no pauses but those after each round.
        ensure!(checked >= 2, "{checked} moments at {resolution}");
        ensure!(told >= checked || more.is_empty(), "{told} segments");
    }
    Ok(())
}
