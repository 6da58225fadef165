//! From a test file to questions with expectations.

use std::fmt;

use anyhow::bail;
use palisade_policy::model::Capability;
use palisade_ruleset::{Mode, Posture, Postures, Program, Scope, Verdict, Workload};
use serde_saphyr::{Location, Spanned};

use super::format::{
    ActorFields, ExpectWord, GroupFields, ModeWord, OneOrMany, PostureFields, PostureWord, TestFields, TestFile, WorkloadFields,
};
use crate::policy::access::{Named, Question, What};
use crate::policy::end::NamedEnd;
use crate::policy::socket::NamedSocket;
use crate::tree::LinkTable;

/// What a test file says.
#[derive(Debug)]
pub(super) struct Suite {
    /// Files of policies, relative to the test file.
    pub(super) policies: Vec<String>,
    /// For whom they are applied.
    pub(super) workload: Workload,
    /// Its links, where given.
    pub(super) links: Option<LinkTable>,
    /// Its tree, where given, relative to the test file.
    pub(super) root: Option<String>,
    /// One per access.
    pub(super) cases: Vec<Case>,
}

/// One access with what is expected.
#[derive(Debug)]
pub(super) struct Case {
    /// The test's name, where it has one.
    pub(super) name: Option<String>,
    /// Where the test stands, from 1.
    pub(super) line: u64,
    /// Likewise.
    pub(super) column: u64,
    /// The access.
    pub(super) question: Question,
    /// What should come out.
    pub(super) expected: Expected,
}

/// An expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The verdict.
    pub(super) verdict: Verdict,
    /// Who should decide, where the test says so.
    pub(super) rule: Option<String>,
}

/// What is done to a file.
type FileKind = fn(Named) -> What;

/// What is done to an end.
type EndKind = fn(NamedEnd) -> What;

/// A place in a test file, for errors.
struct At<'a>(&'a str, Location);

/// The accesses of one test or group, and who does them.
struct Accesses {
    location: Location,
    exec: Option<OneOrMany<String>>,
    map_exec: Option<OneOrMany<String>>,
    read: Option<OneOrMany<String>>,
    write: Option<OneOrMany<String>>,
    socket: Option<OneOrMany<String>>,
    connect: Option<OneOrMany<String>>,
    bind: Option<OneOrMany<String>>,
    capability: Option<OneOrMany<String>>,
    actor: ActorFields,
    invoked_as: Option<String>,
    args: Option<Vec<String>>,
}

// === impl Suite ===

impl Suite {
    /// Reads a test file.
    ///
    /// # Errors
    /// The first thing that is wrong, as `FILE:LINE:COLUMN: MESSAGE`.
    pub(super) fn read(name: &str, text: &str) -> anyhow::Result<Self> {
        let parsed: TestFile = match serde_saphyr::from_str(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let location = error.location().unwrap_or(Location::UNKNOWN);
                let message = error.without_snippet().to_string();
                bail!("{}: {}", At(name, location), message.lines().next().unwrap_or_default());
            }
        };
        let TestFile { policies, workload, defaults, tests } = parsed;
        let mut cases = Vec::new();
        for Spanned { value, referenced, defined: _ } in tests {
            push_test(name, value, referenced, &defaults, &mut cases)?;
        }
        let links = match &workload.links {
            Some(links) => {
                Some(LinkTable::new(&links.value).map_err(|e| anyhow::anyhow!("{}: {e}", At(name, links.referenced)))?)
            }
            None => None,
        };
        let root = workload.root.clone();
        if let (Some(_), Some(links)) = (&root, &workload.links) {
            bail!("{}: give links or root, not both", At(name, links.referenced));
        }
        Ok(Self { policies: policies.into_vec(), workload: workload_of(workload), links, root, cases })
    }
}

