//! A small history, and what the formats say of it to the last byte. The numbers of pages
//! and moments are those of [`small`].

use super::{
    History, data,
    history::{EXITED, PAGE},
};
use crate::{
    export::{Data, ExportError, Table, csv, folded, mprof, ndjson, prmon, tables::Column},
    model::Loss,
};

/// `make` holds 10 pages and outlives a child, which has the same 10 until it runs a program
/// with a hostile name, which has 1 page for 3 s and 20 for 2 s.
fn small() -> History {
    let mut history = History::new(&[b"/usr/bin/make", b"-j", b"2"]);
    history.set(0, [6, 4, 0, 0]);
    history.at = 1_000;
    let child = history.fork(0, 101);
    history.at = 2_000;
    history.exec(child, &[b"/bin/a,b \"c\";\r\n", b"\xff"]);
    history.at = 3_000_000_000;
    history.set(child, [20, 0, 0, 1]);
    history.at = 5_000_000_000;
    history.exit(child, EXITED);
    history.at = 10_000_000_000;
    history.losses.push(Loss {
        from_ns: 7,
        until_ns: 1_000_000_000,
        records: 2,
        reason: "full, \"busy\"".to_owned(),
    });
    history
}

fn text(write: impl FnOnce(&Data<'_>, &mut Vec<u8>) -> Result<(), ExportError>) -> String {
    let history = small();
    let (summary, timeline) = (history.summary(), history.timeline(1_000_000_000));
    let mut out = Vec::new();
    write(&data(&summary, &timeline), &mut out).expect("it writes");
    String::from_utf8(out).expect("UTF-8")
}

fn header(table: Table) -> String {
    let names: Vec<&str> = table
        .columns()
        .iter()
        .map(|Column { name, .. }| *name)
        .collect();
    names.join(",") + "\r\n"
}

/// Commas and quotes are quoted, control characters and bad UTF-8 escaped: one line per row.
#[test]
fn csv_is_rfc_4180() {
    let losses = text(|data, out| csv::write(data, Table::Losses, out));
    assert_eq!(
        losses,
        "from_ns,from_time,until_ns,until_time,records,reason\r\n\
         7,2023-11-14T22:13:20.000000007Z,1000000000,2023-11-14T22:13:21.000000000Z,2,\
         \"full, \"\"busy\"\"\"\r\n"
    );
    let processes = text(|data, out| csv::write(data, Table::Processes, out));
    assert_eq!(
        processes,
        header(Table::Processes)
            + "0,,100,100,1,true,make,/usr/bin/make -j 2,comm,\
               0,2023-11-14T22:13:20.000000000Z,,,10000000000,,,false,false,true,,,,,,,\
               1,40960,0,40960\r\n\
               1,0,101,101,100,false,\"a,b \"\"c\"\";\\r\\n\",\"'/bin/a,b \"\"c\"\";\\r\\n' \\xff\",comm,\
               1000,2023-11-14T22:13:20.000001000Z,5000000000,2023-11-14T22:13:25.000000000Z,4999999000,\
               0,,false,false,false,1,2,true,3,4,1,2,81920,3000000000,81920\r\n"
    );
    let tree = text(|data, out| csv::write(data, Table::Tree, out));
    assert_eq!(
        tree,
        header(Table::Tree)
            // 10 pages, then the fork's 20, then exec: 21 for a moment, 11 left.
            + "0,2023-11-14T22:13:20.000000000Z,0,86016,2000,53248,32768,0,0,\
               45056,28672,16384,0,0,0\r\n\
               3000000000,2023-11-14T22:13:23.000000000Z,45056,122880,3000000000,\
               106496,16384,0,4096,122880,106496,16384,0,4096,0\r\n\
               5000000000,2023-11-14T22:13:25.000000000Z,40960,122880,5000000000,\
               106496,16384,0,4096,40960,24576,16384,0,0,0\r\n"
    );
}

/// One object per line, every key in each.
#[test]
fn ndjson_is_one_object_per_row() {
    let losses = text(|data, out| ndjson::write(data, Table::Losses, out));
    assert_eq!(
        losses,
        "{\"from_ns\":7,\"from_time\":\"2023-11-14T22:13:20.000000007Z\",\
         \"until_ns\":1000000000,\"until_time\":\"2023-11-14T22:13:21.000000000Z\",\
         \"records\":2,\"reason\":\"full, \\\"busy\\\"\"}\n"
    );
    let timeline = text(|data, out| ndjson::write(data, Table::Timeline, out));
    let last = timeline.lines().last().expect("rows");
    assert_eq!(
        last,
        "{\"image\":3,\"pid\":101,\"name\":\"a,b \\\"c\\\";\\\\r\\\\n\",\
         \"time_ns\":5000000000,\"time\":\"2023-11-14T22:13:25.000000000Z\",\
         \"rss_min_bytes\":0,\"rss_max_bytes\":81920,\"rss_max_at_ns\":5000000000,\
         \"anon_max_bytes\":81920,\"file_max_bytes\":0,\"shmem_max_bytes\":0,\"swap_max_bytes\":4096,\
         \"rss_last_bytes\":0,\"anon_last_bytes\":0,\"file_last_bytes\":0,\"shmem_last_bytes\":0,\
         \"swap_last_bytes\":0,\
         \"rss_at_tree_max_bytes\":81920,\"anon_at_tree_max_bytes\":81920,\
         \"file_at_tree_max_bytes\":0,\"shmem_at_tree_max_bytes\":0,\"swap_at_tree_max_bytes\":4096,\
         \"vm_bytes\":409600,\"vm_data_bytes\":0,\"vm_stack_bytes\":0,\"vm_exec_bytes\":0,\
         \"vm_heap_bytes\":0,\"vm_page_tables_bytes\":0,\"vm_locked_bytes\":0}"
    );
}

/// Stacks of processes; a semicolon in a name does not make a frame.
#[test]
fn stacks_are_folded() {
    let peak = text(|data, out| folded::write(data, folded::Weight::Peak, out));
    assert_eq!(
        peak,
        format!(
            "make {}\nmake;a,b \"c\"\\x3b\\r\\n {}\n",
            10 * PAGE,
            20 * PAGE
        )
    );
    // The command's 10 pages for 10 s; 1 and 20 pages for 3 and 2 s are 176,128 byte-seconds,
    // of which the mean, rounded down to 35,225 bytes, leaves 4. The copy's microsecond is 0.
    let time = text(|data, out| folded::write(data, folded::Weight::ByteSeconds, out));
    assert_eq!(
        time,
        format!("make {}\nmake;a,b \"c\"\\x3b\\r\\n 176124\n", 100 * PAGE)
    );
}

/// The line of mprof: 21 pages for a moment, 11 until they are 30 and so on; each span's largest
/// value and its last, and where nothing changes, the value at both ends.
#[test]
fn mprof_draws_steps() {
    let text = text(|data, out| mprof::write(data, out));
    let mib = |pages: u64| format!("{:.8}", (pages * PAGE) as f64 / 1_048_576.0);
    let points = [
        (21, "1700000000.000002"),
        (11, "1700000001.000000"),
        (11, "1700000003.000000"),
        (30, "1700000003.000000"),
        (30, "1700000004.000000"),
        (30, "1700000005.000000"),
        (30, "1700000005.000000"),
        (10, "1700000006.000000"),
        (10, "1700000010.000000"),
    ];
    let points = points.map(|(pages, at)| format!("MEM {} {at}\n", mib(pages)));
    assert_eq!(
        text,
        format!("CMDLINE /usr/bin/make -j 2\n{}", points.concat())
    );
}

/// A row per second in which something changed, before such a one, and at the end; each image is of
/// 100 pages.
#[test]
fn prmon_has_rows_by_the_second() {
    let rows = [
        "Time\twtime\tnprocs\trss\tswap\tvmem",
        "1700000000\t0\t2\t84\t0\t1200",
        "1700000002\t2\t2\t44\t0\t800",
        "1700000003\t3\t2\t120\t4\t800",
        "1700000004\t4\t2\t120\t4\t800",
        "1700000005\t5\t1\t120\t4\t800",
        "1700000009\t9\t1\t40\t0\t400",
        "1700000010\t10\t1\t40\t0\t400",
    ];
    assert_eq!(
        text(|data, out| prmon::write(data, out)),
        rows.join("\n") + "\n"
    );
}
