//! The command line as an operator meets it: exit codes, refusals, what `check` says.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn vipd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vipd")).args(args).env_remove("RUNTIME_DIRECTORY").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn yaml_in(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    // What stands beside the samples is Prometheus' own.
    files.filter(|p| p.extension().is_some_and(|e| e == "yaml") && !p.ends_with("prometheus-rules.yaml")).collect()
}

/// `run` and `check` load with the same code: the same lines, exit code 78, nothing on standard output.
#[test]
fn every_bad_config_is_refused_with_its_lines_and_exit_code_78() {
    let bad = yaml_in("tests/config/bad");
    assert!(bad.len() >= 25, "only {} bad configs", bad.len());
    for file in bad {
        let source = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        let expected: Vec<&str> = source.lines().filter_map(|l| l.strip_prefix("# expect: ")).collect();
        for command in ["run", "check"] {
            let out = vipd(&[command, "--config", file.to_str().unwrap()]);
            assert_eq!(out.status.code(), Some(78), "{command} {}", file.display());
            assert_eq!(text(&out.stdout), "", "{command} {}", file.display());
            let said = text(&out.stderr);
            let mut lines = said.lines();
            assert!(lines.next().unwrap().contains("is refused; nothing was changed"), "{said}");
            assert_eq!(lines.collect::<Vec<_>>(), expected, "{command} {}", file.display());
        }
    }
}

#[test]
fn check_is_content_with_every_sample() {
    let samples = yaml_in("config");
    assert!(samples.len() >= 4);
    for file in samples {
        let out = vipd(&["check", "-c", file.to_str().unwrap()]);
        assert_eq!(out.status.code(), Some(0), "{}: {}", file.display(), text(&out.stderr));
        assert!(text(&out.stdout).contains(": good\n"), "{}", file.display());
    }
}

#[test]
fn check_says_what_would_be_done_and_what_is_missing() {
    let dir = std::env::temp_dir().join(format!("vipd-cli-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("config.yaml");
    let config = "
machine: {network: {interfaces: [{interface: nosuchlink0, vip: {ip: 10.1.2.3}, vlans: [{vlanId: 7, vip: {ip: fd00::3}}]}]}}
vipd: {node: cp-1, lease: {ttl: 6s}, etcd: {prefix: ha, endpoints: ['http://127.0.0.1:1']}}
";
    std::fs::write(&file, config).unwrap();
    let out = vipd(&["check", "-c", file.to_str().unwrap()]);
    std::fs::remove_dir_all(&dir).unwrap();
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}");
    for want in [
        "node       cp-1",
        "metrics    http://127.0.0.1:9815/metrics",
        "vip        10.1.2.3",
        "link     nosuchlink0",
        "key      ha/10.1.2.3/<lease>",
        "vip        fd00::3",
        "link     VLAN 7 on nosuchlink0",
        "ttl 6s, renewed every 600ms, fence 4.79s after a renewal",
        "lacks for now",
        "- the link \"nosuchlink0\"; there are: ",
        ", for machine.network.interfaces[0].vip.ip",
        "etcd at http://127.0.0.1:1",
    ] {
        assert!(said.contains(want), "{want:?} is not in\n{said}");
    }
}

#[test]
fn check_says_in_words_what_a_selector_looks_for_and_what_there_is() {
    let file = std::env::temp_dir().join(format!("vipd-cli-selector-{}.yaml", std::process::id()));
    let config = "
machine: {network: {interfaces: [{deviceSelector: {driver: no-such*, physical: true}, vip: {ip: 10.1.2.3}}]}}
vipd: {node: cp-1, etcd: {endpoints: ['http://127.0.0.1:1']}}
";
    std::fs::write(&file, config).unwrap();
    let out = vipd(&["check", "-c", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}");
    for want in [
        "link     the physical link with driver \"no-such*\"\n",
        "- the physical link with driver \"no-such*\"; there are: ",
        ", for machine.network.interfaces[0].vip.ip",
    ] {
        assert!(said.contains(want), "{want:?} is not in\n{said}");
    }
    assert!(!said.contains("  here "), "{said}");
}

#[test]
fn help_teaches_and_wrong_words_are_exit_code_2() {
    let help = text(&vipd(&["--help"]).stdout);
    for want in ["run", "check", "release", "interface: eth0", "78"] {
        assert!(help.contains(want), "{want:?} is not in\n{help}");
    }
    assert_eq!(vipd(&["walk"]).status.code(), Some(2));
    let level = vipd(&["run", "-c", "config/config.yaml", "--log-level", "no=such=level"]);
    assert_eq!(level.status.code(), Some(2), "{}", text(&level.stderr));
}