fn workload_of(fields: WorkloadFields) -> Workload {
    let WorkloadFields { labels, namespace, container, hostname, host, mode, base_set, postures, links: _, root: _ } = fields;
    let PostureFields { file, network, capabilities } = postures;
    let (scope, default) = if host { (Scope::Host, Postures::HOST) } else { (Scope::Workload, Postures::WORKLOAD) };
    let posture = |word: Option<PostureWord>, default| match word {
        Some(PostureWord::Block) => Posture::Block,
        Some(PostureWord::Audit) => Posture::Audit,
        None => default,
    };
    Workload {
        scope,
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        ignore_selectors: labels.is_none(),
        labels: labels.unwrap_or_default(),
        container,
        hostname: hostname.unwrap_or_default(),
        mode: match mode {
            Some(ModeWord::Audit) => Mode::Audit,
            Some(ModeWord::Enforce) | None => Mode::Enforce,
        },
        postures: Postures {
            file: posture(file, default.file),
            network: posture(network, default.network),
            capability: posture(capabilities, default.capability),
        },
        base_set: base_set.unwrap_or(true),
        ..Workload::run()
    }
}

fn push_test(
    file: &str,
    test: TestFields,
    location: Location,
    defaults: &ActorFields,
    cases: &mut Vec<Case>,
) -> anyhow::Result<()> {
    let TestFields {
        name,
        exec,
        map_exec,
        read,
        write,
        socket,
        connect,
        bind,
        capability,
        from,
        uid,
        owner,
        tty,
        invoked_as,
        args,
        expect,
        rule,
        allow,
        audit,
        block,
    } = test;
    let actor = ActorFields { from, uid, owner, tty };
    let own = Accesses {
        location,
        exec,
        map_exec,
        read,
        write,
        socket,
        connect,
        bind,
        capability,
        actor: actor.clone(),
        invoked_as,
        args,
    };
    let groups = [(Verdict::Allow, allow), (Verdict::Audit, audit), (Verdict::Block, block)];
    let before = cases.len();
    let has_groups = groups.iter().any(|(_, group)| group.is_some());
    match (expect, own.questions(file, defaults)?) {
        (None, questions) if questions.is_empty() => {
            if let Some(rule) = rule {
                bail!("{}: `rule: {rule}` goes with `expect`, or into the group", At(file, location));
            }
        }
        (Some(_), questions) if questions.is_empty() => bail!("{}: `expect` without an access", At(file, location)),
        (None, _) => bail!("{}: what is expected? add `expect: Allow`, `Audit` or `Block`", At(file, location)),
        (Some(word), questions) => {
            let verdict = match word {
                ExpectWord::Allow => Verdict::Allow,
                ExpectWord::Audit => Verdict::Audit,
                ExpectWord::Block => Verdict::Block,
            };
            push(name.as_deref(), location, questions, &Expected { verdict, rule }, cases);
        }
    }
    // What the test says of the actor holds for its groups, but for what these say themselves.
    let defaults = actor.or(defaults);
    for (verdict, group) in groups {
        let Some(Spanned { value, referenced, defined: _ }) = group else { continue };
        let (group, rule) = Accesses::of(*value, referenced);
        let questions = group.questions(file, &defaults)?;
        if questions.is_empty() {
            bail!("{}: a group without an access", At(file, referenced));
        }
        push(name.as_deref(), referenced, questions, &Expected { verdict, rule }, cases);
    }
    if cases.len() == before && !has_groups {
        bail!("{}: a test without an access", At(file, location));
    }
    Ok(())
}

fn push(name: Option<&str>, location: Location, questions: Vec<Question>, expected: &Expected, cases: &mut Vec<Case>) {
    cases.extend(questions.into_iter().map(|question| Case {
        name: name.map(str::to_owned),
        line: location.line(),
        column: location.column(),
        question,
        expected: expected.clone(),
    }));
}

// === impl Accesses, ActorFields ===

impl Accesses {
    fn of(group: GroupFields, location: Location) -> (Self, Option<String>) {
        let GroupFields {
            exec,
            map_exec,
            read,
            write,
            socket,
            connect,
            bind,
            capability,
            from,
            uid,
            owner,
            tty,
            invoked_as,
            args,
            rule,
        } = group;
        let actor = ActorFields { from, uid, owner, tty };
        (Self { location, exec, map_exec, read, write, socket, connect, bind, capability, actor, invoked_as, args }, rule)
    }

