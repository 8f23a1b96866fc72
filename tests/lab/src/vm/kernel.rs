//! A kernel unpacked by `tests/fetch`: its image, and modules in the order they must be loaded.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::scenario::Skip;

/// Debian's releases, by what their kernels can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// Debian 12, Linux 6.1.
    Bookworm,
    /// Debian 11, Linux 5.10, which keeps no mark on addresses.
    Bullseye,
}

/// One kernel on this machine's disk.
pub(super) struct Kernel {
    root: PathBuf,
    version: String,
}

/// What a guest has besides the kernel proper: how it is reached, and what scenarios build in it. The cloud kernels
/// have the rest built in.
const WANTED: [&str; 12] = [
    "virtio_pci",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "button",
    "8021q",
    "bonding",
    "dummy",
    "veth",
    "macvlan",
    "bridge",
    "sch_netem",
];

impl Kernel {
    /// The one of that release; a skip if it was not fetched.
    pub(super) fn find(release: Release) -> Result<Self> {
        let name = match release {
            Release::Bookworm => "bookworm",
            Release::Bullseye => "bullseye",
        };
        let root = directory()?.join(name);
        let missing = || Skip(format!("{name}'s kernel is not in {} (tests/fetch)", root.display()));
        let modules = fs::read_dir(root.join("lib/modules")).map_err(|_| missing())?;
        let version = modules.flatten().next().ok_or_else(missing)?.file_name().to_string_lossy().into_owned();
        Ok(Self { root, version })
    }

    /// `6.1.0-56-cloud-amd64`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// What qemu boots.
    pub(super) fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// A shell and small tools for the guest, in one static file.
    pub(super) fn busybox(&self) -> PathBuf {
        self.root.join("bin/busybox")
    }

    /// The files of the modules that a guest wants, each behind what it depends on.
    pub(super) fn modules(&self) -> Result<Vec<PathBuf>> {
        let base = self.root.join("lib/modules").join(&self.version);
        let list = base.join("modules.dep");
        let dependencies = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
        Ok(in_order(&dependencies, &WANTED).into_iter().map(|path| base.join(path)).collect())
    }
}

/// `target/debian`, seen from `target/*/vipd-lab`.
fn directory() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.parent().and_then(Path::parent).context("where is this binary?")?;
    Ok(target.join("debian"))
}

/// Out of a `modules.dep` ("path: what it depends on, nearest first"), paths in the order of loading. One that is not
/// listed is built in, or this kernel has none.
fn in_order<'a>(dependencies: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let mut order: Vec<&str> = Vec::new();
    for name in wanted {
        let line = dependencies.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| is(path, name));
        let Some((path, needs)) = line else { continue };
        for one in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&one) {
                order.push(one);
            }
        }
    }
    order
}

/// Files write `-` where modules are called `_`, now and then.
fn is(path: &str, name: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split('.').next().is_some_and(|stem| stem.replace('-', "_") == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_loaded_before_it_and_once() {
        let list = "net/802/mrp.ko:\nnet/8021q/8021q.ko: net/802/mrp.ko net/llc/llc.ko\nnet/llc/llc.ko:\nb-c.ko: net/llc/llc.ko\n";
        let order = in_order(list, &["8021q", "b_c", "not_there"]);
        assert_eq!(order, ["net/llc/llc.ko", "net/802/mrp.ko", "net/8021q/8021q.ko", "b-c.ko"]);
    }
}
