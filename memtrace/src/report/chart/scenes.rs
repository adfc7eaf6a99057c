//! Runs as they are in life: a build, a program that forks, a daemon.

use super::{MIB, MS, S, Scene, amounts};

/// `make -j8` of that many files: per file a gcc that runs cc1 and as; then ld.
pub fn build_scene(files: usize) -> Scene {
    build_scene_of(files, 100)
}

/// The same with compilers that use that many per cent of the memory.
pub fn build_scene_of(files: usize, percent: u64) -> Scene {
    let mut scene = Scene::new(&[b"make", b"-j8", b"all"]);
    scene.grow(0, 0, 80 * MS, 3 * MIB, 2 * MIB, 8);
    let mut free = [100 * MS; 8];
    for file in 0..files {
        let worker = (0..8).min_by_key(|&i| free[i]).unwrap_or(0);
        let start = free[worker] + scene.random(5 * MS);
        let source = format!("src/module_{file:03}.c");
        let (gcc, _) = scene.fork(0, start);
        scene.exec(
            gcc,
            start + MS,
            &[b"/usr/bin/gcc", b"-O2", b"-c", source.as_bytes()],
        );
        let (cc1, _) = scene.fork(gcc, start + 4 * MS);
        let image = scene.exec(
            cc1,
            start + 5 * MS,
            &[
                b"/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
                b"-quiet",
                source.as_bytes(),
            ],
        );
        let length = 300 * MS + scene.random(900 * MS);
        let top = (30 * MIB + scene.random(70 * MIB)) * percent / 100;
        let most = start + 5 * MS + length;
        scene.grow(image, start + 6 * MS, most - length / 4, top, 21 * MIB, 40);
        scene.grow(image, most - length / 4, most, top * 9 / 10, 22 * MIB, 10);
        scene.exit(cc1, most, 0);
        let (asm, _) = scene.fork(gcc, most + MS);
        let image = scene.exec(asm, most + 2 * MS, &[b"as", b"-o", b"/tmp/ccXYZ.o"]);
        scene.grow(image, most + 3 * MS, most + 30 * MS, 4 * MIB, 3 * MIB, 6);
        scene.exit(asm, most + 32 * MS, 0);
        scene.exit(gcc, most + 34 * MS, 0);
        free[worker] = most + 36 * MS;
    }
    let start = free.iter().copied().max().unwrap_or(0) + 20 * MS;
    let (ld, _) = scene.fork(0, start);
    let image = scene.exec(ld, start + MS, &[b"/usr/bin/ld", b"-o", b"program"]);
    scene.grow(
        image,
        start + 2 * MS,
        start + 900 * MS,
        310 * MIB,
        90 * MIB,
        60,
    );
    scene.exit(ld, start + 1100 * MS, 0);
    scene.exit(0, start + 1150 * MS, 0);
    scene
}

/// A Python that holds much and forks workers which write to a part of it.
pub fn python_scene() -> Scene {
    let mut scene = Scene::new(&[b"python3", b"train.py", b"--workers", b"6"]);
    scene.grow(0, 0, 2 * S, 420 * MIB, 60 * MIB, 120);
    let mut workers = Vec::new();
    for i in 0..6 {
        let at = 2 * S + 100 * MS + i * 150 * MS;
        let (process, image) = scene.fork(0, at);
        scene.grow(image, at + MS, at + 3 * S, 480 * MIB, 60 * MIB, 80);
        workers.push((process, at + 4 * S + i * 300 * MS));
    }
    for (process, end) in workers {
        scene.exit(process, end, 0);
    }
    scene.grow(0, 8 * S, 9 * S, 150 * MIB, 60 * MIB, 20);
    scene.exit(0, 9 * S + 200 * MS, 0);
    scene
}

/// A daemon whose worker is killed by the OOM killer, is started again, and lives on; some of
/// it was swapped out.
pub fn daemon_scene() -> Scene {
    let mut scene = Scene::new(&[b"/usr/sbin/cached", b"--config", b"/etc/cached.conf"]);
    scene.grow(0, 0, S, 40 * MIB, 12 * MIB, 30);
    let (worker, _) = scene.fork(0, S + 10 * MS);
    let image = scene.exec(worker, S + 12 * MS, &[b"cached-worker", b"--shard", b"1"]);
    scene.grow(image, S + 20 * MS, 20 * S, 900 * MIB, 25 * MIB, 400);
    let mut swapped = scene.held(image);
    swapped.anon -= 120 * MIB;
    swapped.swap = 120 * MIB;
    swapped.shmem = 64 * MIB;
    scene.set(image, 21 * S, swapped);
    scene.oom_kill(worker, 24 * S);
    let (again, _) = scene.fork(0, 25 * S);
    let image = scene.exec(
        again,
        25 * S + 2 * MS,
        &[b"cached-worker", b"--shard", b"1"],
    );
    scene.grow(image, 25 * S + 10 * MS, 40 * S, 500 * MIB, 25 * MIB, 200);
    scene
}

/// A program that holds 100 MiB for two seconds; 60 MiB more for 40 ms, 20 MiB more for 100 ms;
/// and a helper of 30 MiB that lives for 95 ms.
pub fn spike_scene() -> Scene {
    let mut scene = Scene::new(&[b"server"]);
    // Nothing to copy for the helper.
    scene.set(0, MS, amounts(0, 0));
    let (helper, _) = scene.fork(0, 2 * MS);
    for (at, mib) in [(100, 100), (500, 160), (540, 100), (1300, 120), (1400, 100)] {
        scene.set(0, at * MS, amounts(mib * MIB, 0));
    }
    let image = scene.exec(helper, S, &[b"helper"]);
    scene.set(image, S, amounts(30 * MIB, 0));
    scene.exit(helper, 1095 * MS, 0);
    scene.exit(0, 2 * S, 0);
    scene
}

/// 1 MiB of a shell, and three jobs: of 100 MiB from 0.1 to 4.1 s, of 120 MiB from 1.1 to 4.1 s,
/// and of 90 MiB from 2.1 to 3.1 s.
pub fn jobs_scene() -> Scene {
    let mut scene = Scene::new(&[b"sh"]);
    scene.set(0, 10 * MS, amounts(0, 0));
    let jobs = [0, 1, 2].map(|_| scene.fork(0, 20 * MS).0);
    scene.set(0, 50 * MS, amounts(MIB, 0));
    for ((job, mib), (from, until)) in
        jobs.into_iter()
            .zip([120, 100, 90])
            .zip([(1100, 4100), (100, 4100), (2100, 3100)])
    {
        let image = scene.exec(job, from * MS, &[b"cc1"]);
        scene.set(image, (from + 100) * MS, amounts(mib * MIB, 0));
        scene.exit(job, until * MS, 0);
    }
    scene.exit(0, 4200 * MS, 0);
    scene
}
