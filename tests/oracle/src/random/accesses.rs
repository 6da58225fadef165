//! Random accesses: most begin at a name that a rule writes, and then step to its boundary.

use palisade_policy::model::{PathName, PathObject, SourceMatch};
use palisade_ruleset::{Access, Actor, FileMode, MountChange, Object, Operation, Program, Socket, Tree};

use super::rng::Rng;
use super::{Scene, names};

/// An access that is likely to concern the scene.
pub(super) fn access(rng: &mut Rng, scene: &Scene) -> Access {
    let operation = operation(rng, scene);
    let actor = Actor { program: program(rng, scene), uid: rng.pick(&[0, 1000, 1000]), terminal: rng.chance(40) };
    Access { actor, operation }
}

fn operation(rng: &mut Rng, scene: &Scene) -> Operation {
    match rng.below(100) {
        0..=29 => exec(rng, scene),
        30..=44 => Operation::MapExec { object: object(rng, scene, false), owner: owner(rng) },
        45..=74 => {
            let mode = rng.pick(&[FileMode::Read, FileMode::Write]);
            let block_device = rng.chance(8);
            let object = if block_device && rng.chance(60) {
                Object::Path(rng.pick(&["/dev/sda", "/dev/sdb", "/dev/sd", "/a/b"]).into())
            } else {
                object(rng, scene, true)
            };
            Operation::File { mode, object, owner: owner(rng), block_device }
        }
        75..=79 => {
            // Only the file tree has directories, and its root cannot be moved.
            let path = path(rng, scene, true);
            let known = if path == b"/" { b"/a".to_vec() } else { path };
            Operation::MoveDirectory { object: if rng.chance(5) { Object::Unresolvable } else { Object::Path(known) } }
        }
        80..=86 => {
            let socket = socket(rng);
            Operation::Socket { socket, end: super::ends::end(rng, socket) }
        }
        87..=90 => Operation::Capability { number: u8::try_from(rng.below(5)).unwrap_or(0) },
        91..=95 => Operation::Mount(mount(rng, scene)),
        96..=98 => Operation::Attach { target: program(rng, scene) },
        _ => Operation::TouchPalisade,
    }
}

fn exec(rng: &mut Rng, scene: &Scene) -> Operation {
    let word = |rng: &mut Rng| -> Vec<u8> { rng.pick(names::WORDS).into() };
    let object = object(rng, scene, false);
    let mut invoked_as: Vec<Vec<u8>> = (0..rng.below(3)).map(|_| rng.pick(names::NAMES).into()).collect();
    if let Object::Path(path) = &object
        && rng.chance(50)
    {
        invoked_as.push(path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec());
    }
    Operation::Exec {
        object,
        owner: owner(rng),
        scripts: if rng.chance(75) { Vec::new() } else { (0..rng.between(1, 2)).map(|_| program(rng, scene)).collect() },
        invoked_as,
        arguments: rng.chance(90).then(|| (0..rng.between(1, 3)).map(|_| word(rng)).collect()),
    }
}

fn owner(rng: &mut Rng) -> Option<u32> {
    rng.pick(&[Some(0), Some(1000), Some(1000), None])
}

fn program(rng: &mut Rng, scene: &Scene) -> Program {
    match rng.below(20) {
        0 | 1 => Program::Unknown,
        2 => Program::Memfd(rng.pick(&["x", "a/b", "ld-x.so.2"]).into()),
        3..=9 => Program::Path(rng.pick(names::PROGRAMS).into()),
        10..=15 => match rng.pick_source(scene) {
            Some(text) => Program::Path(near(rng, scene, &text)),
            None => Program::Path(rng.pick(names::PROGRAMS).into()),
        },
        _ => Program::Path(path(rng, scene, false)),
    }
}

fn object(rng: &mut Rng, scene: &Scene, files: bool) -> Object {
    match rng.below(25) {
        0 => Object::Unresolvable,
        1 | 2 => Object::Memfd(rng.pick(&["x", "a", "a/b", "aé", "a/x/b", "/b", ""]).into()),
        _ => Object::Path(path(rng, scene, files)),
    }
}

/// A path at the boundary of a rule, or any.
fn path(rng: &mut Rng, scene: &Scene, files: bool) -> Vec<u8> {
    if rng.chance(3) {
        return bytes(rng);
    }
    match if rng.chance(80) { rng.pick_object(scene, files) } else { None } {
        Some(text) => near(rng, scene, &text),
        None => {
            let text = names::path(rng, files).replace("/thread-self/", "/self/");
            normal(text.as_bytes())
        }
    }
}

/// A path over a few bytes, some of them no text.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    let mut out = b"/".to_vec();
    for _ in 0..rng.between(1, 6) {
        out.push(rng.pick(&[b'a', b'b', b'/', b'.', 0x80, 0xc3, 0xa9, 0xff, b'*', b'\\', b'\n']));
    }
    normal(&out)
}

