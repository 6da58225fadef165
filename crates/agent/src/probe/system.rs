//! Facts that are read from /proc and /sys. None of them is a promise; each says that it was read.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::{ProbeLine, State};

/// The first kernels with everything, and with BPF-LSM task storage at all.
const FULL_KERNEL: (u32, u32) = (6, 1);
const FLOOR_KERNEL: (u32, u32) = (5, 15);
/// The magic number of BTF, as it lies on a little-endian machine.
const BTF_MAGIC: [u8; 2] = [0x9f, 0xeb];
const LSM_LIST: &str = "/sys/kernel/security/lsm";
const SECURITYFS_UNMOUNTED: &str = "securityfs is not mounted at /sys/kernel/security, so it cannot be told";

/// The kernel's version.
pub(super) fn kernel() -> ProbeLine {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let machine = uname.machine().to_string_lossy().into_owned();
    let found = format!("{release} on {machine}");
    let state = match version(&release) {
        Some(v) if v >= FULL_KERNEL => State::Yes,
        Some(v) if v >= FLOOR_KERNEL => State::Partial,
        Some(_) | None => State::No,
    };
    let wanted =
        if state == State::Yes { String::new() } else { "; 6.1 and later are fully supported, 5.15 is the floor".to_owned() };
    ProbeLine::new("kernel", state, "uname", format!("{found}{wanted}"))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The kernel's own types, which BPF programs are adapted with.
pub(super) fn btf() -> ProbeLine {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    let mut magic = [0; 2];
    match fs::File::open(PATH).and_then(|mut f| f.read_exact(&mut magic)) {
        Ok(()) if magic == BTF_MAGIC || magic == [BTF_MAGIC[1], BTF_MAGIC[0]] => {
            ProbeLine::new("btf", State::Yes, format!("read the head of {PATH}"), "the kernel describes its types")
        }
        Ok(()) => ProbeLine::new("btf", State::No, format!("read the head of {PATH}"), "it is not BTF"),
        Err(e) => ProbeLine::new("btf", State::No, format!("read the head of {PATH}"), format!("{e} (CONFIG_DEBUG_INFO_BTF)")),
    }
}

/// The security modules that the kernel says are active.
pub(super) fn lsm_list() -> ProbeLine {
    let proof = format!("read {LSM_LIST}; a claim, not a proof");
    match fs::read_to_string(LSM_LIST) {
        Ok(list) => ProbeLine::new("lsm-list", State::Yes, proof, list.trim().to_owned()),
        Err(_) if !securityfs_mounted() => ProbeLine::new("lsm-list", State::Partial, proof, SECURITYFS_UNMOUNTED),
        Err(e) => ProbeLine::new("lsm-list", State::Partial, proof, e.to_string()),
    }
}

/// Lockdown: `confidentiality` makes BPF programs unable to read kernel memory.
pub(super) fn lockdown() -> ProbeLine {
    const PATH: &str = "/sys/kernel/security/lockdown";
    let proof = format!("read {PATH}");
    match fs::read_to_string(PATH) {
        Ok(text) => {
            let mode = chosen(&text).unwrap_or("unknown").to_owned();
            let harmless = matches!(mode.as_str(), "none" | "integrity");
            let reason = if harmless { mode } else { format!("{mode}: BPF programs cannot read kernel memory") };
            ProbeLine::new("lockdown", if harmless { State::Yes } else { State::No }, proof, reason)
        }
        Err(_) if !securityfs_mounted() => ProbeLine::new("lockdown", State::Partial, proof, SECURITYFS_UNMOUNTED),
        Err(e) => ProbeLine::new("lockdown", State::Yes, proof, format!("no lockdown in this kernel ({e})")),
    }
}

/// The word in brackets.
fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

fn securityfs_mounted() -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|text| text.contains(" - securityfs "))
}

/// `kernel.ftrace_enabled`: zero silently switches LSM and fentry programs off.
pub(super) fn ftrace() -> ProbeLine {
    const PATH: &str = "/proc/sys/kernel/ftrace_enabled";
    let proof = format!("read {PATH}");
    match fs::read_to_string(PATH) {
        Ok(text) if text.trim() == "1" => ProbeLine::new("ftrace", State::Yes, proof, "on"),
        Ok(_) => {
            ProbeLine::new("ftrace", State::No, proof, "off: LSM and fentry programs do not run; set kernel.ftrace_enabled=1")
        }
        Err(e) => {
            ProbeLine::new("ftrace", State::No, proof, format!("{e}: this kernel has no function tracer to hang programs on"))
        }
    }
}

/// AppArmor.
pub(super) fn apparmor() -> ProbeLine {
    const PATH: &str = "/sys/module/apparmor/parameters/enabled";
    let proof = format!("read {PATH}; not proven by loading a profile");
    match fs::read_to_string(PATH) {
        Ok(text) if text.trim() == "Y" => ProbeLine::new("apparmor-present", State::Yes, proof, "enabled"),
        Ok(_) => ProbeLine::new(
            "apparmor-present",
            State::No,
            proof,
            "built in but not enabled: add `apparmor` to the lsm= boot parameter",
        ),
        Err(_) => ProbeLine::new("apparmor-present", State::No, proof, "not built into this kernel (CONFIG_SECURITY_APPARMOR)"),
    }
}

