//! The quick programs and the plain ones for the oldest kernels say the same.

use anyhow::Result;
use memtrace_tests::{Lab, Run, exact_status, require, require_privileges, scaled};

/// What does not depend on when things happen.
type Numbers = (Vec<u64>, Vec<Vec<u64>>);

fn numbers(run: &Run) -> Numbers {
    run.summary.assert_exact();
    let tree = &run.summary.tree;
    let tree = vec![
        tree.peak_rss_bytes,
        tree.peak_anon_bytes,
        tree.peak_file_bytes,
        tree.peak_shmem_bytes,
        tree.peak_footprint_low_bytes,
        tree.peak_footprint_high_bytes,
    ];
    let images = run
        .summary
        .processes
        .iter()
        .flat_map(|process| &process.images)
        .map(|image| {
            vec![
                image.peak_rss_bytes,
                image.peak_anon_bytes,
                image.peak_file_bytes,
                image.peak_shmem_bytes,
            ]
        });
    (tree, images.collect())
}

/// One process after the other, so that the same happens each time: what processes hold, and what
/// they share after fork, is the same to the page with either, and with simulated CPUs.
#[test]
fn results_do_not_depend_on_the_programs() -> Result<()> {
    require_privileges!();
    require!(exact_status());
    let lab = Lab::new()?;
    let times = scaled(20, 3);
    let scripts = [
        // Its own status is that of its peak.
        "anon 3000 status @top unmap anon 2000 shmem 500 unmap".to_owned(),
        format!(
            "loop{{ {times} fork{{ anon 300 exec{{ NOTHING }} }} wait }} anon 2000 fork{{ dontneed \
             touch 700 vfork{{ exec{{ SELF anon 200 }} }} wait }} wait status @top"
        ),
        "anon 1000 thread{ touch 400 exit-thread } nap-us 20000 touch 900 status @top".to_owned(),
    ];
    for (at, words) in scripts.iter().enumerate() {
        let with =
            |options: &[&str]| -> Result<Numbers> { Ok(numbers(&lab.trace_with(options, words)?)) };
        let plain = with(&["--handler", "plain"])?;
        let optimised = with(&["--handler", "optimised"])?;
        assert_eq!(optimised, plain, "{words}");
        for sum_cpus in ["all", "touched"] {
            let options = ["--simulate-cpus", "64", "--sum-cpus", sum_cpus];
            assert_eq!(with(&options)?, plain, "{sum_cpus}: {words}");
        }
        for handler in ["fenced", "locked"] {
            assert_eq!(with(&["--handler", handler])?, plain, "{handler}: {words}");
            let options = ["--handler", handler, "--sum-cpus", "touched"];
            assert_eq!(with(&options)?, plain, "{handler}, touched: {words}");
        }
        // Nor on what else is recorded, which other programs do.
        let file = lab.path("recorded.memtrace");
        let options = ["--force", "-o", file.to_str().unwrap_or_default()];
        assert_eq!(with(&options)?, plain, "recorded: {words}");
        // Nor on which of the trees it is.
        for handler in ["plain", "optimised"] {
            let options = ["--tree", "3", "--handler", handler];
            assert_eq!(with(&options)?, plain, "tree 3, {handler}: {words}");
        }
        // And it is the truth, where the process can tell it.
        let top = lab.status("top")?.rss()?;
        let peak = plain.0.first().copied().unwrap_or(0);
        assert!(if at == 0 { peak == top } else { peak >= top }, "{words}");
    }
    Ok(())
}
