//! Processes by container.
//!
//! Engines name a container's cgroup after its id:
//!
//! | engine | with cgroups by systemd | with its own |
//! |---|---|---|
//! | docker | `docker-ID.scope` | `/docker/ID` |
//! | podman | `libpod-ID.scope` | `libpod-ID` |
//! | containerd for Kubernetes | `cri-containerd-ID.scope` | `/kubepods/…/ID` |
//! | CRI-O | `crio-ID.scope` | `crio-ID` |
//! | nerdctl | `nerdctl-ID.scope` | `/default/ID` |
//!
//! LXC and its kin name it after the container: `lxc.payload.NAME`, once `lxc/NAME`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Container, Findings, Places, TargetsError, members, walk};

/// Digits of an id: SHA-256 or as many random ones.
const ID: usize = 64;

/// Digits of an id of which a container is taken. One digit would do where one container
/// runs; but the next to be started may begin with it too, and a script that named the
/// one would measure the other, or fail. With four that happens to one in 65 536. Besides,
/// a short word of these letters, as `ada`, is more likely a name.
const LEAST: usize = 4;

/// Digits that engines show.
const SHOWN: usize = 12;

/// Whose a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// Unique: wherever it is, it is the same container.
    Id(String),
    /// Unique in one place (a user's, an outer container's) only.
    Lxc(String, PathBuf),
}

impl Owner {
    fn shown(&self) -> String {
        match self {
            Self::Id(id) => id.chars().take(SHOWN).collect(),
            Self::Lxc(name, _) => name.clone(),
        }
    }
}

/// All processes of a container.
pub(super) fn find(places: &Places, asked: &str) -> Result<Findings, TargetsError> {
    if asked.is_empty() {
        return Err(TargetsError::Empty("id of the container"));
    }
    // Of version 1 a container has a cgroup in each hierarchy: who is in one of them is in it.
    let mut all: BTreeMap<Owner, Vec<(PathBuf, PathBuf)>> = BTreeMap::new();
    for hierarchy in places.hierarchies()? {
        for directory in walk::below(&hierarchy.mount)? {
            let path = hierarchy.path_of(&directory);
            if let Some(owner) = owner(&path) {
                all.entry(owner).or_default().push((directory, path));
            }
        }
    }
    let id = asked.to_owned();
    let is_id = asked.bytes().all(is_digit);
    let found: Vec<(&Owner, &Vec<(PathBuf, PathBuf)>)> = all
        .iter()
        .filter(|(owner, _)| match owner {
            Owner::Id(id) => is_id && asked.len() >= LEAST && id.starts_with(asked),
            Owner::Lxc(name, _) => name == asked,
        })
        .collect();
    match found.as_slice() {
        [] if is_id && asked.len() < LEAST => Err(TargetsError::ShortId { id, least: LEAST }),
        [] => Err(TargetsError::NoContainer {
            id,
            running: all.keys().map(Owner::shown).collect(),
        }),
        [(_, cgroups)] => {
            let (directories, paths): (Vec<_>, Vec<_>) = cgroups.iter().cloned().unzip();
            let asked = paths.first().map_or(Path::new("/"), PathBuf::as_path);
            members::of(places, &directories, asked)
        }
        several => Err(TargetsError::AmbiguousContainer {
            id,
            found: several
                .iter()
                .map(|(owner, cgroups)| Container {
                    id: owner.shown(),
                    cgroup: cgroups
                        .first()
                        .map(|(_, path)| path.clone())
                        .unwrap_or_default(),
                })
                .collect(),
        }),
    }
}

/// The container whose cgroup this is, if it is one's.
fn owner(path: &Path) -> Option<Owner> {
    let name = path.file_name()?.to_str()?;
    if let Some(id) = id(name) {
        return Some(Owner::Id(id.to_owned()));
    }
    let lxc = |name: &str| Some(Owner::Lxc(name.to_owned(), path.to_path_buf()));
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return lxc(name);
    }
    // LXC before 4.0.
    let above = path.parent()?.file_name()?;
    (above == "lxc" || above == "lxc.payload")
        .then(|| lxc(name))
        .flatten()
}

/// The id in the name of a cgroup: the whole of it, or what follows the engine's name and
/// `-`, or `:` where a name for systemd was given to another driver
/// (`kubepods-….slice:cri-containerd:ID`).
fn id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (engine, id) = name.split_at_checked(name.len().checked_sub(ID)?)?;
    // Conmon watches a container, and is not in it: `libpod-conmon-ID`, `crio-conmon-ID`.
    let named = engine.is_empty() || engine.ends_with(['-', ':']) && !engine.ends_with("-conmon-");
    (named && id.bytes().all(is_digit)).then_some(id)
}

const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
