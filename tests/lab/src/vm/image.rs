//! What is in a guest: programs of this machine with the libraries they are linked with, at the same paths, a
//! busybox, and the kernel's modules. Nothing is built anew for it, so the daemon tried is the daemon built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::initramfs::Archive;
use super::kernel::Kernel;
use super::{Machine, init};
use crate::shell;

/// Puts a guest's file system together.
pub(super) fn build(kernel: &Kernel, vipd: &Path, machine: &Machine, tools: &[&str]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for path in ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/lib"] {
        archive.directory(path);
    }
    program(&mut archive, init::PROGRAM, &std::env::current_exe()?)?;
    program(&mut archive, "/bin/vipd", vipd)?;
    for tool in tools {
        let found = shell::find(tool).with_context(|| format!("`{tool}` is not installed"))?;
        program(&mut archive, &format!("/bin/{tool}"), &found)?;
    }
    copy(&mut archive, "/bin/busybox", &kernel.busybox())?;
    archive.link("/bin/sh", "busybox");
    archive.file("/etc/hosts", b"127.0.0.1 localhost\n");
    archive.file("/etc/vipd/config.yaml", machine.config.as_bytes());
    for path in &machine.files {
        archive.secret(&path.to_string_lossy(), &read(path)?);
    }
    for (number, module) in kernel.modules()?.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        // The number keeps the order.
        copy(&mut archive, &format!("{}/{number:02}-{name}", init::MODULES), module)?;
    }
    Ok(archive.finish())
}

/// A program and its libraries.
fn program(archive: &mut Archive, path: &str, from: &Path) -> Result<()> {
    copy(archive, path, from)?;
    for library in libraries(from) {
        copy(archive, &library.to_string_lossy(), &library)?;
    }
    Ok(())
}

fn copy(archive: &mut Archive, path: &str, from: &Path) -> Result<()> {
    archive.file(path, &read(from)?);
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// What `ldd` names: none for a static program, of which it says so and fails.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let said = shell::output(Command::new("ldd").arg(program)).unwrap_or_default();
    said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
