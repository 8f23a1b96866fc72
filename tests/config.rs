//! The config room through its front door: files in, a summary or a refusal out, line by line.
//!
//! Each file in `tests/config/good` and `tests/config/bad` opens with what it must give, as `# expect: ` lines. Write
//! them anew with `VIPD_BLESS=1 cargo test --test config` (twice, if a line number is in them) and read the diff. No
//! root, no network, no clock.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::fs;
use std::path::{Path, PathBuf};

use vipd::config::{ClientCertificate, Config, Etcd, Host, Refusal, Ttl, User, load, parse};
use vipd::plan::Plan;

/// What stands beside the samples and is Prometheus' own.
const NO_CONFIG: &str = "prometheus-rules.yaml";

const EXPECT: &str = "# expect: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn host() -> Host {
    Host { name: "cp-1".into(), runtime_directory: None }
}

fn files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with(NO_CONFIG));
    files.sort();
    files
}

/// The VIPs, and each setting that is not its default.
fn summary(config: &Config) -> String {
    let plain = parse("machine: {network: {interfaces: [{interface: a, vip: {ip: 10.9.9.9}}]}}", &host()).unwrap();
    let mut lines = Vec::new();
    if config.node != plain.node {
        lines.push(format!("node {}", config.node));
    }
    if config.etcd != (Etcd { vips: config.etcd.vips.clone(), ..plain.etcd }) {
        lines.push(etcd(&config.etcd));
    }
    if config.lease != plain.lease {
        let ttl = match config.lease.ttl {
            Ttl::Auto => "auto".into(),
            Ttl::Fixed(ttl) => format!("{ttl:?}"),
        };
        let margin = config.lease.margin.map_or("the least".into(), |margin| format!("{margin:?}"));
        lines.push(format!("ttl {ttl}, margin {margin}"));
    }
    if config.announce != plain.announce {
        let refresh = config.announce.refresh.map_or("never".into(), |every| format!("every {every:?}"));
        lines.push(format!("announced after {:?}, then {refresh}", config.announce.times));
    }
    if config.on_conflict != plain.on_conflict {
        lines.push(format!("on conflict {:?}", config.on_conflict));
    }
    if config.log_level != plain.log_level {
        lines.push(format!("logs {}", config.log_level.name()));
    }
    if config.metrics != plain.metrics {
        let at = config.metrics.map_or("nowhere".into(), |at| format!("at {at}"));
        lines.push(format!("metrics {at}"));
    }
    if config.runtime_dir != plain.runtime_dir {
        lines.push(format!("runtime directory {}", config.runtime_dir.display()));
    }
    for vip in Plan::new(config).vips {
        let addresses: Vec<_> = vip.addresses.iter().map(ToString::to_string).collect();
        let named = if addresses.len() > 1 { format!(", named {}", vip.key_address) } else { String::new() };
        lines.push(format!("vip {} on {} ({}){named}", addresses.join(" + "), vip.link, vip.place));
    }
    lines.join("\n")
}

fn etcd(etcd: &Etcd) -> String {
    let mut line = format!("etcd {} under {}", etcd.endpoints.join(" "), etcd.prefix);
    if !etcd.discover {
        line += ", these members alone";
    }
    if let Some(tls) = &etcd.tls {
        line += &format!(", signed by {}", tls.ca.display());
        if let Some(name) = &tls.server_name {
            line += &format!(" for {name}");
        }
        if let Some(ClientCertificate { cert, key }) = &tls.client {
            line += &format!(", shown {} with {}", cert.display(), key.display());
        }
    }
    if let Some(User { name, password_file }) = &etcd.user {
        line += &format!(", as {name} with {}", password_file.display());
    }
    if let Some(endpoint) = &etcd.password_in_the_clear {
        line += &format!(", in the clear to {endpoint}");
    }
    line
}

