//! Scalars about the past of a workspace.

use super::{
    Deserialize, Deserializer, Error, FromStr, JsonSchema, Result, Serialize, Serializer, WorkspaceRef, de, describe, fmt,
    number_or_text, shown,
};

text_value!(
    /// Name of a snapshot: unique in its workspace.
    SnapshotName
);

number_value!(
    /// How many forks to make at once.
    ForkCount: u32, "count", 1..=100, default 1
);

/// Longest name of a snapshot.
const SNAPSHOT_NAME_BYTES_MAX: usize = 63;

impl FromStr for SnapshotName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let ok = text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && text.len() <= SNAPSHOT_NAME_BYTES_MAX;
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{} is not a snapshot name", shown(text)))
                .hint("letters, digits, '.', '_' and '-', at most 63, beginning with a letter or digit"))
        }
    }
}

/// What a diff compares with: `baseline`, `seed`, `step:N`, `snapshot:NAME` or `workspace:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(inline, with = "String")]
pub enum Against {
    /// How the workspace was created; for a fork, as it was forked.
    #[default]
    Baseline,
    /// What the first of its line was seeded with.
    Seed,
    /// One of its steps.
    Step(u64),
    /// One of its snapshots.
    Snapshot(SnapshotName),
    /// Another workspace as it is now.
    Workspace(WorkspaceRef),
}

impl FromStr for Against {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("{} is nothing to compare with", shown(text)))
                .hint("baseline, seed, step:N, snapshot:NAME or workspace:NAME")
        };
        match text.split_once(':') {
            None if text == "baseline" => Ok(Self::Baseline),
            None if text == "seed" => Ok(Self::Seed),
            Some(("step", step)) => step.parse().map(Self::Step).map_err(|_| wrong()),
            Some(("snapshot", name)) => name.parse().map(Self::Snapshot),
            Some(("workspace", name)) => name.parse().map(Self::Workspace),
            None | Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Baseline => f.write_str("baseline"),
            Self::Seed => f.write_str("seed"),
            Self::Step(step) => write!(f, "step:{step}"),
            Self::Snapshot(name) => write!(f, "snapshot:{name}"),
            Self::Workspace(name) => write!(f, "workspace:{name}"),
        }
    }
}

impl Serialize for Against {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Against {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error: Error| de::Error::custom(describe(&error)))
    }
}
