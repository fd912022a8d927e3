//! Which rules a tree obeys.

/// The kind of a tree, chosen by `preset` in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preset {
    /// A tree that WSO2's hot deployer reads: dependency order, well-formedness
    /// gate, kept artifact directories, whole-second modification times, no
    /// symbolic links.
    #[default]
    Synapse,
    /// Trees that the hot deployer reads, one a tenant, each in a directory of
    /// its own at the top (`repository/tenants`). The rules of
    /// [`Preset::Synapse`], and each tenant is guarded by itself.
    Tenants,
    /// Any other directory.
    Plain,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Synapse, Self::Tenants, Self::Plain];

    /// The name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Synapse => "synapse",
            Self::Tenants => "tenants",
            Self::Plain => "plain",
        }
    }

    /// Whether the hot deployer reads the tree.
    #[must_use]
    pub fn is_deployed(self) -> bool {
        match self {
            Self::Synapse | Self::Tenants => true,
            Self::Plain => false,
        }
    }

    /// Whether each directory at the top is a tenant's.
    #[must_use]
    pub fn has_tenants(self) -> bool {
        self == Self::Tenants
    }
}