    fn questions(self, file: &str, defaults: &ActorFields) -> anyhow::Result<Vec<Question>> {
        let Self { location, exec, map_exec, read, write, socket, connect, bind, capability, actor, invoked_as, args } = self;
        let at = At(file, location);
        let named = |text: String| Named::parse(text.as_bytes()).map_err(|error| anyhow::anyhow!("{at}: `{text}`: {error}"));
        let mut what = Vec::new();
        let kinds: [(_, FileKind); 4] = [(exec, What::Exec), (map_exec, What::MapExec), (read, What::Read), (write, What::Write)];
        for (texts, kind) in kinds {
            for text in texts.map(OneOrMany::into_vec).unwrap_or_default() {
                what.push(kind(named(text)?));
            }
        }
        for text in socket.map(OneOrMany::into_vec).unwrap_or_default() {
            let socket: NamedSocket = text.parse().map_err(|error| anyhow::anyhow!("{at}: socket `{text}`: {error}"))?;
            what.push(What::Socket(socket));
        }
        let ends: [(_, EndKind); 2] = [(connect, What::Connect), (bind, What::Bind)];
        for (texts, kind) in ends {
            for text in texts.map(OneOrMany::into_vec).unwrap_or_default() {
                what.push(kind(text.parse().map_err(|error| anyhow::anyhow!("{at}: `{text}`: {error}"))?));
            }
        }
        for text in capability.map(OneOrMany::into_vec).unwrap_or_default() {
            let Some(capability) = Capability::from_name(&text) else { bail!("{at}: no capability `{text}`") };
            what.push(What::Capability(capability));
        }
        let ActorFields { from, uid, owner, tty } = actor.or(defaults);
        let program = |Spanned { value, referenced, defined: _ }: Spanned<String>| {
            let at = At(file, referenced);
            Named::parse_program(value.as_bytes()).map_err(|error| anyhow::anyhow!("{at}: from `{value}`: {error}"))
        };
        let from: Option<Program> = from.map(program).transpose()?;
        let question = |what| Question {
            what,
            from: from.clone(),
            uid: uid.unwrap_or(0),
            owner,
            terminal: tty.unwrap_or(false),
            invoked_as: invoked_as.clone().map(String::into_bytes),
            arguments: args.iter().flatten().map(|a| a.clone().into_bytes()).collect(),
        };
        Ok(what.into_iter().map(question).collect())
    }
}

impl ActorFields {
    /// What is missing here is as there.
    fn or(self, other: &Self) -> Self {
        let Self { from, uid, owner, tty } = self;
        Self {
            from: from.or_else(|| other.from.clone()),
            uid: uid.or(other.uid),
            owner: owner.or(other.owner),
            tty: tty.or(other.tty),
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(file, location) = self;
        write!(f, "{file}:{}:{}", location.line(), location.column())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_error(text: &str) -> String {
        Suite::read("t.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let head = "policies: p.yaml\ntests:\n";
        for (text, wanted) in [
            ("- exce: /bin/sh\n", "t.yaml:3:3"),
            ("- exec: /bin/sh\n", "t.yaml:3:3: what is expected?"),
            ("- {exec: bin/sh, expect: Block}\n", "t.yaml:3:3: `bin/sh`"),
            ("- {exec: /bin/sh, expect: Deny}\n", "t.yaml:3:27"),
            ("- {socket: tpc, expect: Block}\n", "t.yaml:3:3: socket `tpc`"),
            ("- {connect: 10.0.0.5, expect: Block}\n", "t.yaml:3:3: `10.0.0.5`: write ADDRESS:PORT"),
            ("- block: {from: /x}\n", "t.yaml:3:10: a group without an access"),
            ("- name: nothing\n", "t.yaml:3:3: a test without an access"),
        ] {
            let error = mk_error(&format!("{head}{text}"));
            assert!(error.starts_with(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn lists_and_groups_are_one_case_per_access() {
        let text = "policies: [p.yaml]\ndefaults: {uid: 33}\ntests:\n\
            - {read: [/a, /b], expect: allow}\n\
            - {from: /x, block: {exec: /c, socket: [tcp, 2:3:255], uid: 0}, allow: {write: /d}}\n";
        let suite = Suite::read("t.yaml", text).unwrap();
        let all: Vec<_> = suite.cases.iter().map(|c| (c.line, c.question.uid, c.expected.verdict)).collect();
        use Verdict::{Allow, Block};
        assert_eq!(all, [(4, 33, Allow), (4, 33, Allow), (5, 33, Allow), (5, 0, Block), (5, 0, Block), (5, 0, Block)]);
        assert!(suite.cases[3].question.from.is_some());
    }
}