/// Holds what a file gave against what its first lines say; or writes it there.
fn compare(path: &Path, text: &str, got: &str) {
    let got: Vec<&str> = got.lines().collect();
    let want: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(EXPECT)).collect();
    if std::env::var_os("VIPD_BLESS").is_some() && got != want {
        let head: String = got.iter().map(|line| format!("{EXPECT}{line}\n")).collect();
        let rest: String = text.lines().filter(|l| !l.starts_with(EXPECT)).map(|l| format!("{l}\n")).collect();
        return fs::write(path, head + &rest).unwrap();
    }
    assert_eq!(got, want, "{}", path.display());
}

#[test]
fn bad_files_are_refused_with_exactly_these_lines() {
    for path in files("tests/config/bad") {
        let text = fs::read_to_string(&path).unwrap();
        match parse(&text, &host()) {
            Err(refusal) => compare(&path, &text, &refusal.to_string()),
            Ok(config) => panic!("{} is accepted: {config:?}", path.display()),
        }
    }
}

#[test]
fn good_files_are_accepted_and_mean_exactly_this() {
    for path in files("tests/config/good") {
        let text = fs::read_to_string(&path).unwrap();
        match parse(&text, &host()) {
            Ok(config) => compare(&path, &text, &summary(&config)),
            Err(refusal) => panic!("{} is refused:\n{refusal}", path.display()),
        }
    }
}

#[test]
fn there_are_files_to_test_with() {
    assert!(files("tests/config/bad").len() >= 25);
    assert!(files("tests/config/good").len() >= 8);
    for path in files("tests/config/bad").iter().chain(&files("tests/config/good")) {
        assert!(fs::read_to_string(path).unwrap().contains(EXPECT), "{} expects nothing", path.display());
    }
}

#[test]
fn every_sample_is_accepted() {
    let samples = files("config");
    assert!(samples.len() >= 5);
    for path in samples {
        let config = load(&path).unwrap_or_else(|refusal| panic!("{}:\n{refusal}", path.display()));
        assert!(!config.vips.is_empty());
    }
}

/// The reference shows each key at its default: with all keys gone, the file means the same.
#[test]
fn the_reference_shows_the_defaults() {
    let text = fs::read_to_string(root().join("config/reference.yaml")).unwrap();
    let with = parse(&text, &host()).unwrap();
    let without = parse(text.split("\nvipd:").next().unwrap(), &host()).unwrap();
    let etcd = Etcd { vips: with.etcd.vips.clone(), ..without.etcd };
    assert_eq!((with.etcd, with.lease, with.runtime_dir), (etcd, without.lease, without.runtime_dir));
    assert_eq!((with.announce, with.on_conflict), (without.announce, without.on_conflict));
    assert_eq!(with.metrics, without.metrics);
    let etcd =
        ["endpoints:", "discover:", "tls:", "ca:", "cert:", "key:", "serverName:", "user:", "passwordFile:", "prefix:"];
    let selector = ["deviceSelector:", "physical:", "driver:", "busPath:", "permanentAddr:", "hardwareAddr:", "pciID:"];
    let announce = ["announce:", "schedule:", "refresh:", "onConflict:"];
    let vipd =
        ["node:", "etcd:", "lease:", "ttl:", "margin:", "groups:", "addresses:", "metrics:", "listen:", "runtimeDir:"];
    for key in vipd.iter().chain(&etcd).chain(&selector).chain(&announce) {
        assert!(text.contains(key), "{key} is not in the reference");
    }
}

const SNIPPET: &str = "machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.0.0.1}}]}}\n";

fn with_host(host: &Host, settings: &str) -> Result<Config, Refusal> {
    parse(&format!("{SNIPPET}{settings}"), host)
}

