//! What the kernel's own accounting says of the command's cgroup.

use serde::Serialize;

use crate::model::{CgroupEvents, CgroupStat, OwnCgroup};

#[derive(Serialize)]
pub(super) struct OwnCgroupDoc {
    path: String,
    peak_bytes: Option<u64>,
    current_bytes: Option<u64>,
    swap_peak_bytes: Option<u64>,
    stat: StatDoc,
    events: EventsDoc,
    remains: bool,
}

/// At the end of the command.
#[derive(Serialize)]
struct StatDoc {
    anon_bytes: Option<u64>,
    file_bytes: Option<u64>,
    shmem_bytes: Option<u64>,
    file_mapped_bytes: Option<u64>,
    kernel_bytes: Option<u64>,
    slab_bytes: Option<u64>,
    kernel_stack_bytes: Option<u64>,
    page_tables_bytes: Option<u64>,
    percpu_bytes: Option<u64>,
    sock_bytes: Option<u64>,
}

#[derive(Serialize)]
struct EventsDoc {
    high: Option<u64>,
    max: Option<u64>,
    oom: Option<u64>,
    oom_kill: Option<u64>,
}

impl From<&OwnCgroup> for OwnCgroupDoc {
    fn from(told: &OwnCgroup) -> Self {
        let OwnCgroup {
            path,
            peak,
            current,
            swap_peak,
            stat,
            events,
            remains,
        } = told;
        Self {
            path: String::from_utf8_lossy(path).into_owned(),
            peak_bytes: *peak,
            current_bytes: *current,
            swap_peak_bytes: *swap_peak,
            stat: (*stat).into(),
            events: (*events).into(),
            remains: *remains,
        }
    }
}

impl From<CgroupStat> for StatDoc {
    fn from(stat: CgroupStat) -> Self {
        let CgroupStat {
            anon,
            file,
            shmem,
            file_mapped,
            kernel,
            slab,
            kernel_stack,
            page_tables,
            percpu,
            sock,
        } = stat;
        Self {
            anon_bytes: anon,
            file_bytes: file,
            shmem_bytes: shmem,
            file_mapped_bytes: file_mapped,
            kernel_bytes: kernel,
            slab_bytes: slab,
            kernel_stack_bytes: kernel_stack,
            page_tables_bytes: page_tables,
            percpu_bytes: percpu,
            sock_bytes: sock,
        }
    }
}

impl From<CgroupEvents> for EventsDoc {
    fn from(events: CgroupEvents) -> Self {
        let CgroupEvents {
            high,
            max,
            oom,
            oom_kill,
        } = events;
        Self {
            high,
            max,
            oom,
            oom_kill,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::OwnCgroupDoc;
    use crate::model::OwnCgroup;

    const DOCUMENT: &str = include_str!("../../../../docs/json.md");

    fn names(of: &str, value: &Value, into: &mut BTreeSet<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = format!("{of}.{name}");
            names(&path, value, into);
            into.insert(path);
        }
    }

    /// The test of all fields by real results has these only where there is cgroup v2.
    #[test]
    fn every_field_is_in_the_document_and_the_other_way_round() {
        let written = serde_json::to_value(OwnCgroupDoc::from(&OwnCgroup::default()));
        let mut fields = BTreeSet::new();
        names(
            "own_cgroup",
            &written.expect("it is an object"),
            &mut fields,
        );
        let rows = DOCUMENT
            .lines()
            .filter_map(|line| line.strip_prefix("| `own_cgroup."));
        let documented: BTreeSet<String> = rows
            .filter_map(|row| row.split_once('`'))
            .map(|(name, _)| format!("own_cgroup.{name}"))
            .collect();
        assert_eq!(fields, documented);
    }
}
