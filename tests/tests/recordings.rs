//! Recordings of real size: a Rust project's build, and a run of millions of changes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use memtrace::{
    abi::{
        Change, ChangeKind,
        event::{CHANGE, FORK, Fork, Header},
    },
    event::Event,
    recording::{Head, Writer},
};
use memtrace_tests::{
    DuckDb, Finished, Lab, Missing, Recorded, assert_complete, load, memtrace, require,
    require_privileges, run_to_end, workloads::installed,
};
use serde_json::{Value, json};

fn tools() -> Result<(), Missing> {
    match ["cargo", "rustc", "cc"]
        .iter()
        .find(|name| !installed(name))
    {
        Some(name) => Err(Missing(format!(
            "no {name}; install Rust and the package `build-essential`"
        ))),
        None => Ok(()),
    }
}

/// Where the compilers themselves are, not rustup's proxies.
fn toolchain() -> Result<PathBuf> {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .context("run rustc")?;
    Ok(Path::new(String::from_utf8(sysroot.stdout)?.trim()).join("bin"))
}

/// `memtrace run` of a build from nothing: of a library with dozens of processes, or of this workspace's
/// `xtask` with hundreds. What it needs was downloaded for these tests.
fn build(lab: &Lab, recording: &Path, resolution: &str) -> Result<Finished> {
    let tools = toolchain()?;
    let target = lab.path("target");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    let command = [
        memtrace()?.as_os_str(),
        "run".as_ref(),
        "--json".as_ref(),
        lab.path("summary.json").as_os_str(),
        "-o".as_ref(),
        recording.as_os_str(),
        "--resolution".as_ref(),
        resolution.as_ref(),
        "--".as_ref(),
        tools.join("cargo").as_os_str(),
        "build".as_ref(),
        "--quiet".as_ref(),
        "--offline".as_ref(),
        "--locked".as_ref(),
        "--package".as_ref(),
        load("xtask", "serde_json").as_ref(),
        "--manifest-path".as_ref(),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml").as_ref(),
        "--target-dir".as_ref(),
        target.as_os_str(),
    ]
    .map(|word: &std::ffi::OsStr| word.to_owned());
    let mut build = Command::new("env");
    // Cargo tells what it runs of itself; this build has nothing to do with ours.
    build.args([
        "-u",
        "CARGO",
        "-u",
        "RUSTC",
        "-u",
        "RUSTFLAGS",
        "-u",
        "CARGO_TARGET_DIR",
    ]);
    let path = std::env::var("PATH").unwrap_or_default();
    build.env("PATH", format!("{}:{path}", tools.display()));
    build.args(command);
    run_to_end(&mut build, lab.dir())?.success()
}

fn of_recording(lab: &Lab, action: &str, recording: &Path, options: &[&str]) -> Result<Finished> {
    let mut command = Command::new(memtrace()?);
    command.arg(action).arg(recording).args(options);
    run_to_end(&mut command, lab.dir())?.success()
}

/// Of a build with dozens of processes, in windows and with every change: the recording
/// tells what the run told, its largest values are the peaks that the kernel side kept, and
/// a change takes few bytes.
#[test]
fn a_real_build_is_all_in_its_recording() -> Result<()> {
    require_privileges!();
    require!(tools());
    require!(DuckDb::find());
    let duckdb = DuckDb::find().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let lab = Lab::new()?;
    for resolution in ["10ms", "0"] {
        let recording = lab.path(&format!("build-{resolution}.memtrace"));
        let run = build(&lab, &recording, resolution)?;
        let told: Value = serde_json::from_slice(&fs::read(lab.path("summary.json"))?)?;
        assert_eq!(told["certificate"]["verdict"], "exact");
        let peak = &told["tree"]["peak_rss_bytes"];
        ensure!(
            peak.as_u64() > Some(100 << 20),
            "a compiler takes more than {peak}"
        );

        let report = of_recording(&lab, "report", &recording, &[])?;
        assert_eq!((&*report.stdout, &*report.stderr), (&*run.stderr, ""));
        let report = of_recording(&lab, "report", &recording, &["--json", "-"])?;
        assert_eq!(serde_json::from_str::<Value>(&report.stdout)?, told);

        let recorded = Recorded::read(&recording)?;
        assert_eq!((&recorded.notes, recorded.lost), (&Vec::new(), 0));
        // Merged to so many spans, or comparing all with all would take hours.
        let (summary, timeline) = recorded.timeline(None, load(2000, 200))?;
        assert_complete(&summary, &timeline);
        assert_eq!(json!(summary.tree.peak_rss), *peak);

        let tables = lab.path("tables");
        let output = tables.display().to_string();
        let options = ["--format", "parquet", "-o", &output, "--force"];
        of_recording(&lab, "export", &recording, &options)?;
        let answers = duckdb.ask(
            &tables,
            &[
                "select max(rss_max_bytes) from 'tree.parquet'",
                // Each image's largest value beside its peak.
                "select count(*) from 'images.parquet' i left join \
                 (select image, max(rss_max_bytes) as most from 'timeline.parquet' group by image) t \
                 using (image) where coalesce(most, 0) != peak_rss_bytes",
                "select count(*) > 30 from 'images.parquet'",
            ],
        )?;
        assert_eq!(answers[0], json!([[peak]]));
        assert_eq!(answers[1], json!([[0]]));
        assert_eq!(answers[2], json!([[true]]));

        let bytes = fs::metadata(&recording)?.len();
        if resolution == "10ms" {
            // What a slow machine takes longer for has more windows, too.
            let minute = u128::from(bytes) * 60_000_000_000 / u128::from(timeline.end_ns.max(1));
            println!("{minute} bytes for each minute");
            assert!(minute <= 1_000_000);
        } else {
            let change = |event: &&Event| matches!(event, Event::Change(_) | Event::SizesChange(_));
            let changes = recorded.events.iter().filter(change).count() as u64;
            println!("{changes} changes in {bytes} bytes, everything else included");
            assert!(changes > 10_000 && bytes <= 8 * changes);
        }
    }
    Ok(())
}

