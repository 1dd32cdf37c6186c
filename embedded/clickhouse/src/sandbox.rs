//! What the kernel keeps from the engine, whatever a statement asks for: files outside its folder,
//! programs, other hosts. ClickHouse's grants cover most of it; functions such as `file()` they do
//! not cover.

use std::path::Path;

/// What the engine may reach.
pub(crate) struct Rules<'r> {
    pub(crate) library: &'r Path,
    pub(crate) read: &'r Path,
    pub(crate) write: &'r Path,
    pub(crate) ports: [Option<u16>; 2],
}

/// Whether this kernel has Landlock and it is switched on.
#[cfg(target_os = "linux")]
pub(crate) fn is_available() -> bool {
    use landlock::{AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::ReadFile)
        .and_then(Ruleset::create)
        .is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_available() -> bool {
    false
}

/// Keeps the calling thread, and all that it starts, from gaining privileges by a program it runs.
#[cfg(target_os = "linux")]
pub(crate) fn give_up_new_privileges() -> std::io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn give_up_new_privileges() -> std::io::Result<()> {
    Ok(())
}

/// Confines the calling thread and all that it starts. On older kernels, which know fewer rules,
/// it does as much as they can.
#[cfg(target_os = "linux")]
pub(crate) fn confine(rules: &Rules<'_>) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, NetPort, Ruleset, RulesetAttr as _,
        RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
    };

    const NEWEST: ABI = ABI::V6;
    let library = rules.library.parent().unwrap_or(rules.library);
    // Shared libraries and time zones; the engine reads its own maps and limits in /proc/self.
    let system = ["/usr", "/lib", "/lib64", "/nix/store", "/proc/self"];
    let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let status =
        Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(system, read))?
            .add_rules(path_beneath_rules([library, rules.read], read))?
            .add_rules(path_beneath_rules(["/dev/urandom"], AccessFs::ReadFile))?
            .add_rules(path_beneath_rules(["/dev/null"], AccessFs::WriteFile))?
            .add_rules(path_beneath_rules(
                [rules.write],
                AccessFs::from_all(NEWEST),
            ))?
            .add_rules(rules.ports.into_iter().flatten().map(|port| {
                Ok::<_, landlock::RulesetError>(NetPort::new(port, AccessNet::BindTcp))
            }))?
            .restrict_self()
            .context("confine the engine")?;
    anyhow::ensure!(
        status.ruleset != RulesetStatus::NotEnforced,
        "the kernel's Landlock confines nothing; WEIR_ENGINE__LANDLOCK=false starts the engine without it, on loopback alone"
    );
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn confine(_rules: &Rules<'_>) -> anyhow::Result<()> {
    Ok(())
}
