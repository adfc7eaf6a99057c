//! What must hold in every history, at every width.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::{data, history, number, rows, segments};
use crate::export::{
    Data, Table, mprof, prmon,
    tables::{Kind, Value},
};

/// Names are unique and end with the unit.
#[test]
fn columns_are_named_after_their_unit() {
    for table in Table::ALL {
        let mut names = HashSet::new();
        for column in table.columns() {
            let name = column.name;
            assert!(
                names.insert(name),
                "{name} occurs twice in {}",
                table.name()
            );
            assert_eq!(
                name.ends_with("_bytes"),
                column.kind == Kind::Bytes,
                "{name}"
            );
            assert_eq!(
                name.ends_with("_ns"),
                column.kind == Kind::Nanoseconds,
                "{name}"
            );
            assert_eq!(name.ends_with("time"), column.kind == Kind::Time, "{name}");
            assert!(column.meaning.ends_with('.'), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The tables' maxima are the peaks, and what images held at a maximum of the tree sums
    /// to it, in every row.
    #[test]
    fn tables_agree_with_the_summary(
        seed in any::<u64>(),
        width in prop_oneof![Just(0), Just(1_000_000), Just(10_000_000), Just(u64::MAX / 4)],
    ) {
        let history = history::random(seed, 150);
        let (summary, timeline) = (history.summary(), history.timeline(width));
        let data = data(&summary, &timeline);

        let tree = rows(&data, Table::Tree);
        let peak = tree.iter().map(|row| number(row, "rss_max_bytes")).max();
        prop_assert_eq!(peak, Some(summary.tree.peak_rss));

        let images = rows(&data, Table::Images);
        let at_peak: u64 = images.iter().map(|row| number(row, "rss_at_tree_peak_bytes")).sum();
        prop_assert_eq!(at_peak, summary.tree.peak_rss);
        let processes = rows(&data, Table::Processes);
        let at_peak: u64 = processes.iter().map(|row| number(row, "rss_at_tree_peak_bytes")).sum();
        prop_assert_eq!(at_peak, summary.tree.peak_rss);

        let mut spans = rows(&data, Table::Timeline);
        let mut peaks: BTreeMap<u64, u64> = BTreeMap::new();
        for row in &spans {
            let peak = peaks.entry(number(row, "image")).or_default();
            *peak = (*peak).max(number(row, "rss_max_bytes"));
        }
        for image in &images {
            prop_assert_eq!(peaks[&number(image, "image")], number(image, "peak_rss_bytes"));
        }

        // At width 0 several rows can have one time; the rows of images are in the order of
        // changes only within an image.
        if width > 0 {
            spans.sort_by_key(|row| number(row, "time_ns"));
            let mut spans = spans.iter().peekable();
            let mut last: BTreeMap<u64, u64> = BTreeMap::new();
            for row in &tree {
                let mut sum = 0;
                let mut here = BTreeMap::new();
                while let Some(span) = spans.next_if(|s| number(s, "time_ns") == number(row, "time_ns")) {
                    let image = number(span, "image");
                    here.insert(image, number(span, "rss_last_bytes"));
                    last.remove(&image);
                    sum += number(span, "rss_at_tree_max_bytes");
                }
                sum += last.values().sum::<u64>();
                prop_assert_eq!(sum, number(row, "rss_max_bytes"));
                last.extend(here);
            }
            prop_assert_eq!(spans.next(), None);
        }
    }

    /// Samplers' files have the peak, and do not go back in time.
    #[test]
    fn samples_have_the_peak(
        seed in any::<u64>(),
        width in prop_oneof![Just(0), Just(1_000_000), Just(10_000_000), Just(u64::MAX / 4)],
    ) {
        let history = history::random(seed, 150);
        let (summary, timeline) = (history.summary(), history.timeline(width));
        let data = data(&summary, &timeline);
        let mut text = Vec::new();
        mprof::write(&data, &mut text).expect("memory has room");
        let points: Vec<(f64, f64)> = String::from_utf8_lossy(&text).lines().skip(1).map(|line| {
            let mut words = line.split(' ').skip(1).map(|word| word.parse().expect("a number"));
            (words.next().expect("MiB"), words.next().expect("seconds"))
        }).collect();
        prop_assert!(points.is_sorted_by_key(|(_, at)| *at));
        let peak = points.iter().map(|(mib, _)| *mib).fold(0.0, f64::max);
        prop_assert_eq!(peak * 1_048_576.0, summary.tree.peak_rss as f64);

        let mut text = Vec::new();
        prmon::write(&data, &mut text).expect("memory has room");
        let rows: Vec<Vec<u64>> = String::from_utf8_lossy(&text).lines().skip(1).map(|line| {
            line.split('\t').map(|field| field.parse().expect("a number")).collect()
        }).collect();
        prop_assert!(rows.is_sorted_by(|a, b| a[1] < b[1]), "{rows:?}");
        prop_assert_eq!(rows.iter().map(|row| row[3]).max(), Some(summary.tree.peak_rss / 1024));
    }

    /// Values fit their columns.
    #[test]
    fn values_are_of_their_columns_kind(seed in any::<u64>()) {
        let history = history::random(seed, 60);
        let (mut summary, timeline) = (history.summary(), history.timeline(10_000_000));
        segments::tell(&mut summary);
        let told = segments::Told { timeline: &timeline, calls: segments::calls(&summary) };
        let data = Data { spans: &told, ..data(&summary, &timeline) };
        for table in Table::ALL {
            let columns = table.columns();
            for row in rows(&data, table) {
                for (column, (name, value)) in columns.iter().zip(&row) {
                    let fits = match value {
                        Value::Missing => column.optional,
                        Value::Text(_) => column.kind == Kind::Text,
                        Value::Flag(_) => column.kind == Kind::Flag,
                        Value::Integer(_) => !matches!(column.kind, Kind::Text | Kind::Flag),
                    };
                    prop_assert!(fits, "{} {name}: {value:?}", table.name());
                }
            }
        }
    }
}
