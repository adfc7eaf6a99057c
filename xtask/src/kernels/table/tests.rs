#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use anyhow::anyhow;

use super::{Cell, End, Record, Results, Run, Verdict, mib, render, traps};
use crate::kernels::{list::KERNELS, record::Logs, run::Job};

const LIST: &str = "# comment\n\nT1 torn sums\n    a::x\n    a::y\n    a::z\n";

fn results(text: &str) -> Results {
    let mut results = Results::default();
    text.lines().for_each(|line| results.line(line));
    results
}

fn cell(text: &str) -> Cell {
    Cell::of(&traps(LIST).unwrap()[0], &results(text))
}

const ALL: &str = "@@begin a\ntest x ... ok\ntest y ... ok\ntest z ... ok\n@@end a 0\n@@done\n";
const SOME: &str = "@@begin a\ntest x ... ok\ntest y ... ok\n@@end a 0\n@@done\n";

#[test]
fn a_verdict_is_as_good_as_its_worst_evidence() {
    assert_eq!(
        cell(&format!("{ALL}@@evidence a::x exact 0 A")),
        Cell::Whole(Verdict::Exact)
    );
    assert_eq!(
        cell(&format!(
            "{ALL}@@evidence a::x within 4096 A\n@@evidence a::y within 8 A\n@@evidence a::z exact 0 A"
        )),
        Cell::Whole(Verdict::Within(4096))
    );
    for evidence in ["incomplete 0 A", "", "within", "within x"] {
        assert_eq!(
            cell(&format!(
                "{ALL}@@evidence a::x exact 0 A\n@@evidence a::y {evidence}\n@@evidence a::z within 8 A"
            )),
            Cell::Whole(Verdict::Incomplete),
            "{evidence}"
        );
    }
}

#[test]
fn nothing_is_exact_without_evidence() {
    let evidence = "@@evidence a::x exact 0 A";
    assert_eq!(cell(ALL), Cell::Whole(Verdict::Unknown));
    assert_eq!(cell(ALL).text(), "passed");
    let unfinished = format!("{ALL}{evidence}").replace("@@done", "");
    assert_eq!(cell(&unfinished).text(), "passed");
}

#[test]
fn a_cell_with_failed_tests_never_says_exact() {
    for (text, words) in [
        (
            "test x ... FAILED\ntest y ... ok\ntest z ... ok",
            "**failed: 1 of 3**",
        ),
        (
            "test x ... FAILED\ntest y ... ok",
            "**failed: 1 of 3**; 1 not run",
        ),
        (
            "NOT HERE x: q\ntest x ... ok\ntest y ... FAILED\ntest z ... FAILED",
            "**failed: 2 of 2**",
        ),
    ] {
        let text = cell(&format!(
            "@@begin a\n{text}\n@@end a 101\n@@done\n@@evidence a::y exact 0 A"
        ))
        .text();
        assert_eq!(text, words);
        assert!(!text.contains("exact"), "{text}");
    }
}

#[test]
fn a_partial_cell_does_not_look_like_a_whole_one() {
    for (evidence, words) in [
        ("exact 0 A", "only 2 of 3 passed, exact; 1 not run"),
        (
            "incomplete 0 A",
            "only 2 of 3 passed, exact, or said to be incomplete; 1 not run",
        ),
    ] {
        let text = cell(&format!("{SOME}@@evidence a::x {evidence}")).text();
        assert_eq!(text, words);
    }
    assert_eq!(cell(SOME).text(), "only 2 of 3 passed; 1 not run");
}

#[test]
fn what_did_not_run_and_what_cannot_are_different() {
    assert_eq!(
        cell("@@begin b\ntest x ... ok\n@@end b 0\n@@done").text(),
        "not run"
    );
    assert_eq!(
        cell("@@begin a\nNOT HERE x: q\ntest x ... ok\nNOT HERE y: q\ntest y ... ok\nNOT HERE z: q\ntest z ... ok\n@@end a 0\n@@done").text(),
        "-"
    );
}

#[test]
fn a_trap_needs_tests() {
    assert!(traps("T1 nothing\n").is_err());
    assert!(traps("    a::x\n").is_err());
}

#[test]
fn bounds_are_in_mebibytes() {
    assert_eq!(mib(3 << 19), "1.5 MiB");
    assert_eq!(mib(u64::MAX), "17592186044415.9 MiB");
}

/// A table of one run: its line among the kernels, and its line among the traps.
fn table(text: Option<&str>) -> (String, String) {
    let objects = [("m.bpf.o".to_owned(), "0f0f".to_owned())];
    let result = text.ok_or_else(|| anyhow!("no kernel")).map(|text| Record {
        results: results(text),
        end: if text.contains("@@done") {
            End::Done
        } else {
            End::Stalled
        },
        ..Record::default()
    });
    let job = Job {
        order: 0,
        kernel: &KERNELS[0],
        boot: None,
        cpus: 2,
        programs: Vec::new(),
    };
    let run = Run::new(job, result, Logs::new(Path::new("logs")), &objects);
    let text = render(&traps(LIST).unwrap(), &[run], &objects);
    assert!(text.contains("SHA-256: `m.bpf.o` 0f0f."), "{text}");
    let line = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap()
            .to_owned()
    };
    (line("| 5.10"), line("| T1"))
}

#[test]
fn a_row_says_when_with_what_and_how_many() {
    let head = "@@date 2026-01-02\n@@object m.bpf.o 0f0f\n@@kernel 5.10.0 2\n";
    let (row, _) = table(Some(&format!(
        "{head}@@expect a::x\n@@expect a::y\n@@expect a::z\n@@expect a::w\n{ALL}"
    )));
    assert!(
        row.ends_with("| 2026-01-02 | these | 3 | 0 | **1** | 0 |"),
        "{row}"
    );
    let (row, _) = table(Some(&format!("{head}@@expect a::x\n@@begin a\n")));
    assert!(row.contains("2026-01-02; **ended early**"), "{row}");
    let (row, _) = table(Some(&format!("{head}@@expect a::x\n{SOME}")));
    assert!(row.contains("2026-01-02; **1 ran unexpected**"), "{row}");
    let (row, _) = table(Some(&format!("{head}@@begin a\n@@end a 137\n@@done")));
    assert!(row.contains("**broken: a (status 137)**"), "{row}");
}

#[test]
fn a_boot_with_other_objects_or_none_shows_nothing() {
    let (row, trap) = table(Some(&format!(
        "@@date 2026-01-02\n@@object m.bpf.o f0f0\n@@kernel 5.10.0 2\n{ALL}@@evidence a::x exact 0 A"
    )));
    assert!(row.contains("**others**: `m.bpf.o` f0f0"), "{row}");
    assert!(trap.ends_with("| **not of these objects** |"), "{trap}");
    let (row, trap) = table(None);
    assert!(row.contains("**not booted**"), "{row}");
    assert!(trap.ends_with("| not run |"), "{trap}");
}
