//! From what a plan does to what it does not do: the numbered differences that concern this rule set.

use palisade_policy::model::{Action, Class, NetworkObject, PathObject};
use palisade_ruleset::{By, MULTI_CALL, Mode, Posture, Postures, Rule, RuleBody, RuleSet};

use super::aliases::Aliases;
use super::ask::Asker;
use super::differences::{Difference, Effect, Gap};
use super::plan::{NonRecursive, PlanOptions, Restricted};
use super::programs::{PROGRAM_DIRECTORIES, Started};
use super::rights::Rights;
use super::sockets::SyscallPolicy;
use super::text;
use super::view::View;
use super::walk::{Notes, TYPICAL_NAME, join};

/// What planning found.
pub(super) struct Found<'a> {
    pub(super) restricted: Restricted,
    pub(super) handled: Rights,
    pub(super) notes: &'a Notes,
    pub(super) aliases: &'a Aliases,
    pub(super) started: &'a Started,
    pub(super) syscalls: &'a SyscallPolicy,
    pub(super) drops: &'a [u8],
}

/// The most directories named in one gap; the rest is counted.
const NAMED_MAX: usize = 4;
/// The ABI that judges truncation, and the one that judges pathname sockets.
const TRUNCATE_ABI: u32 = 3;
const RESOLVE_UNIX_ABI: u32 = 9;
const REFER_ABI: u32 = 2;

/// All gaps, by number.
pub(super) fn of(rules: &RuleSet, view: &dyn View, options: &PlanOptions, found: &Found<'_>) -> Vec<Gap> {
    let mut out = Vec::new();
    of_rules(rules, view, &mut out);
    of_modes(rules, &mut out);
    of_walk(rules, found.notes, options, &mut out);
    of_aliases(found.aliases, &mut out);
    if !found.handled.is_empty() {
        let text = "a name means the file that it named at start; one that is made or replaced later has no grant of its own";
        out.push(Gap::inherent(Difference::INODE, Effect::Narrower, None, text));
        of_programs(found, &mut out);
        of_kernel(options, found, &mut out);
    }
    of_system_calls(rules, found, &mut out);
    out.sort();
    out.dedup();
    out
}

/// Conditions of rules that Landlock knows nothing of.
fn of_rules(rules: &RuleSet, view: &dyn View, out: &mut Vec<Gap>) {
    let ids = |test: &dyn Fn(&Rule) -> bool, class: Class, actions: &[Action]| -> Vec<u32> {
        let chosen =
            rules.rules().iter().filter(|r| r.class() == class && !r.audited && actions.contains(&r.action()) && test(r));
        chosen.map(|r| r.id.get()).collect()
    };
    let not_audit = [Action::Allow, Action::Block];
    for class in [Class::Process, Class::File, Class::Network, Class::Capability] {
        let allows = ids(&is_sourced, class, &[Action::Allow]);
        let blocks = ids(&is_sourced, class, &[Action::Block]);
        let narrower = |difference, ids: Vec<u32>, text: &str| {
            (!ids.is_empty()).then(|| Gap::unmet(difference, Effect::Narrower, Some(class), ids, text))
        };
        out.extend(narrower(
            Difference::SOURCE,
            allows,
            "an Allow with fromSource allows nothing: the acting program is not known",
        ));
        out.extend(narrower(
            Difference::SOURCE,
            blocks,
            "a Block with fromSource blocks every program: the acting one is not known",
        ));
        let conditions = ids(&has_conditions, class, &not_audit);
        let text = "ownerOnly and allowedArgs are taken as not met: neither owner nor arguments are known";
        out.extend(narrower(Difference::CONDITIONS, conditions, text));
        let terminal = ids(&has_terminal, class, &not_audit);
        let text = "with `pts: false` only what passes with and without a terminal passes";
        out.extend(narrower(Difference::TERMINAL, terminal, text));
        let audits: Vec<u32> = rules
            .rules()
            .iter()
            .filter(|r| r.class() == class && (r.audited || r.action() == Action::Audit))
            .map(|r| r.id.get())
            .collect();
        if !audits.is_empty() {
            let text = "nothing reports what an Audit rule, or a policy in audited mode, would report";
            out.push(Gap::unmet(Difference::AUDIT, Effect::Unreported, Some(class), audits, text));
        }
    }
    let endpoints = ids(&is_by_endpoint, Class::Network, &not_audit);
    if !endpoints.is_empty() {
        let text = "addresses and ports are not seen: a socket that an Allow by endpoint lets be made reaches every end, and a \
                    Block by endpoint denies nothing";
        out.push(Gap::unmet(Difference::SOCKETS, Effect::Wider, Some(Class::Network), endpoints, text));
    }
    let applets = ids(&|rule| by_applet(rules, rule, view), Class::Process, &[Action::Block]);
    if !applets.is_empty() {
        let text = "a Block of one name of a multi-call binary is not enforced: the name that it is invoked by is not seen; \
                    block the binary itself";
        out.push(Gap::unmet(Difference::MULTI_CALL, Effect::Wider, Some(Class::Process), applets, text));
    }
}

