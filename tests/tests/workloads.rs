//! The workloads are right: without memtrace, their own view of their memory is what the
//! other tests take it for. Needs no privileges.

use anyhow::Result;
use memtrace_tests::{Lab, Status, exact_status, page, require, run_to_end, workloads};

fn status_of(lab: &Lab, words: &str) -> Result<Status> {
    lab.alone(&format!("{words} status @top"))?;
    lab.status("top")
}

/// Each word that touches n pages raises exactly one kind of memory by n pages.
#[test]
fn touched_pages_show_up_as_their_kind_to_the_page() -> Result<()> {
    require!(exact_status());
    let lab = Lab::new()?;
    for pages in [1, 33, 100, 4000] {
        lab.alone(&format!("make-file @file {pages}"))?;
        for (word, kind) in [
            ("anon", "RssAnon"),
            ("migrate", "RssAnon"),
            ("cow @file", "RssAnon"),
            ("brk", "RssAnon"),
            ("file @file", "RssFile"),
            ("shmem", "RssShmem"),
            ("memfd", "RssShmem"),
        ] {
            let empty = status_of(&lab, "anon 00000")?;
            let full = status_of(&lab, &format!("{word} {pages:05}"))?;
            for field in ["RssAnon", "RssFile", "RssShmem"] {
                let expected = if field == kind { pages * page() } else { 0 };
                let grown = full.bytes(field)? - empty.bytes(field)?;
                assert_eq!(grown, expected, "{field} after {word} {pages}");
            }
        }
    }
    Ok(())
}

/// Two runs of one script have the same sizes, or comparing runs would prove nothing.
#[test]
fn a_script_has_the_same_pages_at_every_run() -> Result<()> {
    require!(exact_status());
    let lab = Lab::new()?;
    let first = status_of(&lab, "anon 100 shmem 50")?;
    for _ in 0..20 {
        assert_eq!(status_of(&lab, "anon 100 shmem 50")?.rss()?, first.rss()?);
    }
    Ok(())
}

/// A fork child has its parent's pages, and writing them changes no size.
#[test]
fn a_forked_child_holds_its_parents_pages() -> Result<()> {
    require!(exact_status());
    let lab = Lab::new()?;
    lab.alone("anon 1000 fork{ status @before touch 1000 status @after } wait status @parent")?;
    let parent = lab.status("parent")?;
    assert_eq!(
        lab.status("before")?.bytes("RssAnon")?,
        parent.bytes("RssAnon")?
    );
    assert_eq!(
        lab.status("after")?.bytes("RssAnon")?,
        parent.bytes("RssAnon")?
    );
    Ok(())
}

/// Every way of running a process, a thread or a program ends well.
#[test]
fn all_words_about_processes_work() -> Result<()> {
    let lab = Lab::new()?;
    for words in [
        "vfork{ exec{ NOTHING } } wait",
        "fork{ exec{ NOTHING 7 } } reap",
        "pipe 0 clonevm{ anon 5 post 0 } await 0 reap",
        "thread{ await-leader exit 0 } exit-thread",
        "fork{ thread{ meet 2 exit-thread } meet 2 exit-thread } wait",
        "thread{ exec{ SELF exit 0 } } nap-us 60000000",
        "pipe 0 fork{ await 0 } post 0 wait",
        "tag LONG exec-big NOTHING 15",
        "fork{ kill 9 } reap fork{ segv } reap",
        "loop{ 3 fork{ setsid fork{ await-orphan } } wait }",
        "fail-fork pidfd anon 1",
        "brk 10 brk-down 10 reserve 10 allow touch 10 dontneed look 10 cut 5 unmap",
    ] {
        lab.alone(words)?;
    }
    Ok(())
}

/// The threads of `churn` really hold their pages at the same time.
#[test]
fn churning_threads_meet_at_their_top() -> Result<()> {
    require!(exact_status());
    let lab = Lab::new()?;
    let top = |threads: &str, pages: &str| -> Result<u64> {
        let file = lab.path("top").display().to_string();
        let line = [workloads::CHURN, threads, pages, "3", "barrier", &file];
        run_to_end(&mut lab.fixed(&line), lab.dir())?.success()?;
        lab.status("top")?.rss()
    };
    assert_eq!(top("4", "40")? - top("4", "01")?, 4 * 39 * page());
    Ok(())
}
