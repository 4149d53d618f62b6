//! Landlock: which part of the file system and the network a decode process can reach.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

/// The newest interface whose rights we have read about; older kernels enforce the part that they know.
const ABI_KNOWN: ABI = ABI::V6;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LandlockError {
    #[error("failed to open the fonts' folder")]
    Fonts(#[from] PathFdError),
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
}

/// True where the kernel has Landlock and it is on.
pub(crate) fn is_available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .is_ok_and(|ruleset| ruleset.create().is_ok())
}

/// Denies everything but reading below `fonts`. Returns the version of the interface in force, `None` where the
/// kernel has no Landlock.
pub(super) fn restrict(fonts: Option<&Path>) -> Result<Option<u32>, LandlockError> {
    let readable: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI_KNOWN))?
        .handle_access(AccessNet::from_all(ABI_KNOWN))?
        .scope(Scope::from_all(ABI_KNOWN))?
        .create()?;
    let ruleset = match fonts {
        Some(folder) => ruleset.add_rule(PathBeneath::new(PathFd::new(folder)?, readable))?,
        None => ruleset,
    };
    let status = ruleset.restrict_self()?;
    match (status.ruleset, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => Ok(Some(effective_abi as u32)),
        _ => Ok(None),
    }
}