fn is_sourced(rule: &Rule) -> bool {
    match &rule.body {
        RuleBody::Process(body) => !body.from_source.is_empty(),
        RuleBody::File(body) => !body.from_source.is_empty(),
        RuleBody::Network(body) => !body.from_source.is_empty(),
        RuleBody::Capability(body) => !body.from_source.is_empty(),
    }
}

fn is_by_endpoint(rule: &Rule) -> bool {
    matches!(&rule.body, RuleBody::Network(body) if matches!(body.object, NetworkObject::Endpoint(_)))
}

fn has_conditions(rule: &Rule) -> bool {
    match &rule.body {
        RuleBody::Process(body) => body.owner_only || body.allowed_args.is_some(),
        RuleBody::File(body) => body.owner_only,
        RuleBody::Network(_) | RuleBody::Capability(_) => false,
    }
}

fn has_terminal(rule: &Rule) -> bool {
    match &rule.body {
        RuleBody::Process(body) => body.pts_false,
        RuleBody::File(body) => body.pts_false,
        RuleBody::Network(body) => body.pts_false,
        RuleBody::Capability(_) => false,
    }
}

/// Whether the rule would be met by the name that a multi-call binary is invoked by.
fn by_applet(rules: &RuleSet, rule: &Rule, view: &dyn View) -> bool {
    let known = |name: &[u8]| {
        let configured = rules.workload().multi_call.iter().map(String::as_str);
        MULTI_CALL.into_iter().chain(configured).any(|m| m.as_bytes() == name)
    };
    let base = |path: &[u8]| path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
    let RuleBody::Process(body) = &rule.body else { return false };
    match &body.object {
        PathObject::Path(name) => {
            let path = name.literal.as_bytes();
            view.resolve(path).is_some_and(|r| base(&r.path) != base(path) && known(&base(&r.path)))
        }
        // Only where such a binary is there at all.
        PathObject::ExecName(name) => !known(name.as_bytes()) && multi_call_installed(&known, view),
        PathObject::Directory { .. } | PathObject::Pattern(_) => false,
    }
}

fn multi_call_installed(known: &dyn Fn(&[u8]) -> bool, view: &dyn View) -> bool {
    let mut directories = PROGRAM_DIRECTORIES.iter().filter_map(|d| view.resolve(d.as_bytes()));
    directories.any(|d| view.children(&d.path, usize::MAX).is_some_and(|list| list.iter().any(|c| known(&c.name))))
}

/// Modes and postures that pass and report.
fn of_modes(rules: &RuleSet, out: &mut Vec<Gap>) {
    let workload = rules.workload();
    if workload.mode == Mode::Audit {
        let text = "in audited mode nothing is denied, and nothing reports what would be";
        out.push(Gap::unmet(Difference::AUDIT, Effect::Unreported, None, Vec::new(), text));
    }
    let Postures { file, network, capability } = workload.postures;
    let classes = [(Class::Process, file), (Class::File, file), (Class::Network, network), (Class::Capability, capability)];
    for (class, posture) in classes {
        let lists = rules.rules().iter().any(|r| r.class() == class && !r.audited && r.action() == Action::Allow);
        if posture == Posture::Audit && lists {
            let text = "with the posture `audit` nothing reports what the allow-list does not name";
            out.push(Gap::unmet(Difference::AUDIT, Effect::Unreported, Some(class), Vec::new(), text));
        }
    }
}

