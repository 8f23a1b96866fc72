//! Who may talk to etcd: the files of mutual TLS, and etcd's own users and roles.
//!
//! All lie under one directory, at paths that follow from a node's number: whoever is told the directory can say them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Security, World, node};
use crate::keys::Ctl;
use crate::pki::{self, Authority, Wish, YEAR};
use crate::shell;
use crate::timeline::NodeIndex;

/// The user that daemons are, and the role that suffices for it: its own prefix.
pub(crate) const USER: &str = "vipd";
/// Both ways are there in every world: two daemons are who their certificate says, this one says so with a password.
pub(crate) const BY_PASSWORD: NodeIndex = 1;
/// What daemons trust, and the lab's tools.
const TRUSTED: &str = "ca.crt";
/// What members trust: the same, but a member reads it only at its start.
const TRUSTED_BY_MEMBERS: &str = "members-ca.crt";

/// The files.
pub(crate) struct Access {
    directory: PathBuf,
    /// Who signs.
    pub(crate) authority: Authority,
}

/// What a client is given.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Whom it trusts.
    pub(crate) ca: PathBuf,
    /// Its certificate.
    pub(crate) cert: PathBuf,
    /// And the key for it.
    pub(crate) key: PathBuf,
    /// The file with the password of [`USER`]; without one its certificate says who it is.
    pub(crate) password: Option<PathBuf>,
}

impl Client {
    /// All of its files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca, &self.cert, &self.key].into_iter().chain(&self.password)
    }
}

impl Access {
    /// An authority, and everything that nodes and tools need.
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let made = Self { directory: at(directory), authority: Authority::new("etcd-ca")? };
        fs::create_dir_all(&made.directory).with_context(|| format!("make {}", made.directory.display()))?;
        made.trust(&made.authority.pem())?;
        made.trust_of_members(&made.authority.pem())?;
        made.sign("root", &Wish { name: "root", addresses: &[], lasts: YEAR })?;
        for index in 0..3 {
            made.sign_server(index, &made.authority, YEAR)?;
            made.sign_client(index, &made.authority, YEAR)?;
        }
        made.password("password")?;
        Ok(made)
    }

    /// What daemons and tools trust from now on: one certificate or several.
    pub(crate) fn trust(&self, bundle: &str) -> Result<()> {
        pki::put(&self.directory, TRUSTED, bundle)
    }

    /// What members trust from their next start on.
    pub(crate) fn trust_of_members(&self, bundle: &str) -> Result<()> {
        pki::put(&self.directory, TRUSTED_BY_MEMBERS, bundle)
    }

    /// A new certificate for a member, which takes it by itself.
    pub(crate) fn sign_server(&self, index: NodeIndex, by: &Authority, lasts: std::time::Duration) -> Result<()> {
        let addresses = [IpAddr::V4(node::address(index)), IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let name = node::name(index);
        by.sign(&Wish { name: &name, addresses: &addresses, lasts })?.write(&self.directory, &format!("{name}-server"))
    }

    /// What a member in a machine beside the nodes is started with, and the files that it needs.
    pub(crate) fn for_guest(&self, index: NodeIndex) -> Result<(Vec<String>, Vec<PathBuf>)> {
        self.sign_server(index, &self.authority, YEAR)?;
        let base = self.directory.parent().context("the lab's directory")?;
        let files = server_files(base, index).into_iter().chain([self.directory.join(TRUSTED_BY_MEMBERS)]).collect();
        Ok((arguments(base, index), files))
    }

    /// A new certificate for a node's daemon.
    pub(crate) fn sign_client(&self, index: NodeIndex, by: &Authority, lasts: std::time::Duration) -> Result<()> {
        // Where a password says who it is, the certificate must not.
        let (name, common) = (node::name(index), if by_password(index) { "nobody" } else { USER });
        by.sign(&Wish { name: common, addresses: &[], lasts })?.write(&self.directory, &format!("{name}-client"))
    }

    /// A new certificate for the lab's tools.
    pub(crate) fn sign_root(&self, by: &Authority) -> Result<()> {
        by.sign(&Wish { name: "root", addresses: &[], lasts: YEAR })?.write(&self.directory, "root")
    }

    /// What the lab's tools have now, kept for when they have another.
    pub(crate) fn keep_root(&self) -> Result<Client> {
        let file = |name: &str| self.directory.join(name);
        for ending in ["crt", "key"] {
            fs::copy(file(&format!("root.{ending}")), file(&format!("former-root.{ending}")))?;
        }
        Ok(Client { ca: file(TRUSTED), cert: file("former-root.crt"), key: file("former-root.key"), password: None })
    }

    /// The password file of the daemons, with an end of line as editors leave it.
    pub(crate) fn password(&self, password: &str) -> Result<()> {
        pki::put(&self.directory, "password", &format!("{password}\n"))
    }

    fn sign(&self, file: &str, wish: &Wish) -> Result<()> {
        self.authority.sign(wish)?.write(&self.directory, file)
    }
}

