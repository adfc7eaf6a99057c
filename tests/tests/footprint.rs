//! The footprint's bounds hold the truth, whoever forks, writes and ends in what order.
//! Truth is arithmetic: each scenario says how many MiB its processes need at most.

use anyhow::Result;
use memtrace_tests::{Lab, memtrace, mib, require_privileges, scaled};

const MIB: u64 = 1 << 20;

/// Runs a script and checks that what it needs at most, `truth` MiB and a few pages of its
/// own, is within the bounds.
fn holds(words: &str, truth: u64) -> Result<()> {
    let lab = Lab::new()?;
    lab.alone(words)?;
    let summary = lab.trace_with(&["--wait-tree"], words)?.summary;
    summary.assert_exact();
    let tree = &summary.tree;
    let (low, high) = (
        tree.peak_footprint_low_bytes,
        tree.peak_footprint_high_bytes,
    );
    // The scripts' own pages and page tables of several processes: far below a MiB each.
    assert!(
        low <= (truth + 2) * MIB && truth * MIB <= high,
        "{truth} MiB are not within {low} and {high}: {words}"
    );
    assert!(high <= tree.peak_rss_bytes, "{high}");
    Ok(())
}

/// A daemon's grandchild, whose parent ended, still shares with its grandparent.
#[test]
fn a_grandchild_shares_with_its_grandparent() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 anon {} fork{{ fork{{ await-orphan post 0 }} exit 0 }} reap await 0",
        mib(100)
    );
    holds(&words, 100)
}

/// What the first of a family rewrote before its heirs' parent ended is theirs alone.
#[test]
fn a_grandchild_keeps_what_its_grandparent_rewrote() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 pipe 1 anon {0} fork{{ fork{{ await-orphan anon {1} post 0 }} await 1 exit 0 }} \
         nap-us 20000 touch {0} anon 1 unmap post 1 reap await 0",
        mib(100),
        mib(150)
    );
    // 100 of the parent, the 100 before its rewriting in the grandchild, 150 more.
    holds(&words, 350)
}

/// Pages written without any counter change count for the moment of the peak, not for the
/// moment at which they are noticed.
#[test]
fn silent_writes_count_at_the_peak_that_they_preceded() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 pipe 1 pipe 2 anon {0} fork{{ await 0 anon {1} unmap post 1 await 2 }} \
         touch {0} post 0 await 1 anon 1 post 2 wait",
        mib(100),
        mib(150)
    );
    holds(&words, 350)
}

/// A worker that shares the whole address space writes for its creator.
#[test]
fn a_clone_vm_workers_writes_count() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 anon {0} fork{{ await 0 }} clonevm{{ touch {0} }} wait post 0 wait",
        mib(100)
    );
    holds(&words, 200)
}

/// The younger sibling of a child that took over keeps what it had from the parent alone.
#[test]
fn a_younger_sibling_keeps_what_only_the_parent_shared() -> Result<()> {
    require_privileges!();
    let words = format!(
        "pipe 0 pipe 1 anon {0} fork{{ await 0 }} touch {0} anon 1 unmap \
         fork{{ await-orphan anon {1} post 0 }} exit 0",
        mib(100),
        mib(150)
    );
    // The elder child has the 100 from before the rewriting, the younger those after it.
    holds(&words, 350)
}

/// What a process wrote to without any counter change counts though all its relatives end at
/// the same time, the first of the family and the oldest heir, which look at each other only.
#[test]
fn writes_of_one_whose_relatives_end_together_count() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let chunks = (0..8).map(|slot| format!("0:w:{slot}"));
    let rest = [
        "0:k:1", "0:k:2", "2:a:0", "2:w:0", "2:w:1", "0:q:0", "1:q:0", "2:a:0",
    ];
    let mut command = vec![env!("CARGO_BIN_EXE_families").to_owned()];
    command.extend(chunks.chain(rest.map(str::to_owned)));
    for _ in 0..scaled(10, 2) {
        let summary = lab.run(&["--wait-tree"], &command)?.summary;
        summary.assert_exact();
        let high = summary.tree.peak_footprint_high_bytes;
        assert!(high >= 10 * 16 * MIB, "{high}");
    }
    Ok(())
}

/// A small generator, so that a seed says everything about a failure.
struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64* (Marsaglia; Vigna).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or(0) % limit
    }
}

/// A family's steps, and what it needed and summed up to at most, in chunks.
struct History {
    steps: Vec<String>,
    needed: usize,
    summed: usize,
    processes: usize,
}