/// A path at the boundary of what a rule's text names.
fn near(rng: &mut Rng, scene: &Scene, text: &str) -> Vec<u8> {
    let mut path = normal(instance(rng, text).replace("/thread-self/", "/self/").as_bytes());
    if rng.chance(40)
        && let Some(resolved) = scene.links.resolve(&path)
    {
        path = resolved.path;
    }
    match rng.below(16) {
        0 => path.extend(rng.pick(&[b"/b", b"/x", b"/c"])),
        1 => path.extend(b"/b/c"),
        2 => path.extend(b"/b/c/d"),
        3 => path.push(rng.pick(b"bx.0\xa9")),
        4 => path.truncate(path.iter().rposition(|b| *b == b'/').unwrap_or(0)),
        5 => {
            path.pop();
        }
        6 => {
            let at = rng.below(path.len());
            path[at] = rng.pick(b"abx/.\x80\xff");
        }
        7 => path.insert(rng.below(path.len()), rng.pick(b"abx/.\xc3")),
        _ => {}
    }
    normal(&path)
}

/// Some path that the text, read as a glob, may meet.
fn instance(rng: &mut Rng, text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    // Alternatives: the first or the last of each group is taken.
    let mut skip_group = 0;
    let verbatim = rng.chance(10);
    while let Some(c) = chars.next() {
        match c {
            _ if verbatim => out.push(c),
            '*' => out += rng.pick(&["", "b", "a/b", "é", "x"]),
            '?' => out += rng.pick(&["a", "b", "x"]),
            '[' => {
                let inner: Vec<char> = chars.by_ref().take_while(|c| *c != ']').collect();
                out.push(rng.pick(&['a', 'b', 'c', inner.first().copied().unwrap_or('a'), inner.last().copied().unwrap_or('b')]));
            }
            '{' if rng.chance(50) => while chars.next().is_some_and(|c| c != ',') {},
            '{' => skip_group += 1,
            ',' if skip_group > 0 => while chars.next().is_some_and(|c| c != '}') {},
            '}' => {}
            '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    if out.starts_with('/') { out } else { format!("{}{out}", rng.pick(&["/", "/a/", "/usr/bin/"])) }
}

/// A path as the kernel would give it: absolute, no empty component, no `.` and `..`, no `/` at the end, no NUL.
fn normal(path: &[u8]) -> Vec<u8> {
    let components = path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b"." && *c != b"..");
    let out: Vec<u8> = components.flat_map(|c| [b"/".as_slice(), c]).collect::<Vec<_>>().concat();
    if out.is_empty() { b"/".to_vec() } else { out }
}

fn socket(rng: &mut Rng) -> Socket {
    Socket {
        family: rng.pick(&[1, 2, 2, 2, 2, 10, 10, 16, 17, 17, 38, 40, 43]),
        kind: rng.pick(&[1, 1, 2, 2, 3, 3, 4, 5, 6, 10]),
        protocol: rng.pick(&[0, 0, 0, 1, 6, 17, 33, 58, 132, 136, 255, 262, 768]),
    }
}

fn mount(rng: &mut Rng, scene: &Scene) -> MountChange {
    match rng.below(10) {
        0 => MountChange::Rearrange,
        1 => MountChange::UnmountOwn,
        2 => MountChange::UnmountForeign,
        3 => MountChange::PivotRoot,
        4 => MountChange::EnterForeign,
        5 => MountChange::OpenDetached,
        _ => {
            let files = rng.chance(50);
            MountChange::New { at: path(rng, scene, files) }
        }
    }
}

impl Rng {
    /// The text of some process (or file) rule's object.
    fn pick_object(&mut self, scene: &Scene, files: bool) -> Option<String> {
        let process = scene.policies.iter().flat_map(|p| &p.process).map(|r| &r.object).filter(|_| !files);
        let file = scene.policies.iter().flat_map(|p| &p.file).map(|r| &r.object).filter(|_| files);
        let all: Vec<&PathObject> = process.chain(file).collect();
        let index = self.below(all.len());
        Some(match all.get(index)? {
            PathObject::Path(PathName { literal, .. }) | PathObject::Directory { dir: PathName { literal, .. }, .. } => {
                literal.clone()
            }
            PathObject::Pattern(glob) => glob.text().to_owned(),
            PathObject::ExecName(name) => name.clone(),
        })
    }

    /// The text of some rule's source.
    fn pick_source(&mut self, scene: &Scene) -> Option<String> {
        let process = scene.policies.iter().flat_map(|p| &p.process).flat_map(|r| &r.from_source);
        let file = scene.policies.iter().flat_map(|p| &p.file).flat_map(|r| &r.from_source);
        let all: Vec<&SourceMatch> = process.chain(file).collect();
        let index = self.below(all.len());
        Some(match all.get(index)? {
            SourceMatch::Path(PathName { literal, .. }) | SourceMatch::Directory { dir: PathName { literal, .. }, .. } => {
                literal.clone()
            }
        })
    }
}
