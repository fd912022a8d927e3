//! Which rules a tree obeys.

/// The kind of a tree, chosen by `preset` in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preset {
    /// A tree that WSO2's hot deployer reads: dependency order, well-formedness
    /// gate, kept artifact directories, whole-second modification times, no
    /// symbolic links.
    #[default]
    Synapse,
    /// Any other directory.
    Plain,
}

impl Preset {
    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Synapse => "synapse",
            Self::Plain => "plain",
        }
    }
}
