//! The forms in which a written name can meet a path: literal, resolved, and as a glob (meaning 3.2 to 3.6).

use std::cmp::Reverse;

use palisade_policy::model::{Action, PathName, PathObject, SourceMatch};
use palisade_ruleset::Tree;

use crate::glob::{Pattern, alternatives, escape, is_magic, split_literal_part};
use crate::links::Links;
use crate::rank::ObjectRank;

/// One way to meet a path.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    shape: Shape,
    /// It meets only execs by this name: the rule's name resolved to a multi-call binary of another name.
    only_invoked_as: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Shape {
    Exact(Vec<u8>),
    ExecName(Vec<u8>),
    Glob(Pattern),
    /// A directory, with its `/` at the end.
    Directory {
        dir: Vec<u8>,
        recursive: bool,
    },
    /// All directories that meet the glob.
    DirectoryGlob {
        dirs: Pattern,
        recursive: bool,
    },
}

/// A glob whose literal part was resolved.
struct Moved {
    glob: Pattern,
    only_invoked_as: Option<Vec<u8>>,
}

/// What is compared with forms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Thing<'a> {
    /// A path, and for an exec the names it is invoked by.
    Path { path: &'a [u8], invoked_as: &'a [Vec<u8>] },
    /// A memfd, by its name without `memfd:`.
    Memfd(&'a [u8]),
}

/// What resolving needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver<'a> {
    pub(crate) links: &'a Links,
    /// The multi-call names that the configuration adds.
    pub(crate) multi_call: &'a [String],
}

/// The last component.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

// === impl Resolver ===

impl Resolver<'_> {
    pub(crate) fn is_multi_call(&self, name: &[u8]) -> bool {
        [b"busybox".as_slice(), b"toybox", b"coreutils"].contains(&name)
            || self.multi_call.iter().any(|listed| listed.as_bytes() == name)
    }

    /// The path that `literal` resolves to, if that is another one and a rule of this action may follow.
    fn follow(&self, literal: &[u8], action: Action) -> Option<Vec<u8>> {
        if literal.ends_with(b"/") || literal.windows(2).any(|two| two == b"//") {
            return None; // no path of the kernel looks like this
        }
        let resolved = self.links.resolve(literal)?;
        let may = match action {
            Action::Block | Action::Audit => true,
            Action::Allow => resolved.allow_may_follow,
        };
        (may && resolved.path != literal).then_some(resolved.path)
    }

    /// The forms of a process rule's object.
    pub(crate) fn object(&self, object: &PathObject, action: Action) -> Vec<Form> {
        match object {
            PathObject::Path(name) => self.path(name, action),
            PathObject::Directory { dir, recursive } => self.directory(dir, *recursive, action),
            PathObject::Pattern(glob) => self.pattern(&own_process(glob.text()), action),
            PathObject::ExecName(name) => vec![Form::of(Shape::ExecName(name.clone().into_bytes()))],
        }
    }

    /// The forms of a file rule's object.
    //
    // AMBIGUITY (meaning 3.6): file rules judge no execs, so one that resolves to a multi-call binary holds for the whole file
    // (writing to `/bin/sh` is writing to busybox). Other: its Block or Audit never applies there.
    pub(crate) fn file_object(&self, object: &PathObject, action: Action) -> Vec<Form> {
        self.object(object, action).into_iter().map(Form::whole_file).collect()
    }

    /// The forms of one `fromSource` entry. There a multi-call name means the whole file (meaning 3.6).
    pub(crate) fn source(&self, source: &SourceMatch, action: Action) -> Vec<Form> {
        let forms = match source {
            SourceMatch::Path(name) => self.path(name, action),
            SourceMatch::Directory { dir, recursive } => self.directory(dir, *recursive, action),
        };
        forms.into_iter().map(Form::whole_file).collect()
    }

    fn path(&self, name: &PathName, action: Action) -> Vec<Form> {
        let text = own_process(&name.literal);
        let mut forms = vec![Form::of(Shape::Exact(text.clone()))];
        if let Some(resolved) = self.follow(&text, action) {
            let only_invoked_as = self.invocation_name(&text, &resolved, action);
            forms.push(Form { shape: Shape::Exact(resolved), only_invoked_as });
        }
        if is_magic(&text) {
            forms.extend(self.pattern(&text, action));
        }
        forms
    }

    fn pattern(&self, text: &[u8], action: Action) -> Vec<Form> {
        let Some(glob) = Pattern::parse(text) else { return Vec::new() };
        let mut forms: Vec<Form> = self
            .moved(text, action)
            .into_iter()
            .map(|Moved { glob: mut moved, only_invoked_as }| {
                moved.ranks_as_directory = glob.ranks_as_directory;
                Form { shape: Shape::Glob(moved), only_invoked_as }
            })
            .collect();
        forms.push(Form::of(Shape::Glob(glob)));
        forms
    }

    /// A glob as it reads when its literal part is resolved.
    //
    // AMBIGUITY (meaning 3.5, "each rule's literal part"): each alternative of `{a,b}` is resolved on its own, and its rank
    // through the resolved path is by its own literal bytes. Others: the literal part ends before the first `{`.
    fn moved(&self, text: &[u8], action: Action) -> Vec<Moved> {
        let mut out = Vec::new();
        for plain in alternatives(text).unwrap_or_default() {
            let Some((literal, rest)) = split_literal_part(&plain) else { continue };
            let Some(resolved) = self.follow(&literal, action) else { continue };
            // AMBIGUITY (meaning 3.6): a pattern without glob characters names one file, so its invocation name counts as
            // that of a path. Other: it then means the whole multi-call file.
            let only_invoked_as = if rest.is_empty() { self.invocation_name(&literal, &resolved, action) } else { None };
            let glob = Pattern::parse(&[escape(strip_slash(&resolved)), rest.to_vec()].concat());
            out.extend(glob.map(|glob| Moved { glob, only_invoked_as }));
        }
        out
    }

    // AMBIGUITY (meaning 3.3): the glob of a `dir` entry is compared with the paths of directories, which have no `/` at their
    // end. Other: with `D/`, as the entry is written; this differs for `/a/**/`, which then meets `/a` itself.
    fn directory(&self, name: &PathName, recursive: bool, action: Action) -> Vec<Form> {
        let text = own_process(&name.literal);
        let mut forms = vec![Form::of(Shape::Directory { dir: text.clone(), recursive })];
        let bare = strip_slash(&text);
        if let Some(resolved) = if bare.is_empty() { None } else { self.follow(bare, action) } {
            let dir = with_slash(&resolved);
            forms.push(Form::of(Shape::Directory { dir, recursive }));
        }
        if is_magic(&text) {
            forms.extend(self.directory_glob(bare, recursive, action));
        }
        forms
    }

    fn directory_glob(&self, text: &[u8], recursive: bool, action: Action) -> Vec<Form> {
        let moved = self.moved(text, action).into_iter().map(|moved| moved.glob);
        Pattern::parse(text).into_iter().chain(moved).map(|dirs| Form::of(Shape::DirectoryGlob { dirs, recursive })).collect()
    }

    /// The name by which a multi-call binary must be invoked for a rule that was written under another name (meaning 3.6).
    fn invocation_name(&self, written: &[u8], resolved: &[u8], action: Action) -> Option<Vec<u8>> {
        let (written, resolved) = (base_name(written), base_name(resolved));
        let denies = matches!(action, Action::Block | Action::Audit);
        (denies && written != resolved && self.is_multi_call(resolved)).then(|| written.to_vec())
    }
}

