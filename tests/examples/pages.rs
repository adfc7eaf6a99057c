//! Writes reports of made-up runs, to look at.
//!
//!     cargo run -p memtrace-tests --example pages -- DIRECTORY [CHANGES]
//!
//! With a number, also one of a run of that many changes, and how long that took.

use std::{
    env,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use memtrace::report::{Run, html::html, svg};

#[path = "../../memtrace/src/report/chart/testing.rs"]
mod testing;

use testing::{
    MIB, MS, S, Scene, amounts, build_scene, build_scene_of, daemon_scene, python_scene,
};

fn main() -> Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).context("give a directory")?);
    std::fs::create_dir_all(&directory)?;
    let notes = vec![
        "The recording was cut at +41.203 s: memtrace was killed. What follows is up to there."
            .to_owned(),
    ];
    for (name, scene, title, limit, notes) in [
        ("build", build_scene(66), "make -j8 all", None, &[][..]),
        (
            "python",
            python_scene(),
            "python3 train.py --workers 6",
            None,
            &[],
        ),
        (
            "daemon",
            daemon_scene(),
            "/usr/sbin/cached --config /etc/cached.conf",
            Some(1 << 30),
            &notes,
        ),
    ] {
        let (summary, timeline) = scene.build(10 * MS);
        let run = Run {
            summary: &summary,
            timeline: &timeline,
            title,
            notes,
            limit,
        };
        let create = |ending: &str| -> Result<_> {
            let path = directory.join(format!("{name}.{ending}"));
            Ok(BufWriter::new(File::create(path)?))
        };
        html(&mut create("html")?, &[run])?;
        svg::svg(&mut create("svg")?, &run, svg::Size::default())?;
    }
    let (first, second) = (
        build_scene(66).build(10 * MS),
        build_scene_of(58, 115).build(10 * MS),
    );
    let runs = [&first, &second].map(|(summary, timeline)| Run {
        summary,
        timeline,
        title: "make -j8 all",
        notes: &[],
        limit: None,
    });
    let out = File::create(directory.join("compare.html"))?;
    html(&mut BufWriter::new(out), &runs)?;
    if let Some(changes) = env::args().nth(2) {
        large(&directory, changes.parse()?)?;
    }
    Ok(())
}

/// A server with 64 workers that waver for an hour.
fn large(directory: &Path, changes: u64) -> Result<()> {
    let mut scene = Scene::new(&[b"server"]);
    let workers: Vec<usize> = (1..=64)
        .map(|i| {
            let (process, _) = scene.fork(0, i * MS);
            scene.exec(process, i * MS, &[format!("worker-{}", i % 9).as_bytes()])
        })
        .collect();
    for i in 0..changes {
        let worker = workers[(i * 31 % 64) as usize];
        let held = 20 * MIB + scene.random(200 * MIB);
        scene.set(worker, S + 3599 * S / changes * i, amounts(held, 4 * MIB));
    }
    let built = scene.build(10 * MS);
    let run = Run {
        summary: &built.0,
        timeline: &built.1,
        title: "server",
        notes: &[],
        limit: None,
    };
    let started = Instant::now();
    let out = File::create(directory.join("large.html"))?;
    html(&mut BufWriter::new(out), &[run])?;
    println!("{changes} changes: written in {:?}", started.elapsed());
    Ok(())
}
