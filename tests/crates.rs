//! What may be in the tree of crates: licences, sources, and one provider of TLS. From cargo's own description of the
//! tree as it is locked; without the network.

#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// One of these must be enough to use a crate.
const LICENCES: [&str; 7] = ["0BSD", "Apache-2.0", "BSD-3-Clause", "ISC", "MIT", "Unicode-3.0", "Zlib"];
/// No other way to TLS than ring, and no CA that the config does not name.
const BANNED: [&str; 9] = [
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "mbedtls",
    "native-tls",
    "openssl",
    "openssl-sys",
    "rustls-native-certs",
    "webpki-roots",
];
/// What carries every byte to etcd is there in one version.
const SINGLE: [&str; 7] = ["h2", "hyper", "ring", "rustls", "rustls-webpki", "tokio", "tonic"];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The crates of the product and of its tests, on the systems it runs on.
fn crates() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let out = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    let used: BTreeSet<&str> =
        all["resolve"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = all["packages"].as_array().unwrap();
    packages.iter().filter(|package| used.contains(package["id"].as_str().unwrap())).cloned().collect()
}

/// `(MIT OR Apache-2.0) AND Unicode-3.0`: each part that is tied by AND must be allowed.
fn is_allowed(licence: &str) -> bool {
    let plain = licence.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn every_crate_has_a_licence_that_we_may_use() {
    let crates = crates();
    assert!(crates.len() > 100, "{}", crates.len());
    let refused = crates.iter().filter(|c| !c["license"].as_str().is_some_and(is_allowed));
    let refused: Vec<String> = refused.map(|c| format!("{} {}", c["name"], c["license"])).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for (licence, allowed) in [("MIT", true), ("MIT/Apache-2.0", true), ("GPL-3.0", false), ("MIT AND GPL-3.0", false)]
    {
        assert_eq!(is_allowed(licence), allowed, "{licence}");
    }
}

#[test]
fn every_crate_comes_from_the_one_registry() {
    for package in crates() {
        let ours = package["source"].is_null() && package["name"].as_str().unwrap().starts_with("vipd");
        assert!(ours || package["source"] == REGISTRY, "{} from {}", package["name"], package["source"]);
    }
}

#[test]
fn there_is_one_way_to_tls() {
    let crates = crates();
    let names: Vec<&str> = crates.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let banned: Vec<_> = names.iter().filter(|name| BANNED.contains(name)).collect();
    assert!(banned.is_empty(), "{banned:?}");
    for single in SINGLE {
        assert_eq!(names.iter().filter(|name| **name == single).count(), 1, "{single}");
    }
}

/// Two versions of one crate are shown, and no fault.
#[test]
fn what_is_there_twice() {
    let mut names: Vec<String> = crates().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    let twice: BTreeSet<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect();
    println!("there in several versions: {twice:?}");
    assert!(twice.len() < 20, "{twice:?}");
}