fn of_walk(rules: &RuleSet, notes: &Notes, options: &PlanOptions, out: &mut Vec<Gap>) {
    let Notes { looked_at, later, non_recursive, widened, flat, unlisted, floating, unseen, procfs, blocked: _, withheld: _ } =
        notes;
    let file = Some(Class::File);
    if !non_recursive.is_empty() {
        let text = format!(
            "without `recursive`, only what existed at start is granted in {}: nothing can be made or removed there",
            named(non_recursive.iter())
        );
        out.push(Gap::unmet(Difference::NON_RECURSIVE, Effect::Narrower, file, Vec::new(), text));
    }
    if !widened.is_empty() && options.non_recursive == NonRecursive::Recursive {
        let text = format!("without `recursive`, but granted with everything below: {}", named(widened.iter()));
        out.push(Gap::unmet(Difference::NON_RECURSIVE, Effect::Wider, file, Vec::new(), text));
    }
    // What the base set alone opens (/dev/pts) is nothing that a policy says.
    let asker = Asker::new(rules);
    let by_base = |dir: &Vec<u8>| asker.read(&join(dir, TYPICAL_NAME), false).by == By::BaseSet.code();
    let flat: Vec<&Vec<u8>> = flat.iter().filter(|dir| !by_base(dir)).collect();
    if !flat.is_empty() {
        let dirs = named(flat.into_iter());
        let text = format!(
            "without `recursive`, but Landlock's grants are: no directory can be made in {dirs}, and one that others make there \
             is open with everything below"
        );
        out.push(Gap::unmet(Difference::NON_RECURSIVE, Effect::Wider, file, Vec::new(), text));
    }
    if !unlisted.is_empty() {
        let text = format!("cannot be listed, since directories below may not be: {}", named(unlisted.iter()));
        out.push(Gap::unmet(Difference::LISTING, Effect::Narrower, file, Vec::new(), text));
    }
    if !later.is_empty() {
        let text = format!("granted entry by entry, so that what appears later has no grant: {}", named(later.iter()));
        out.push(Gap::inherent(Difference::LATER, Effect::Narrower, None, text));
    }
    for class in floating {
        let text = "a name that may begin anywhere (`execname`, `**/x`) was looked for once: what gets such a name later passes";
        out.push(Gap::unmet(Difference::GLOBS, Effect::Wider, Some(*class), Vec::new(), text));
    }
    for (passes, effect, what) in [(true, Effect::Wider, "granted in whole"), (false, Effect::Narrower, "not granted")] {
        let of_effect: Vec<&Vec<u8>> =
            unseen.iter().filter(|(path, p)| **p == passes && *path != b"/sys").map(|(path, _)| path).collect();
        if !of_effect.is_empty() {
            let names = named(of_effect.into_iter());
            let text = format!(
                "could not be looked into ({looked_at} entries looked at, at most {}), {what}: {names}",
                options.look_max
            );
            out.push(Gap::unmet(Difference::BOUND, effect, None, Vec::new(), text));
        }
    }
    if *procfs {
        let text = "of /proc only the first process has its own entries; processes that it starts have none";
        out.push(Gap::inherent(Difference::PROCFS, Effect::Narrower, file, text));
    }
}

fn of_aliases(aliases: &Aliases, out: &mut Vec<Gap>) {
    let Aliases { narrowed, elsewhere } = aliases;
    if !narrowed.is_empty() {
        let text = format!("not granted, since another name of the same file is blocked: {}", named(narrowed.iter()));
        out.push(Gap::unmet(Difference::INODE, Effect::Narrower, None, Vec::new(), text));
    }
    if !elsewhere.is_empty() {
        let text = format!("blocked, but the same file has further names that may be granted: {}", named(elsewhere.iter()));
        out.push(Gap::unmet(Difference::INODE, Effect::Wider, None, Vec::new(), text));
    }
}

fn of_programs(found: &Found<'_>, out: &mut Vec<Gap>) {
    let Found { restricted, handled, started, .. } = found;
    let process = Some(Class::Process);
    if restricted.process {
        let loaders: Vec<String> = started.loaders.iter().map(|l| text::of(l)).collect();
        let which = if loaders.is_empty() { "a dynamic loader that may be executed".to_owned() } else { loaders.join(", ") };
        out.push(Gap::inherent(Difference::LOADER, Effect::Wider, process, format!("{which} runs any file that can be read")));
        let text = "mapping a file executable is not judged: a Block of a library holds only where it cannot be read";
        out.push(Gap::inherent(Difference::MAPPING, Effect::Wider, process, text));
    }
    if handled.contains(Rights::READ_FILE) {
        if started.readable > 0 {
            let text = format!("{} programs that may be executed can be read as well", started.readable);
            out.push(Gap::inherent(Difference::EXEC_READS, Effect::Wider, process, text));
        }
        if started.elsewhere {
            let text =
                format!("programs outside {} start only where a file rule lets them be read", PROGRAM_DIRECTORIES.join(", "));
            out.push(Gap::inherent(Difference::UNREADABLE_EXEC, Effect::Narrower, process, text));
        }
    }
}