/// Random steps of up to five processes: so few that what the programs hold themselves stays
/// below one chunk. Each slot of each process refers to a piece of
/// memory; fork copies the references, writing to a shared piece makes a new one.
fn history(seed: u64) -> History {
    const SLOTS: usize = 8;
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut alive: Vec<(usize, [Option<usize>; SLOTS])> = vec![(0, [None; SLOTS])];
    let (mut pieces, mut processes) = (0, 1);
    let (mut needed, mut summed) = (0, 0);
    let mut steps = Vec::new();
    for _ in 0..10 + random.below(50) {
        let at = random.below(alive.len());
        let slot = random.below(SLOTS);
        let who = alive[at].0;
        let what = match random.below(15) {
            0..=8 => {
                let piece = alive[at].1[slot];
                let shared = alive.iter().filter(|one| one.1.contains(&piece)).count() > 1;
                if piece.is_none() || shared {
                    pieces += 1;
                    alive[at].1[slot] = Some(pieces);
                }
                format!("{who}:w:{slot}")
            }
            9..=11 if alive[at].1[slot].is_some() => {
                alive[at].1[slot] = None;
                format!("{who}:f:{slot}")
            }
            12 | 13 if processes < 5 => {
                let memory = alive[at].1;
                alive.push((processes, memory));
                processes += 1;
                format!("{who}:k:{}", processes - 1)
            }
            14 if alive.len() > 1 => {
                alive.remove(at);
                format!("{who}:x:0")
            }
            _ => format!("{who}:l:0"),
        };
        steps.push(what);
        let mut held: Vec<usize> = alive.iter().flat_map(|one| one.1).flatten().collect();
        summed = summed.max(held.len());
        held.sort_unstable();
        held.dedup();
        needed = needed.max(held.len());
    }
    History {
        steps,
        needed,
        summed,
        processes,
    }
}

/// Shared memory counts once, though five processes have it in their page tables; that it may be five
/// different ones, for all that counters tell, is said, and a snapshot of everybody's shares settles it.
#[test]
fn shared_memory_counts_once_in_the_low_bound() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = |nap: u32| {
        let child = format!("fork{{ look {} post 0 await 1 }}", mib(20));
        format!(
            "pipe 0 pipe 1 anon {} shmem {} {child} {child} {child} {child} \
             await 0 await 0 await 0 await 0 nap-us {nap} post 1 post 1 post 1 post 1 wait wait wait wait",
            mib(10),
            mib(20)
        )
    };
    let short = words(0);
    lab.alone(&short)?;
    let run = lab.trace(&short)?;
    run.summary.assert_exact();
    let tree = &run.summary.tree;
    let (low, high) = (
        tree.peak_footprint_low_bytes,
        tree.peak_footprint_high_bytes,
    );
    assert!((30 * MIB..=31 * MIB).contains(&low), "{low}");
    assert!((110 * MIB..=112 * MIB).contains(&high), "{high}");
    // A snapshot comes when the machine has time for it.
    let mut said = String::new();
    for nap in [400_000, 2_000_000, 10_000_000, 50_000_000] {
        let mut line = vec![memtrace()?.display().to_string(), "run".to_owned()];
        line.push("--".to_owned());
        line.extend(lab.script(&words(nap)));
        said = lab.to_end(&mut lab.fixed(&line))?.success()?.stderr;
        if said.contains("by a snapshot of PSS") {
            break;
        }
    }
    let headline = said.lines().next().unwrap_or_default();
    assert!(
        headline.starts_with("memtrace: needs about 30.")
            && headline.contains("of files and shared memory, mapped 5 times"),
        "{said}"
    );
    Ok(())
}

/// A page that the parent frees while its child's memory is torn down, when the address space has no
/// owner any more, says nothing about the others.
#[test]
fn a_child_that_is_torn_down_casts_no_doubt() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = format!(
        "anon {} fork{{ nap-us 20000 }} loop{{ 150 cut 1 nap-us 300 }} wait",
        mib(200)
    );
    lab.alone(&words)?;
    for _ in 0..scaled(5, 1) {
        let summary = lab.trace(&words)?.summary;
        summary.assert_exact();
        let high = summary.tree.peak_footprint_high_bytes;
        assert!((200 * MIB..=203 * MIB).contains(&high), "{high}");
    }
    Ok(())
}

/// Whatever a family does in whatever order: the sum of RSS is right, and the truth lies
/// within the footprint's bounds. (A few families: thousands are tested without a kernel, see
/// memtrace-ebpf/src/host.)
#[test]
fn random_families_need_what_the_bounds_say() -> Result<()> {
    const CHUNK: u64 = 16 * MIB;
    require_privileges!();
    let lab = Lab::new()?;
    for seed in (1..=scaled(14, 3)).chain([51]) {
        let History {
            steps,
            needed,
            summed,
            processes,
        } = history(seed);
        let mut command = vec![env!("CARGO_BIN_EXE_families").to_owned()];
        command.extend(steps);
        let summary = lab.run(&["--wait-tree"], &command)?.summary;
        summary.assert_exact();
        let tree = &summary.tree;
        // What the program itself holds in each process.
        let own = 3 * MIB * processes as u64;
        let (needed, summed) = (needed as u64 * CHUNK, summed as u64 * CHUNK);
        assert!(
            summed <= tree.peak_rss_bytes && tree.peak_rss_bytes <= summed + own,
            "seed {seed}: RSS {summed}, reported {}: {command:?}",
            tree.peak_rss_bytes
        );
        let (low, high) = (
            tree.peak_footprint_low_bytes,
            tree.peak_footprint_high_bytes,
        );
        assert!(
            low <= needed + own && needed <= high,
            "seed {seed}: {needed} is not within {low} and {high}: {command:?}"
        );
    }
    Ok(())
}
