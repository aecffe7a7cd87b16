//! By setuid, capabilities, Landlock and seccomp.

use std::collections::BTreeMap;
use std::ffi::CString;

use anyhow::{Context, anyhow};
use caps::{CapSet, Capability};
use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use nix::unistd::{Uid, User, initgroups, setgid, setuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::Needs;

/// The newest rules that are asked for; older kernels keep those that they know.
const RULES: ABI = ABI::V6;

/// System calls that listening never needs. `bind` stays, for an interface that is made anew; nothing can be sent.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_personality,
];
/// Those of them without which nothing can be asked of a network.
const ASKING: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
];

/// Those of them without which nobody who asks can be answered.
const ANSWERING: &[libc::c_long] = &[libc::SYS_accept, libc::SYS_accept4];

/// System calls that write to a descriptor, or make another one of it, and which argument it is: refused for the sockets at which it is listened.
const WRITING: &[(libc::c_long, u8)] = &[
    (libc::SYS_write, 0),
    (libc::SYS_writev, 0),
    (libc::SYS_pwrite64, 0),
    (libc::SYS_pwritev, 0),
    (libc::SYS_pwritev2, 0),
    (libc::SYS_sendfile, 0),
    (libc::SYS_splice, 2),
    (libc::SYS_dup, 0),
    (libc::SYS_dup3, 0),
    (libc::SYS_fcntl, 0),
];

/// Whether it is root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Whether there is such a user.
pub fn is_user(name: &str) -> bool {
    matches!(User::from_name(name), Ok(Some(_)))
}

/// Becomes another user, if one is named, and gives up what root may more than others. What is made from here on is that user's.
///
/// # Errors
/// There is no such user, or it may not become it.
pub fn step_down(user: Option<&str>) -> anyhow::Result<Vec<String>> {
    let stays_root = become_user(user)?;
    drop_capabilities(stays_root).context("capabilities cannot be given up")?;
    let why =
        "it goes on as root, without root's rights but that of writing: name an unprivileged user by --user";
    Ok(stays_root.then(|| why.to_owned()).into_iter().collect())
}

/// Gives up everything that is not needed, for all of the program; says what the system could not take away. Before the program has other threads.
///
/// # Errors
/// The system refuses to take rights away.
pub fn give_up(needs: &Needs) -> anyhow::Result<Vec<String>> {
    // Also what seccomp wants of those who have no rights.
    rustix::thread::set_no_new_privs(true).context("new rights cannot be given up")?;
    let confined = confine_files(needs)?;
    refuse_calls(needs)?;
    let why = "this kernel cannot keep it to its files (Landlock, from Linux 5.13 on)";
    Ok((!confined).then(|| why.to_owned()).into_iter().collect())
}

/// Gives true where it stays root.
fn become_user(user: Option<&str>) -> anyhow::Result<bool> {
    if !is_root() {
        return match user {
            Some(name) => Err(anyhow!("--user {name}: only root can become somebody else")),
            None => Ok(false),
        };
    }
    let Some(name) = user else { return Ok(true) };
    let found = User::from_name(name).with_context(|| format!("--user {name} cannot be looked up"))?;
    let found = found.ok_or_else(|| anyhow!("--user {name}: there is no such user"))?;
    // Groups are how a sensor's logs are made readable.
    let called = CString::new(name).with_context(|| format!("--user {name}"))?;
    initgroups(&called, found.gid)
        .and_then(|()| setgid(found.gid))
        .and_then(|()| setuid(found.uid))
        .with_context(|| format!("it cannot become {name}"))?;
    Ok(found.uid.is_root())
}

fn drop_capabilities(stays_root: bool) -> Result<(), caps::errors::CapsError> {
    let mut needed = caps::CapsHashSet::new();
    if stays_root {
        needed.insert(Capability::CAP_DAC_OVERRIDE);
    }
    // Older kernels know no ambient ones.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::set(None, CapSet::Inheritable, &caps::CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &needed)?;
    caps::set(None, CapSet::Permitted, &needed)
}

/// Gives false where the kernel cannot.
fn confine_files(needs: &Needs) -> anyhow::Result<bool> {
    let reads = AccessFs::from_read(RULES) & !AccessFs::Execute;
    let writes = reads | (AccessFs::from_write(RULES) & !AccessFs::IoctlDev);
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(RULES))?;
    if !needs.asks {
        rules = rules.handle_access(AccessNet::from_all(RULES))?.scope(Scope::from_all(RULES))?;
    }
    let confined = rules
        .create()?
        .add_rules(path_beneath_rules(&needs.reads, reads))?
        .add_rules(path_beneath_rules(&needs.writes, writes))?
        .restrict_self()?;
    Ok(confined.ruleset != RulesetStatus::NotEnforced)
}

fn refuse_calls(needs: &Needs) -> anyhow::Result<()> {
    let needed = |call: &&libc::c_long| {
        (needs.asks && ASKING.contains(call)) || (needs.answers && ANSWERING.contains(call))
    };
    let refused = REFUSED.iter().filter(|call| !needed(call));
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> =
        refused.map(|call| (*call, Vec::new())).collect();
    for (call, argument) in WRITING {
        let mut to = Vec::new();
        for fd in &needs.mute {
            let at = u64::from(fd.cast_unsigned());
            let is_it = SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, at)?;
            to.push(SeccompRule::new(vec![is_it])?);
        }
        if !to.is_empty() {
            rules.insert(*call, to);
        }
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program).context("system calls cannot be given up")
}
