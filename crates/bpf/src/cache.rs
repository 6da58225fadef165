//! Whether opens may use the cache of directories (`src/c/cache.h`), and why not.

/// The programs that make its entries stale: without either of them it must not be used.
const GUARDS: [(&str, &str); 2] = [
    ("pal_dentry_moved", "this kernel has no function __d_move to attach to: moves of directories cannot be seen"),
    ("pal_inode_freed", "this kernel lacks the hook inode_free_security: ends of directories cannot be seen"),
];

/// Why opens must not use the cache; `None` if they may. `attached`: the names of the programs that are attached.
///
/// That `mount_lock` and `rename_lock` can be read is not asked for here: without them no program loads at all. On which
/// file systems the directories are is asked for each of them in the kernel (`cache_knows`).
#[must_use]
pub fn why_unused<'a>(attached: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    if cfg!(not(target_arch = "x86_64")) {
        return Some("it depends on the order in which x86-64 reads memory");
    }
    let missing = GUARDS.into_iter().find(|(guard, _)| !attached.clone().any(|name| name == *guard));
    missing.map(|(_, why)| why)
}

/// For the negative controls alone: has the programs leave out what `PALISADE_WITHOUT` says, a sum of the `KEY_*` in
/// `src/c/cache_key.h`.
#[cfg(feature = "test-controls")]
pub(crate) fn leave_out(object: &libbpf_rs::Object) -> Result<(), crate::maps::MapError> {
    use libbpf_rs::{MapCore as _, MapFlags};

    use crate::maps::MapError;
    const NAME: &str = "pal_without";
    let keys: u32 = std::env::var("PALISADE_WITHOUT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let map = object.maps().find(|map| map.name() == NAME).ok_or_else(|| MapError::NotThere(NAME.to_owned()))?;
    let set = map.update(&0_u32.to_ne_bytes(), &keys.to_ne_bytes(), MapFlags::ANY);
    set.map_err(|source| MapError::Access { map: NAME.to_owned(), act: "leave out a part of the key", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_guard_the_cache_is_not_used() {
        let all = ["pal_file_open", "pal_inode_freed", "pal_dentry_moved"];
        assert_eq!(why_unused(all.into_iter()).is_none(), cfg!(target_arch = "x86_64"));
        for (guard, _) in GUARDS {
            assert!(why_unused(all.into_iter().filter(|name| *name != guard)).is_some(), "{guard}");
        }
    }
}