fn of_kernel(options: &PlanOptions, found: &Found<'_>, out: &mut Vec<Gap>) {
    let abi = options.abi.version();
    let file = Some(Class::File);
    if found.handled.contains(Rights::WRITE_FILE) {
        let text = "chmod, chown, setxattr and utimes are not judged";
        out.push(Gap::inherent(Difference::METADATA, Effect::Wider, file, text));
        if abi < TRUNCATE_ABI {
            let text = format!("Landlock ABI {abi} does not judge truncate (ABI {TRUNCATE_ABI}, Linux 6.2)");
            out.push(Gap::unmet(Difference::METADATA, Effect::Wider, file, Vec::new(), text));
        }
        if abi < RESOLVE_UNIX_ABI {
            let text =
                format!("Landlock ABI {abi} does not judge connecting to a pathname socket (ABI {RESOLVE_UNIX_ABI}, Linux 7.1)");
            out.push(Gap::inherent(Difference::METADATA, Effect::Wider, file, text));
        }
        let text = "block devices cannot be made";
        out.push(Gap::inherent(Difference::BLOCK_DEVICES, Effect::Narrower, file, text));
    }
    let text = if abi < REFER_ABI {
        format!("Landlock ABI {abi} denies every rename and link from one directory to another (EXDEV)")
    } else {
        "a rename or link to a directory with more rights than the file has is denied (EXDEV)".to_owned()
    };
    out.push(Gap::inherent(Difference::MOVES, Effect::Narrower, file, text));
    let text = "every change of the mount table is denied, whatever `allow-mounts` says";
    out.push(Gap::inherent(Difference::MOUNTS, Effect::Narrower, None, text));
    let text = "tasks outside cannot be traced, tasks inside can; what belongs to Palisade is protected by the file rules alone";
    out.push(Gap::inherent(Difference::OTHER_TASKS, Effect::Wider, None, text));
    let text = if !options.abi.logs() {
        format!("denials are invisible: Landlock ABI {abi} writes no audit records (ABI 7, Linux 6.15)")
    } else if options.reports {
        "denials of files and execs are read from the kernel's audit records, which name no rule".to_owned()
    } else {
        "denials are invisible: they stand in the kernel's audit records, which only root can read while audit is on".to_owned()
    };
    out.push(Gap::inherent(Difference::REPORTS, Effect::Unreported, None, text));
}

fn of_system_calls(rules: &RuleSet, found: &Found<'_>, out: &mut Vec<Gap>) {
    let Found { restricted, handled, syscalls, drops, .. } = found;
    if !syscalls.sockets.is_empty() {
        let network = Some(Class::Network);
        let text = "sockets are judged when they are made: those passed or inherited can be used; denials are invisible";
        out.push(Gap::inherent(Difference::SOCKETS, Effect::Wider, network, text));
        let text = "io_uring is refused (EPERM), and programs of another ABI are: i386 is killed, x32 gets EACCES";
        out.push(Gap::inherent(Difference::SOCKETS, Effect::Narrower, network, text));
    }
    if restricted.process {
        let (effect, text) = if syscalls.executable_memfd {
            (
                Effect::Narrower,
                "a memfd that could be executed cannot be made (EACCES without MFD_NOEXEC_SEAL); \
                                io_uring and other ABIs are refused",
            )
        } else {
            (Effect::Wider, "a memfd can be executed whatever the rules say of it")
        };
        out.push(Gap::inherent(Difference::MEMFD, effect, Some(Class::Process), text));
    }
    if restricted.capability && !drops.is_empty() {
        let ids = rules.rules().iter().filter(|r| r.class() == Class::Capability && !r.audited).map(|r| r.id.get()).collect();
        let text =
            "denied capabilities are dropped at start; in a user namespace of its own a task has them again, over that namespace";
        out.push(Gap::unmet(Difference::CAPABILITIES, Effect::Wider, Some(Class::Capability), ids, text));
    }
    if !handled.is_empty() || !syscalls.is_empty() || !drops.is_empty() {
        let text = "no_new_privs is set: set-user-ID programs and file capabilities have no effect";
        out.push(Gap::inherent(Difference::PRIVILEGE, Effect::Narrower, None, text));
    }
}

fn named<'a>(paths: impl ExactSizeIterator<Item = &'a Vec<u8>>) -> String {
    let total = paths.len();
    let mut list: Vec<String> = paths.take(NAMED_MAX).map(|p| text::of(p)).collect();
    if total > NAMED_MAX {
        list.push(format!("and {} more", total - NAMED_MAX));
    }
    list.join(", ")
}
