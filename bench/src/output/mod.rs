//! Results for people and for programs.

mod markdown;
mod table;
mod tables;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::results::{Machine, Results, SCHEMA};

/// Everything as text.
pub(crate) fn text(results: &Results) -> String {
    let mut text = format!("{}\n", machine(&results.machine));
    for tool in &results.tools {
        if let Some(why) = &tool.left_out {
            text.push_str(&format!("left out: {} ({why})\n", tool.name));
        }
    }
    for remark in &results.remarks {
        text.push_str(&format!("note: {remark}\n"));
    }
    let all = [
        tables::reported(results),
        tables::overview(results),
        tables::wall(results),
        tables::handler(results),
        tables::many_cpus(results),
        tables::programs(results),
        tables::own(results),
        tables::recordings(results),
        tables::lost(results),
        tables::storm(results),
        tables::instructions(results),
        tables::budgets(results),
    ];
    for table in all.iter().filter(|table| !table.rows.is_empty()) {
        text.push('\n');
        text.push_str(&table.text());
    }
    text
}

/// Writes the JSON.
pub(crate) fn write_json(results: &Results, path: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(results).context("write JSON")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Reads what [`write_json`] wrote.
pub(crate) fn read_json(path: &Path) -> Result<Results> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let results: Results = serde_json::from_str(&text)
        .with_context(|| format!("{} is no result of this benchmark", path.display()))?;
    ensure!(
        results.schema == SCHEMA,
        "{} has the schema {:?}, not {SCHEMA:?}",
        path.display(),
        results.schema
    );
    Ok(results)
}

/// Writes the document, keeping what was written by hand in it.
pub(crate) fn write_markdown(results: &Results, path: &Path) -> Result<()> {
    let old = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, markdown::document(results, &old))
        .with_context(|| format!("write {}", path.display()))
}

/// One line about the machine.
fn machine(machine: &Machine) -> String {
    let Machine {
        kernel,
        processor,
        cpus,
        memory_mib,
        virtual_machine,
        load,
        memtrace,
    } = machine;
    let kind = if *virtual_machine {
        ", virtual machine"
    } else {
        ""
    };
    format!(
        "{memtrace}; Linux {kernel}, {cpus} CPUs ({processor}{kind}), {memory_mib} MiB of memory, \
         load {load:.1} at the start"
    )
}

#[cfg(test)]
mod tests {
    use super::{machine, text};
    use crate::{
        budgets,
        results::{Budget, HandlerCost, Machine, Own, Results, ToolUse, Verdict, Wall},
    };

    /// Made up: every figure is chosen so that its budget's verdict is known.
    pub(super) fn results() -> Results {
        let wall = |workload: &str, tool: &str, wall_ms, beyond| Wall {
            workload: workload.to_owned(),
            title: format!("about {workload}"),
            tool: tool.to_owned(),
            rounds: 3,
            wall_ms,
            untraced_ms: 1.0,
            ratio: Some(wall_ms),
            beyond_start: beyond,
            ..Wall::default()
        };
        let handler = |tracked, images, net_ns| HandlerCost {
            tracked,
            images,
            rounds: 3,
            net_ns,
            rss_bytes: Some(33 << 20),
            ..HandlerCost::default()
        };
        let mut results = Results {
            schema: "memtrace.bench/1".to_owned(),
            machine: Machine {
                kernel: "6.1.0".to_owned(),
                processor: "some".to_owned(),
                cpus: 2,
                memory_mib: 2048,
                virtual_machine: true,
                load: 0.5,
                memtrace: "memtrace 0.1.0".to_owned(),
            },
            quick: true,
            tools: vec![ToolUse {
                name: "bpftrace".to_owned(),
                line: "bpftrace -c COMMAND".to_owned(),
                left_out: Some("not installed; apt-get install bpftrace".to_owned()),
            }],
            reported: Vec::new(),
            wall: vec![
                wall("start", "untraced", 1.0, None),
                wall("start", "memtrace run", 21.0, None),
                wall("start", "/usr/bin/time -v", 2.0, None),
                wall("faults", "untraced", 1000.0, Some(1.0)),
                wall("faults", "memtrace run", 1060.0, Some(1.06)),
                wall("faults", "memtrace run -o FILE", 2120.0, Some(2.12)),
            ],
            programs: Vec::new(),
            handler: vec![
                handler(false, 0, 24.0),
                handler(true, 1, 100.5),
                handler(true, 1_000, 110.0),
                handler(true, 10_000, 120.6),
            ],
            many_cpus: Vec::new(),
            own: vec![Own {
                tool: "memtrace run".to_owned(),
                percent: Some(2.0),
                ..Own::default()
            }],
            recordings: Vec::new(),
            lost: None,
            storm: Vec::new(),
            instructions: Vec::new(),
            budgets: Vec::new(),
            remarks: vec!["the machine is busy".to_owned()],
        };
        results.budgets = budgets::judge(&results, &|_| true);
        results
    }