/// A rule's text with `/proc/thread-self/` written as `/proc/self/`: both are the acting process's own entry (meaning 3.4).
fn own_process(text: &str) -> Vec<u8> {
    match text.strip_prefix("/proc/thread-self/") {
        Some(rest) => format!("/proc/self/{rest}").into_bytes(),
        None => text.as_bytes().to_vec(),
    }
}

fn strip_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

fn with_slash(path: &[u8]) -> Vec<u8> {
    [strip_slash(path), b"/"].concat()
}

/// The directory that a path lies in, with its `/`; `None` for `/`.
fn parent(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|b| *b == b'/')?;
    (path.len() > 1).then(|| &path[..=slash])
}

/// The path and all directories that it lies in, without `/` at the end (but `/` itself).
fn directories_to(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = (1..=path.len()).filter(|end| *end == 1 || *end == path.len() || path[*end] == b'/');
    ends.map(|end| &path[..end])
}

/// Whether the directory (with its `/`) is the path or holds it, directly or anywhere below.
fn in_directory(path: &[u8], dir: &[u8], recursive: bool) -> bool {
    let itself = with_slash(path) == dir;
    let child = parent(path) == Some(dir);
    let below = path.starts_with(dir);
    itself || child || (recursive && below)
}

// === impl Form ===

impl Form {
    fn of(shape: Shape) -> Self {
        Self { shape, only_invoked_as: None }
    }

    fn whole_file(self) -> Self {
        Self::of(self.shape)
    }

    /// How this form ranks where it meets the thing.
    pub(crate) fn meets(&self, thing: Thing<'_>) -> Option<ObjectRank> {
        self.meets_any_name(thing).filter(|_| match (&self.only_invoked_as, thing) {
            (None, _) => true,
            (Some(name), Thing::Path { invoked_as, .. }) => invoked_as.contains(name),
            (Some(_), Thing::Memfd(_)) => false,
        })
    }