#[test]
fn the_host_lends_its_name_and_its_runtime_directory() {
    let host = Host { name: "cp-7".into(), runtime_directory: Some("/run/a:/run/b".into()) };
    let config = with_host(&host, "").unwrap();
    assert_eq!((config.node.as_str(), config.runtime_dir.to_str()), ("cp-7", Some("/run/a")));
    let config = with_host(&host, "vipd: {node: x, runtimeDir: /tmp/x}").unwrap();
    assert_eq!((config.node.as_str(), config.runtime_dir.to_str()), ("x", Some("/tmp/x")));
}

#[test]
fn what_the_host_lends_is_checked_only_if_it_is_needed() {
    let host = Host { name: String::new(), runtime_directory: Some("run".into()) };
    let refusal = with_host(&host, "").unwrap_err().to_string();
    let want = "vipd.node: not given, and the host's own name will not do: \"\" is not a node name\n\
                vipd.runtimeDir: not given, and $RUNTIME_DIRECTORY will not do: \"run\" is not an absolute path";
    assert_eq!(refusal, want);
    assert!(with_host(&host, "vipd: {node: x, runtimeDir: /tmp/x}").is_ok());
}

#[test]
fn files_that_cannot_be_read_are_refused_by_their_name() {
    let directory = std::env::temp_dir().join(format!("vipd-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("x.yaml");
    let refused = || load(&path).unwrap_err().to_string();
    assert!(refused().ends_with("x.yaml: cannot be read: No such file or directory (os error 2)"));
    fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert!(refused().ends_with("x.yaml: is not UTF-8 text: line 2, byte 8 of the file"));
    fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    assert_eq!(refused(), "file: more than 4 MiB, which no machine config needs");
    fs::write(&path, format!("\u{feff}{SNIPPET}vipd: {{node: x, runtimeDir: /tmp/x}}")).unwrap();
    assert!(load(&path).is_ok(), "a byte order mark does no harm");
    assert!(load(&directory).unwrap_err().to_string().contains("cannot be read: "));
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_refusal_holds_each_problem_apart() {
    let refusal = with_host(&host(), "vipd: {nodes: x, lease: {ttl: 1s}}").unwrap_err();
    let places: Vec<&str> = refusal.problems().iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["vipd.nodes", "vipd.lease.ttl"]);
}

/// Damage of all kinds to real files: whatever comes out, it comes out as a result.
#[test]
fn damaged_files_never_panic() {
    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below.max(1)
    };
    let junk = [
        "&a ",
        "*a",
        "<<: *a",
        "\t",
        "- ",
        "? ",
        "{",
        "}",
        "[",
        "]",
        "!!x ",
        "|\n",
        "\"",
        "'",
        ": ",
        "---\n",
        "~",
        "\u{feff}",
        "é",
        "#",
        "%",
        "\0",
        "vip:",
        "vipd:",
        "kind: Layer2VIPConfig\n",
    ];
    let all = ["config", "tests/config/good", "tests/config/bad"].map(files).concat();
    for path in &all {
        let whole: Vec<char> = fs::read_to_string(path).unwrap().chars().collect();
        for _ in 0..150 {
            let mut text = whole.clone();
            for _ in 0..=random(4) {
                let at = random(text.len());
                let end = (at + random(12)).min(text.len());
                let put = junk[random(junk.len())];
                text.splice(at..end, put.chars().take(random(25)));
            }
            let text: String = text.into_iter().collect();
            match parse(&text, &host()) {
                Ok(config) => assert!(!config.vips.is_empty() && !config.etcd.endpoints.is_empty(), "{text}"),
                Err(refusal) => {
                    assert!(!refusal.problems().is_empty());
                    assert!(!refusal.to_string().chars().any(|c| c.is_control() && c != '\n'), "{refusal:?}");
                }
            }
        }
    }
}

#[test]
fn every_beginning_of_a_sample_is_read_without_a_panic() {
    for path in files("config") {
        let text = fs::read_to_string(path).unwrap();
        for end in (0..text.len()).step_by(7).filter(|end| text.is_char_boundary(*end)) {
            let _result = parse(&text[..end], &host());
        }
    }
}
