//! Sizes of virtual memory, also of what is never touched (T18).

use anyhow::{Context, Result};
use memtrace_tests::{Lab, Run, Status, Virtual, is_lacking, mib, page, require_privileges};

/// Options and what the one image of a script had.
///
/// A kernel that can skip programs can skip those at the ends of system calls; the certificate then
/// takes its word back, and there is nothing to compare: the script runs again.
fn sizes(lab: &Lab, options: &[&str], words: &str) -> Result<(Run, Virtual)> {
    const TRIES: u32 = 20;
    let mut run = lab.trace_with(options, words)?;
    for _ in 1..TRIES {
        let taken_back = is_lacking("undisturbed-programs")
            && options.contains(&"--vm-events")
            && run.summary.certificate.virtual_sizes.data == "at_page_faults";
        if !taken_back {
            break;
        }
        run = lab.trace_with(options, words)?;
    }
    let mut images = run
        .summary
        .processes
        .iter()
        .flat_map(|process| &process.images);
    let image = images.next().context("no image")?;
    let vm = image.vm;
    assert!(images.next().is_none(), "{words}");
    assert_eq!(vm.peak_size_bytes, image.peak_vm_bytes);
    Ok((run, vm))
}

/// One script: its words, and how many pages more than without them each of data, heap and
/// libraries had.
struct Case {
    words: String,
    data: u64,
    heap: u64,
    lib: u64,
}

/// What is mapped and given back within system calls, untouched, raises peaks by what arithmetic says.
#[test]
fn untouched_memory_raises_every_peak_with_vm_events() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let case = |words: String, data, heap, lib| Case {
        words,
        data,
        heap,
        lib,
    };
    let (gib, some, hundred) = (mib(1024), mib(300), mib(100));
    let options = ["--vm-events"];
    let (run, none) = sizes(&lab, &options, "status @top")?;
    run.summary.assert_exact();
    assert_eq!(run.summary.certificate.virtual_sizes.data, "exact");
    assert_eq!(none.peak_heap_bytes, 0);
    for Case {
        words,
        data,
        heap,
        lib,
    } in [
        case(format!("map {gib} unmap"), gib, 0, 0),
        case(format!("loop{{ 20 map {hundred} unmap }}"), hundred, 0, 0),
        // No access: not data. Then readable and writable, and back.
        case(format!("reserve {gib} unmap"), 0, 0, 0),
        case(format!("reserve {some} allow forbid unmap"), some, 0, 0),
        // Data becomes code.
        case(format!("map {some} code unmap"), some, 0, some),
        case(
            format!("brk-up {hundred} brk-down {hundred}"),
            hundred,
            hundred,
            0,
        ),
        // Two at the same time, and one after it: not their sum.
        case(
            format!("map {hundred} brk-up {some} unmap brk-down {some} map {some} unmap"),
            hundred + some,
            some,
            0,
        ),
    ] {
        let (run, vm) = sizes(&lab, &options, &format!("{words} status @top"))?;
        run.summary.assert_exact();
        let more = |peak: fn(&Virtual) -> u64| (peak(&vm) - peak(&none)) / page();
        assert_eq!(more(|vm| vm.peak_data_bytes), data, "data: {words}");
        assert_eq!(more(|vm| vm.peak_heap_bytes), heap, "heap: {words}");
        assert_eq!(more(|vm| vm.peak_lib_bytes), lib, "libraries: {words}");
        let status = lab.status("top")?;
        assert_eq!(vm.peak_size_bytes, status.bytes("VmPeak")?, "{words}");
        assert_eq!(vm.peak_text_bytes, status.bytes("VmExe")?, "{words}");
    }
    Ok(())
}

/// A stack grows by page faults, so nobody has to ask for its peak; it stays as large.
#[test]
fn the_stack_is_seen_to_its_deepest_point() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    for options in [&[][..], &["--vm-events"][..]] {
        let (run, vm) = sizes(&lab, options, &format!("descend {} status @top", mib(6)))?;
        assert_eq!(run.summary.certificate.virtual_sizes.stack, "exact");
        let status = lab.status("top")?;
        assert_eq!(vm.peak_stack_bytes, status.bytes("VmStk")?);
        assert!(vm.peak_stack_bytes >= mib(6) * page(), "{vm:?}");
    }
    Ok(())
}

/// Without the option the certificate says that data and heap may have been larger, and the
/// size as a whole is still exact.
#[test]
fn without_vm_events_the_certificate_says_what_is_not_exact() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = format!("map {} unmap status @top", mib(1024));
    let (run, vm) = sizes(&lab, &[], &words)?;
    let said = &run.summary.certificate.virtual_sizes;
    assert_eq!(
        (said.size.as_str(), said.data.as_str()),
        ("exact", "at_page_faults")
    );
    assert_eq!(
        (said.heap.as_str(), said.averages.as_str()),
        ("at_page_faults", "at_page_faults")
    );
    let status: Status = lab.status("top")?;
    assert_eq!(vm.peak_size_bytes, status.bytes("VmPeak")?);
    Ok(())
}

/// With a second thread, sizes are as seen, and the certificate does not call them exact.
#[test]
fn with_threads_the_certificate_says_what_can_be_missed() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    let words = "thread{ nap-us 1000 exit-thread } nap-us 20000 map 1000 unmap status @top";
    let (run, vm) = sizes(&lab, &["--vm-events"], words)?;
    let said = &run.summary.certificate.virtual_sizes;
    let said = (said.size.as_str(), said.data.as_str());
    assert_eq!(said, ("exact", "at_system_calls"));
    let status: Status = lab.status("top")?;
    assert_eq!(vm.peak_size_bytes, status.bytes("VmPeak")?);
    Ok(())
}

/// Averages count what is mapped and not touched: for at least as long as the process sleeps with
/// it, and not while it sleeps without.
#[test]
fn averages_count_what_is_not_touched() -> Result<()> {
    require_privileges!();
    let lab = Lab::new()?;
    type Size = fn(&Virtual) -> (Option<u64>, u64);
    let data: Size = |vm| (Some(vm.average_data_bytes), vm.peak_data_bytes);
    let heap: Size = |vm| (vm.average_heap_bytes, vm.peak_heap_bytes);
    let pages = mib(1024);
    for (begin, end, size) in [
        (format!("map {pages}"), "unmap".to_owned(), data),
        (format!("brk-up {pages}"), format!("brk-down {pages}"), heap),
    ] {
        let words = format!("{begin} nap-us 300000 {end} nap-us 300000 status @top");
        let (run, vm) = sizes(&lab, &["--vm-events"], &words)?;
        assert_eq!(run.summary.certificate.virtual_sizes.averages, "exact");
        let process = run.summary.processes.first().context("no process")?;
        let image = process.images.first().context("no image")?;
        let lifetime = u128::from(image.lifetime_ns);
        let (mapped, nap) = (u128::from(pages * page()), 300_000_000);
        let (average, peak) = size(&vm);
        let integral = u128::from(average.context("an average")?) * lifetime;
        // The average is cut to whole bytes.
        assert!(
            integral + lifetime >= mapped * nap,
            "{vm:?} for {lifetime} ns"
        );
        let rest = u128::from(peak) - mapped;
        let most = mapped * (lifetime - nap) + rest * lifetime;
        assert!(integral <= most, "{vm:?} for {lifetime} ns");
        // There from the first page to the last.
        assert_eq!(vm.average_text_bytes, Some(vm.peak_text_bytes));
    }
    Ok(())
}
