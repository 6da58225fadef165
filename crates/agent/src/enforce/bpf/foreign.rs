//! Workloads whose cgroups somebody else makes and removes: units, containers. One palisade, the agent, protects many of
//! them; each has an entry of its own, which the next agent adopts.

use palisade_bpf::abi::SizeClass;
use palisade_ruleset::Mode;

use super::{BpfEnforcer, BpfError, LabelOptions, NewEntry, Place, ProtectedWorkload, Released, detach_if_unused, let_go};
use crate::cgroup::Cgroup;
use crate::enforce::table::Table;
use crate::home::Home;

impl BpfEnforcer {
    /// Puts a cgroup, and whatever runs in it, under a table, as an entry of its own. It stays so when this process ends.
    ///
    /// # Guarantees
    /// As those of [`Self::protect`].
    ///
    /// # Errors
    /// See [`BpfError`]; an id that another living palisade has is one.
    pub fn protect_foreign(
        &mut self,
        id: &str,
        cgroup: Cgroup,
        table: &Table,
        mode: Mode,
    ) -> Result<ProtectedWorkload, BpfError> {
        let locked = self.home.lock()?;
        let membership = Some(self.home.join(&locked, id)?);
        self.protect_as(&locked, NewEntry { id: id.to_owned(), membership, foreign: true }, cgroup, table, mode)
    }

    /// Takes over what an agent before this one protected under an id: label and table stay as they are.
    ///
    /// `None` if there is no such entry, or its cgroup is another one, or what it set up is not whole: then the
    /// workload is to be protected anew.
    ///
    /// # Errors
    /// See [`BpfError`].
    pub fn adopt(&mut self, id: &str, cgroup: &Cgroup) -> Result<Option<ProtectedWorkload>, BpfError> {
        let locked = self.home.lock()?;
        let Some(mut record) = self.home.record_of_id(id)? else { return Ok(None) };
        let word = self.maps.labels.get(record.label)?;
        let size_class = u8::try_from(word.size).ok().and_then(SizeClass::new);
        let (true, Some(size_class)) = (record.cgroup_id == cgroup.id() && word.live, size_class) else { return Ok(None) };
        let membership = self.home.join(&locked, id)?;
        record.pid = std::process::id();
        self.home.record(&record)?;
        // A cgroup that was made below it meanwhile inherited the label, unless the kernel had no room for it.
        self.label(cgroup, record.label)?;
        Ok(Some(ProtectedWorkload {
            label: record.label,
            cgroup: cgroup.clone(),
            place: Place { size_class, slot: word.slot },
            options: LabelOptions { audit: word.audit, cache: word.cache },
            record,
            _membership: Some(membership),
        }))
    }

    /// Lets go of a workload whose processes are gone, and stays. A label that a process still holds is not freed: try
    /// again later.
    ///
    /// # Errors
    /// See [`BpfError`].
    pub fn retire(&mut self, workload: &ProtectedWorkload) -> Result<Released, BpfError> {
        let _locked = self.home.lock()?;
        let_go(&self.home, &self.maps, workload)
    }

    /// Leaves, with every workload that has an entry of its own protected as it is.
    ///
    /// # Errors
    /// See [`BpfError`].
    pub fn leave_protected(self) -> Result<(), BpfError> {
        let Self { home, pins, maps: _, membership, why_no_cache: _, cache: _ } = self;
        let locked = home.lock()?;
        home.forget(&membership.id)?;
        drop(membership);
        detach_if_unused(&home, &locked, &pins)
    }
}

/// Takes all enforcement of this build's ABI version off this machine: programs, labels, tables, entries.
///
/// # Errors
/// See [`BpfError`]. [`BpfError::Tended`] if a palisade lives, whose workloads would lose their protection.
pub fn detach_all() -> Result<(), BpfError> {
    let home = Home::system()?;
    let locked = home.lock()?;
    if home.is_tended(&locked)? {
        return Err(BpfError::Tended);
    }
    palisade_bpf::pins::Pins::system().remove()?;
    Ok(home.remove(locked)?)
}