/// SELinux.
pub(super) fn selinux() -> ProbeLine {
    const PATH: &str = "/sys/fs/selinux/enforce";
    let proof = format!("read {PATH} and /proc/filesystems; not proven by loading a module");
    let active = fs::read_to_string("/proc/filesystems").is_ok_and(|t| t.contains("selinuxfs"));
    match (fs::read_to_string(PATH), active) {
        (Ok(text), _) if text.trim() == "1" => ProbeLine::new("selinux-present", State::Yes, proof, "enforcing"),
        (Ok(_), _) => ProbeLine::new("selinux-present", State::Partial, proof, "permissive"),
        (Err(_), true) => {
            ProbeLine::new("selinux-present", State::Partial, proof, "active, but selinuxfs is not mounted at /sys/fs/selinux")
        }
        (Err(_), false) => ProbeLine::new("selinux-present", State::No, proof, "not active in this kernel"),
    }
}

/// User namespaces.
pub(super) fn user_namespaces() -> ProbeLine {
    const NAME: &str = "user-namespaces";
    const MAX: &str = "/proc/sys/user/max_user_namespaces";
    const SWITCH: &str = "/proc/sys/kernel/unprivileged_userns_clone";
    let proof = format!("read {MAX}, {SWITCH}; not tried");
    if !Path::new("/proc/self/ns/user").exists() {
        return ProbeLine::new(NAME, State::No, proof, "not built into this kernel (CONFIG_USER_NS)");
    }
    let most: u64 = fs::read_to_string(MAX).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    let switched_off = fs::read_to_string(SWITCH).is_ok_and(|t| t.trim() == "0");
    match (most, switched_off) {
        (0, _) => ProbeLine::new(NAME, State::No, proof, "user.max_user_namespaces is 0"),
        (_, true) => ProbeLine::new(NAME, State::Partial, proof, "only root may make them (kernel.unprivileged_userns_clone=0)"),
        (most, false) => ProbeLine::new(NAME, State::Yes, proof, format!("at most {most}")),
    }
}

/// What this process may do.
pub(super) fn privileges() -> ProbeLine {
    let proof = "asked for the own user and capabilities";
    let uid = rustix::process::geteuid().as_raw();
    match rustix::thread::capabilities(None) {
        Ok(sets) => {
            let wanted = rustix::thread::CapabilitySet::SYS_ADMIN | rustix::thread::CapabilitySet::BPF;
            let has = sets.effective.contains(wanted);
            let reason = format!("uid {uid}, effective capabilities {:#x}", sets.effective.bits());
            let state = if has { State::Yes } else { State::Partial };
            let hint = if has { "" } else { "; without CAP_SYS_ADMIN and CAP_BPF only Landlock can enforce" };
            ProbeLine::new("privileges", state, proof, format!("{reason}{hint}"))
        }
        Err(e) => ProbeLine::new("privileges", State::Partial, proof, format!("uid {uid}, capabilities unknown: {e}")),
    }
}

/// Whether this looks like the inside of a container.
pub(super) fn container() -> ProbeLine {
    let files = ["/.dockerenv", "/run/.containerenv"].into_iter().filter(|p| Path::new(p).exists());
    let mut hints: Vec<String> = files.map(|p| format!("{p} is there")).collect();
    if let Some(value) = std::env::var_os("container") {
        hints.push(format!("container={}", value.to_string_lossy()));
    }
    if fs::read_to_string("/run/systemd/container").is_ok_and(|t| !t.trim().is_empty()) {
        hints.push("/run/systemd/container names one".to_owned());
    }
    let proof = "looked for the marks that container managers leave; hints, no proof";
    if hints.is_empty() {
        ProbeLine::new("container", State::No, proof, "no sign of one")
    } else {
        ProbeLine::new("container", State::Yes, proof, hints.join(", "))
    }
}

/// Whether this looks like a virtual machine.
pub(super) fn virtual_machine() -> ProbeLine {
    let flagged = fs::read_to_string("/proc/cpuinfo").is_ok_and(|t| {
        t.lines().filter(|l| l.starts_with("flags")).any(|l| l.split_ascii_whitespace().any(|w| w == "hypervisor"))
    });
    let product = fs::read_to_string("/sys/class/dmi/id/product_name").map(|t| t.trim().to_owned()).unwrap_or_default();
    let proof = "read the processor flags and the DMI product name; hints, no proof";
    let named = if product.is_empty() { String::new() } else { format!(" ({product})") };
    if flagged {
        ProbeLine::new("virtual-machine", State::Yes, proof, format!("the processor flags name a hypervisor{named}"))
    } else {
        ProbeLine::new("virtual-machine", State::No, proof, format!("no sign of one{named}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_choices_are_read() {
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("7.2.13+deb14-cloud-amd64"), Some((7, 2)));
        assert_eq!(version("x"), None);
        assert_eq!(chosen("none [integrity] confidentiality"), Some("integrity"));
    }
}
