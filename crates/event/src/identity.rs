//! When two events are the same thing again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::event::Event;
use crate::operation::{Object, Operation};
use crate::verdict::{Decider, Shadow, Verdict};

/// An event as a key: equal where program, operation, object, decider and verdict are.
#[derive(Clone, Debug)]
pub(crate) struct ByMatter(pub(crate) Arc<Event>);

/// As [`ByMatter`], and workload (by its names and id), uid, enforcer and generation are equal too: one event can then
/// stand for both without saying anything false of either, but for the process and an exec's arguments.
#[derive(Clone, Debug)]
pub(crate) struct ByOrigin(pub(crate) Arc<Event>);

type Matter<'a> = (&'a [u8], Operation, &'a Object, &'a Decider, Verdict);
type Names<'a> = (&'a str, &'a str, &'a str, &'a str);

fn matter(event: &Event) -> Matter<'_> {
    (&event.process.program, event.operation, &event.object, &event.decider, event.verdict)
}

fn origin(event: &Event) -> (Option<Names<'_>>, u32, crate::Enforcer, u64, Option<&Shadow>) {
    let names = event.workload.as_deref().map(|w| (&*w.namespace, &*w.pod, &*w.container, &*w.container_id));
    (names, event.process.uid, event.enforcer, event.generation, event.shadow.as_ref())
}

// === impl ByMatter, ByOrigin ===

impl PartialEq for ByMatter {
    fn eq(&self, other: &Self) -> bool {
        matter(&self.0) == matter(&other.0)
    }
}

impl Eq for ByMatter {}

impl Hash for ByMatter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        matter(&self.0).hash(state);
    }
}

impl PartialEq for ByOrigin {
    fn eq(&self, other: &Self) -> bool {
        matter(&self.0) == matter(&other.0) && origin(&self.0) == origin(&other.0)
    }
}

impl Eq for ByOrigin {}

impl Hash for ByOrigin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        matter(&self.0).hash(state);
        origin(&self.0).hash(state);
    }
}
