//! How much memory the control group of this process leaves it.

use std::path::{Path, PathBuf};

use pipeline::{ByteSize, SMALLEST};

/// Where Linux mounts control groups: of version 2, and the memory of version 1 (Linux, Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst).
const ROOT: &str = "/sys/fs/cgroup";
/// What the program takes beside its budget at most (DESIGN, *one memory budget*).
const BESIDE: u64 = 64 << 20;

/// What may be taken of the memory that was asked for, and what must be told where that is less: whoever goes beyond its control group's limit is
/// killed.
pub fn granted(asked: ByteSize) -> (ByteSize, Option<String>) {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit(&groups, Path::new(ROOT)).map_or((asked, None), |limit| within(asked, ByteSize(limit)))
}

fn within(asked: ByteSize, limit: ByteSize) -> (ByteSize, Option<String>) {
    let fits = ByteSize(limit.0.saturating_sub(BESIDE));
    let left = asked.min(fits.max(SMALLEST));
    let allows = format!("the control group allows this process {limit} of memory in all");
    if left > fits {
        let needed = ByteSize(SMALLEST.0 + BESIDE);
        return (left, Some(format!("{allows}, and {needed} is the least that is safe: it may be killed")));
    }
    (left, (left < asked).then(|| format!("{allows}: the budget is {left}, not {asked}")))
}

/// The least limit among the groups that a process is in (`groups` is its `/proc/self/cgroup`) and those around them, in bytes.
fn limit(groups: &str, root: &Path) -> Option<u64> {
    let of = |line: &str| -> Option<(PathBuf, PathBuf, &[&str])> {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let group = PathBuf::from(path.trim_start_matches('/'));
        if controllers.is_empty() {
            return Some((root.to_owned(), group, &["memory.max", "memory.high"]));
        }
        let memory = controllers.split(',').any(|c| c == "memory");
        memory.then(|| (root.join("memory"), group, &["memory.limit_in_bytes"][..]))
    };
    let limits = groups.lines().filter_map(of).flat_map(|(root, group, files)| {
        // In a container the group's path may be the host's, and its own is the root.
        let around: Vec<PathBuf> = group.ancestors().map(|group| root.join(group)).collect();
        around.into_iter().flat_map(move |dir| files.iter().map(move |file| dir.join(file)))
    });
    // "max", and what is no number.
    limits.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said() {
        let mib = |n: u64| ByteSize(n << 20);
        let of = |asked, limit| within(mib(asked), mib(limit));
        assert_eq!(of(1024, 2048), (mib(1024), None));
        let (left, told) = of(1024, 512);
        let told = told.unwrap();
        assert!(
            left == mib(448) && told.ends_with("512MiB of memory in all: the budget is 448MiB, not 1GiB"),
            "{told}"
        );
        assert_eq!(of(448, 512), (mib(448), None));
        for asked in [48, 1024] {
            let (left, told) = of(asked, 100);
            assert!(
                left == mib(48)
                    && told.unwrap().ends_with("112MiB is the least that is safe: it may be killed")
            );
        }
    }

    #[test]
    fn the_least_limit_of_the_groups_around_a_process_holds() {
        let root = tempfile::tempdir().unwrap();
        let says = |file: &str, limit: &str| {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, limit).unwrap();
        };
        let of = |groups: &str| limit(groups, root.path());
        assert_eq!(of("0::/system.slice/hydrophone.service\n"), None);
        says("system.slice/hydrophone.service/memory.max", "max\n");
        assert_eq!(of("0::/system.slice/hydrophone.service\n"), None);
        says("system.slice/memory.max", "4294967296\n");
        says("system.slice/hydrophone.service/memory.high", "536870912\n");
        assert_eq!(of("0::/system.slice/hydrophone.service\n"), Some(512 << 20));
        assert_eq!(of("0::/system.slice/other.service\n"), Some(4 << 30));
        // A container of version 1: the path is the host's.
        says("memory/memory.limit_in_bytes", "268435456\n");
        let groups = "9:name=systemd:/docker/ab\n4:cpu,memory:/docker/ab\n0::/docker/ab\n";
        assert_eq!(of(groups), Some(256 << 20));
        assert_eq!(of("3:cpuset:/docker/ab\nnonsense\n"), None);
    }
}