fn at(directory: &Path) -> PathBuf {
    directory.join("pki")
}

/// Whether that node's daemon says with a password who it is.
fn by_password(index: NodeIndex) -> bool {
    index == BY_PASSWORD
}

/// A node's daemon's.
pub(super) fn of_node(directory: &Path, index: NodeIndex, security: Security) -> Option<Client> {
    let has_users = matches!(security, Security::Rbac | Security::RbacLater);
    let password = (has_users && by_password(index)).then(|| at(directory).join("password"));
    of(directory, &format!("{}-client", node::name(index)), security).map(|client| Client { password, ..client })
}

/// The lab's own: it may do anything.
pub(super) fn of_root(directory: &Path, security: Security) -> Option<Client> {
    of(directory, "root", security)
}

fn of(directory: &Path, name: &str, security: Security) -> Option<Client> {
    let files = at(directory);
    let file = |ending: &str| files.join(format!("{name}.{ending}"));
    (security != Security::Plain).then(|| Client {
        ca: files.join(TRUSTED),
        cert: file("crt"),
        key: file("key"),
        password: None,
    })
}

/// A member's certificate and its key.
pub(super) fn server_files(directory: &Path, index: NodeIndex) -> [PathBuf; 2] {
    ["crt", "key"].map(|ending| at(directory).join(format!("{}-server.{ending}", node::name(index))))
}

/// What makes a member ask for certificates.
pub(super) fn arguments(directory: &Path, index: NodeIndex) -> Vec<String> {
    let [cert, key] = server_files(directory, index);
    let ca = at(directory).join(TRUSTED_BY_MEMBERS);
    let files = [("--cert-file", cert), ("--key-file", key), ("--trusted-ca-file", ca)];
    let mut arguments = vec!["--client-cert-auth".to_owned()];
    arguments.extend(files.iter().map(|(flag, path)| format!("{flag}={}", path.display())));
    arguments
}

impl World {
    /// The files of this world, if etcd is guarded.
    pub(crate) fn access(&self) -> Result<&Access> {
        self.access.as_ref().context("this world's etcd is plain")
    }

    /// The same, to be changed.
    pub(crate) fn access_mut(&mut self) -> Result<&mut Access> {
        self.access.as_mut().context("this world's etcd is plain")
    }

    /// The daemons' user gets another password, in etcd.
    pub(crate) fn change_password(&self, password: &str) -> Result<()> {
        let ctl = self.ctl();
        shell::fed(ctl.command().args(["user", "passwd", USER, "--interactive=false"]), &format!("{password}\n"))
    }

    /// What a node's daemon is given.
    pub(crate) fn client_of(&self, node: NodeIndex) -> Option<Client> {
        of_node(&self.directory, node, self.options.security)
    }

    /// Users, roles, and only they may do anything from now on. Nothing if a cluster (a restored one) has them already.
    pub(crate) fn switch_on_users(&self) -> Result<()> {
        let ctl = self.ctl();
        if shell::output(ctl.command().args(["user", "list"]))?.contains("root") {
            return Ok(());
        }
        let password = fs::read_to_string(at(&self.directory).join("password"))?;
        let user = format!("{USER}:{}", password.trim_end());
        let prefix = format!("{USER}/");
        let steps: [&[&str]; 7] = [
            &["user", "add", "root", "--no-password"],
            &["user", "grant-role", "root", "root"],
            &["role", "add", USER],
            &["role", "grant-permission", USER, "--prefix=true", "readwrite", &prefix],
            &["user", "add", &user],
            &["user", "grant-role", USER, USER],
            &["auth", "enable"],
        ];
        steps.iter().try_for_each(|step| run(&ctl, step))
    }
}

fn run(ctl: &Ctl, words: &[&str]) -> Result<()> {
    shell::output(ctl.command().args(words)).map(drop)
}