    fn meets_any_name(&self, thing: Thing<'_>) -> Option<ObjectRank> {
        let met = match (&self.shape, thing) {
            (Shape::Exact(own), Thing::Path { path, .. }) => own == path,
            (Shape::ExecName(name), Thing::Path { path, .. }) => name == base_name(path),
            (Shape::Glob(glob), Thing::Path { path, .. }) => glob.meets_path(path),
            (Shape::Directory { dir, recursive }, Thing::Path { path, .. }) => in_directory(path, dir, *recursive),
            (Shape::DirectoryGlob { dirs, recursive }, Thing::Path { path, .. }) => {
                directories_to(path).any(|dir| dirs.meets_path(dir) && in_directory(path, &with_slash(dir), *recursive))
            }
            // A memfd is met by `dir: /` recursive and its equals, and by patterns that begin with `memfd:` (meaning 2).
            (Shape::Directory { dir, recursive }, Thing::Memfd(_)) => *recursive && dir == b"/",
            (Shape::Glob(glob), Thing::Memfd(name)) => glob.meets_memfd(name),
            (Shape::Exact(_) | Shape::ExecName(_) | Shape::DirectoryGlob { .. }, Thing::Memfd(_)) => false,
        };
        met.then(|| self.rank())
    }

    /// How it ranks where it meets.
    pub(crate) fn rank(&self) -> ObjectRank {
        match &self.shape {
            Shape::Exact(_) => ObjectRank::ExactPath,
            Shape::ExecName(_) => ObjectRank::ExecName,
            Shape::Glob(glob) if glob.ranks_as_directory => ObjectRank::Directory(Reverse(glob.literal_bytes)),
            Shape::Glob(glob) => ObjectRank::Glob(Reverse(glob.literal_bytes)),
            Shape::Directory { dir, .. } => ObjectRank::Directory(Reverse(dir.len())),
            // AMBIGUITY (meaning 4(2)): the length of a directory met through its glob is the number of literal bytes of that
            // glob with the last `/`, as for globs that rank as directories. Other: the length of the directory that was met.
            Shape::DirectoryGlob { dirs, .. } => ObjectRank::Directory(Reverse(dirs.literal_bytes + 1)),
        }
    }

    /// Whether the execname meets an exec of a multi-call binary by that name, whatever the file is called (meaning 3.2).
    pub(crate) fn is_execname_among(&self, invoked_as: &[Vec<u8>]) -> bool {
        matches!(&self.shape, Shape::ExecName(name) if invoked_as.contains(name))
    }

    /// Whether it names the thing by exact path or glob (and not as a directory) and names nothing outside of `/dev`.
    pub(crate) fn names_device(&self, thing: Thing<'_>) -> bool {
        let under_dev = match &self.shape {
            Shape::Exact(path) => path.starts_with(b"/dev/"),
            Shape::Glob(glob) => !glob.ranks_as_directory && glob.lies_below(b"/dev/"),
            Shape::ExecName(_) | Shape::Directory { .. } | Shape::DirectoryGlob { .. } => false,
        };
        under_dev && self.meets(thing).is_some()
    }

    /// What of it counts for `tree-integrity` and `mount-integrity`: what has a literal beginning and is not the whole tree.
    fn that_counts(&self) -> Option<Self> {
        let shape = match &self.shape {
            Shape::ExecName(_) => return None,
            Shape::Directory { dir, recursive: true } if dir == b"/" => return None,
            Shape::Exact(_) | Shape::Directory { .. } => self.shape.clone(),
            Shape::Glob(glob) => Shape::Glob(glob.with_literal_beginning()),
            Shape::DirectoryGlob { dirs, recursive } => {
                Shape::DirectoryGlob { dirs: dirs.with_literal_beginning(), recursive: *recursive }
            }
        };
        Some(Self::of(shape))
    }

    /// Whether it meets the path or could meet one below, as far as it counts.
    pub(crate) fn could_meet_at_or_below(&self, path: &[u8]) -> bool {
        let at = |form: &Self| form.meets_any_name(Thing::Path { path, invoked_as: &[] }).is_some();
        self.that_counts().is_some_and(|form| at(&form)) || self.could_meet_below(path)
    }

    /// Whether it could meet a path below this one, as far as it counts.
    pub(crate) fn could_meet_below(&self, path: &[u8]) -> bool {
        let prefix = with_slash(path);
        let below = |candidate: &[u8]| candidate.len() > prefix.len() && candidate.starts_with(&prefix);
        match self.that_counts().map(|form| form.shape) {
            Some(Shape::Exact(own)) => below(&own),
            Some(Shape::Glob(glob)) => glob.could_meet_below(&prefix),
            // The directory is below, or it is `path` (then its children are), or it holds all that is below.
            Some(Shape::Directory { dir, recursive }) => dir.starts_with(&prefix) || (recursive && prefix.starts_with(&dir)),
            Some(Shape::DirectoryGlob { dirs, recursive }) => {
                dirs.could_meet_below(&prefix)
                    || dirs.meets_path(path)
                    || (recursive && directories_to(path).any(|dir| dirs.meets_path(dir)))
            }
            Some(Shape::ExecName(_)) | None => false,
        }
    }
}
