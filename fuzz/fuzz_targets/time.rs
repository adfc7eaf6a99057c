#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| memtrace_fuzz::targets::time::run(data));