/// What a report needs is bounded, however long the recording: of five million changes 300 MiB.
#[test]
fn millions_of_changes_are_reported_in_bounded_memory() -> Result<()> {
    // Small enough that to keep all changes, of 56 bytes each, would be too much of each kind.
    let (changes, most_mib) = load((5_000_000, [300; 3]), (400_000, [32, 80, 32]));
    let lab = Lab::new()?;
    let recording = lab.path("large.memtrace");
    let most = write_large(&recording, changes)? * 4096;
    let reports = [
        (&["--json", "-"][..], Some(most)),
        (&["--html", "/dev/null"], None),
        (&["--between", "1s,end"], None),
    ];
    for ((options, told), mib) in reports.into_iter().zip(most_mib) {
        // Polled often enough: the kernel's own high-water mark is read.
        let mut line = lab.memtrace_run(&["--backend", "ptrace"])?;
        line.extend([memtrace()?.display().to_string(), "report".to_owned()]);
        line.push(recording.display().to_string());
        line.extend(options.iter().map(|&option| option.to_owned()));
        let mut command = Command::new("env");
        let run = lab.summary(run_to_end(command.args(&line), lab.dir())?)?;
        assert_eq!(run.finished.code(), Some(0), "{}", run.finished.stderr);
        let needed = run.summary.tree.peak_rss_bytes;
        println!("{options:?}: {} MiB", needed >> 20);
        assert!(needed <= mib << 20, "{options:?}: {needed} bytes");
        if let Some(told) = told {
            let report: Value = serde_json::from_str(&run.finished.stdout)?;
            assert_eq!(report["processes"][0]["images"][0]["id"], 1);
            let rows = lab.path("rows");
            let output = rows.display().to_string();
            let options = [
                "--format", "csv", "--table", "tree", "-o", &output, "--force",
            ];
            of_recording(&lab, "export", &recording, &options)?;
            let text = fs::read_to_string(&rows)?;
            let mut lines = text.lines();
            let head = lines.next().context("no rows")?;
            let column = head.split(',').position(|name| name == "rss_max_bytes");
            let column = column.context("no such column")?;
            let mut largest = 0;
            for line in lines {
                let value = line.split(',').nth(column).context("a short row")?;
                largest = largest.max(value.parse::<u64>()?);
            }
            assert_eq!(largest, told);
        }
    }
    Ok(())
}

/// Writes changes of four programs at a time that fault pages in, and the largest number of
/// pages that all had at one time.
fn write_large(path: &Path, count: u64) -> Result<u64> {
    const AT_ONCE: u64 = 4;
    /// Changes in a row of one program.
    const BURST: u64 = 60;
    /// Changes of one program from its start to its end.
    const LIFE: u64 = 6000;
    let head = Head {
        page_size: 4096,
        created_at: 1,
        command: vec![b"make".to_vec()],
        record_sizes: Head::own_record_sizes(),
        ..Head::default()
    };
    let writer = Writer::create(File::create_new(path)?, &head)?;
    let mut pages = [0_i64; AT_ONCE as usize];
    let mut total = 0;
    let mut most = 0;
    for i in 0..count {
        // Most faults follow each other within microseconds.
        let at = 1_000_000_000 + i * 1500 + i / 20 * 100_000 + i * i % 700;
        let place = i / BURST % AT_ONCE;
        let turn = i / (BURST * AT_ONCE) * BURST + i % BURST;
        let image = turn / LIFE * AT_ONCE + place + 1;
        let header = |kind| Header { kind, tree: 0, at };
        if turn.is_multiple_of(LIFE) {
            writer.event(&Event::Fork(Fork {
                header: header(FORK),
                process: image,
                creator_process: 0,
                tgid: 100 + u32::try_from(image)?,
                ns_tgid: 0,
                creator: 100,
                flags: 0,
                image,
                started_at: at,
                inherited: 0,
                comm: *b"cc1plus\0\0\0\0\0\0\0\0\0",
            }));
        }
        let before = pages[place as usize];
        let value = match turn % LIFE {
            last if last == LIFE - 1 => 0,
            other if other % 16 == 0 => (before - 3).max(0),
            other if other % 11 == 0 => before + 16,
            _ => before + 1,
        };
        pages[place as usize] = value;
        total += value - before;
        most = most.max(total);
        writer.event(&Event::Change(Change {
            header: header(CHANGE),
            image,
            value,
            member: 1,
            kind: ChangeKind::Counted as u32,
        }));
    }
    drop(writer);
    Ok(u64::try_from(most)?)
}
