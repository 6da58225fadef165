//! Random cases from a seed: few names, so that rules overlap much, and accesses at the boundaries of rules.
//!
//! The same seed gives the same cases on every machine.

mod accesses;
mod ends;
mod names;
mod policies;
mod rng;
mod workloads;

use palisade_policy::model::Policy;
use palisade_ruleset::{Access, Workload};

pub use self::rng::Rng;
use crate::links::Links;

/// A rule set and where it is applied.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The policies.
    pub policies: Vec<Policy>,
    /// The workload.
    pub workload: Workload,
    /// Its symbolic links.
    pub links: Links,
}

// === impl Scene ===

impl Scene {
    /// A random scene.
    #[must_use]
    pub fn random(rng: &mut Rng) -> Self {
        let workload = workloads::workload(rng);
        let policies = policies::policies(rng, &workload);
        let links = workloads::links(rng);
        Self { policies, workload, links }
    }

    /// A random access that is likely to concern the scene.
    #[must_use]
    pub fn access(&self, rng: &mut Rng) -> Access {
        accesses::access(rng, self)
    }
}

#[cfg(test)]
mod tests {
    use palisade_ruleset::Verdict;

    use super::{Rng, Scene};
    use crate::judge;

    #[test]
    fn a_seed_gives_one_scene() {
        let scene = |seed| format!("{:?}", Scene::random(&mut Rng::new(seed)));
        assert_eq!(scene(7), scene(7));
        assert_ne!(scene(7), scene(8));
    }

    #[test]
    fn all_verdicts_are_common() {
        let mut rng = Rng::new(1);
        let mut counts = [0_usize; 3];
        for _ in 0..100 {
            let scene = Scene::random(&mut rng);
            for _ in 0..20 {
                let access = scene.access(&mut rng);
                let verdict = judge(&scene.policies, &scene.workload, &scene.links, &access).verdict;
                counts[[Verdict::Allow, Verdict::Audit, Verdict::Block].iter().position(|v| *v == verdict).unwrap()] += 1;
            }
        }
        assert!(counts.iter().all(|count| *count > 100), "Allow, Audit, Block: {counts:?}");
    }
}