    #[test]
    fn verdicts_follow_from_the_figures() {
        let verdicts: Vec<_> = results()
            .budgets
            .iter()
            .map(|budget| (budget.figure, budget.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [
                (Some(100.5), Verdict::Missed),
                (Some(24.0), Verdict::Met),
                (Some(1.06), Verdict::Met),
                (None, Verdict::NotMeasured),
                (None, Verdict::NotMeasured),
                (Some(2.0), Verdict::Missed),
                (None, Verdict::NotMeasured),
                (Some(19.0), Verdict::Missed),
                (Some(2.0), Verdict::Met),
                (Some(33.0), Verdict::Missed),
                (Some(1.2), Verdict::Met),
                (None, Verdict::NotMeasured),
                (None, Verdict::NotMeasured),
                (None, Verdict::NotMeasured),
                (None, Verdict::NotMeasured),
            ]
        );
    }

    #[test]
    fn only_budgets_of_selected_parts_are_judged() {
        let budgets = budgets::judge(&results(), &|part| part == budgets::Part::Own);
        let whats: Vec<&str> = budgets.iter().map(|budget| budget.what.as_str()).collect();
        assert_eq!(whats.len(), 1, "{whats:?}");
    }

    #[test]
    fn a_loss_that_keeps_the_number_is_a_loss() {
        let mut results = results();
        results.lost = Some(crate::results::Lost {
            created: 101,
            reported: 101,
            none_lost: false,
        });
        let budgets = budgets::judge(&results, &|part| part == budgets::Part::Lost);
        let [
            Budget {
                figure, verdict, ..
            },
        ] = budgets.as_slice()
        else {
            panic!("{budgets:?}");
        };
        assert_eq!((*figure, *verdict), (Some(1.0), Verdict::Missed));
    }

    #[test]
    fn the_text_names_machine_notes_and_what_was_left_out() {
        let text = text(&results());
        let expected = "\
memtrace 0.1.0; Linux 6.1.0, 2 CPUs (some, virtual machine), 2048 MiB of memory, load 0.5 at the start
left out: bpftrace (not installed; apt-get install bpftrace)
note: the machine is busy

Wall time beyond start-up, ratio to the untraced run
  workload      untraced  memtrace run  memtrace run -o FILE
  about faults         1          1.06                  2.12
";
        assert!(text.starts_with(expected), "{text}");
        let missed = text
            .lines()
            .find(|line| line.contains("start-up: memtrace"));
        let words: Vec<&str> = missed.unwrap_or_default().split_whitespace().collect();
        assert!(
            words.ends_with(&["19.0", "15.0", "ms", "missed"]),
            "{words:?}"
        );
    }

    #[test]
    fn the_json_has_its_schema_and_units_in_its_names() {
        let json = serde_json::to_value(results()).unwrap_or_default();
        assert_eq!(json["schema"], "memtrace.bench/1");
        assert_eq!(json["wall"][1]["wall_ms"], 21.0);
        assert_eq!(json["handler"][1]["net_ns"], 100.5);
        assert_eq!(json["budgets"][0]["verdict"], "missed");
        assert_eq!(json["budgets"][3]["verdict"], "not_measured");
        assert_eq!(json["budgets"][3]["figure"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let path = std::env::temp_dir().join(format!("memtrace-bench-{}.json", std::process::id()));
        let before = results();
        super::write_json(&before, &path).expect("written");
        let after = super::read_json(&path);
        std::fs::write(&path, "{\"schema\": \"something else\"}").expect("written");
        let other = super::read_json(&path);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(text(&after.expect("read")), text(&before));
        assert!(other.is_err());
    }

    #[test]
    fn a_quiet_real_machine_is_no_virtual_one() {
        let line = machine(&Machine {
            virtual_machine: false,
            ..results().machine
        });
        assert!(!line.contains("virtual"), "{line}");
    }
}
