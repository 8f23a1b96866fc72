//! The names: what is told, what its table says, what the rules and the dashboard ask for. All are held against a page
//! that is written here with something in every series.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail as the test itself may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vipd::config::{Host, parse};
use vipd::metrics::{Facts, metrics};
use vipd::moment::Moment;
use vipd::node::etcd::{Certificate, Tally};
use vipd::plan::Plan;
use vipd::status::{Candidate, Config, Here, Session, Status, Vip};

const SNIPPET: &str = "machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.0.0.1}}]}}";

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Where `tests/metrics/run` finds what promtool is to judge.
fn leave(name: &str, text: &str) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("metrics");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), text).unwrap();
}

/// A page of a node that holds one VIP, over TLS.
fn page() -> String {
    let config = parse(SNIPPET, &Host { name: "cp-1".into(), runtime_directory: None }).unwrap();
    let plan = Plan::new(&config);
    let now = Moment::from_millis(1000);
    let (mut happened, mut audit, mut page) = metrics("cp-1", "1.2.3", Moment::default());
    happened.adopt(&plan);
    let addresses = plan.vips[0].addresses.clone();
    let claims =
        vec![vipd::metrics::Claim { vip: plan.vips[0].id, addresses: addresses.clone(), holds: false, until: None }];
    audit.look(&claims, &BTreeSet::new(), now);
    let queue = vec![Candidate { node: "cp-1".into(), this: true, vipd: true, create: 7 }];
    let vip = Vip {
        addresses,
        link: "eth0".into(),
        link_up: true,
        link_lack: None,
        here: Here::Holds,
        passed_on: false,
        queue,
        first_since: None,
        moves: Vec::new(),
    };
    let etcd = Session::Live { lease: "a".into(), ttl_ms: 5000, fence_left_ms: 3456, proven_ms_ago: Some(344) };
    let status = Status {
        format: 1,
        node: "cp-1".into(),
        version: "1.2.3".into(),
        etcd,
        config: Config::default(),
        vips: vec![vip],
    };
    let ends = Duration::from_secs(1_800_000_000);
    let certificates = [("client", "/etc/vipd/client.crt"), ("member", "https://127.0.0.1:2379")];
    let certificates = certificates.map(|(kind, of)| Certificate { kind, of: of.into(), ends });
    let tally = Tally::default();
    page.text(&Facts { status: &status, tally: &tally, certificates: &certificates, now }).unwrap()
}

/// Type and labels of a metric, by its name as it is asked for (of a histogram: the name that its series begin with).
type Names = BTreeMap<String, (String, BTreeSet<String>)>;

fn told(page: &str) -> Names {
    let mut names = Names::new();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (base, kind) in types {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{base}{suffix}");
        let of_it = |line: &&str| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' ', '_']));
        let samples: Vec<&str> = page.lines().filter(of_it).collect();
        assert!(!samples.is_empty(), "{name} has no sample");
        let labels = samples.iter().flat_map(|sample| labels(sample)).filter(|label| label != "le").collect();
        names.insert(name, (kind.to_owned(), labels));
    }
    names
}

/// The labels of a sample whose values have no quotes in them.
fn labels(sample: &str) -> Vec<String> {
    let Some((_, rest)) = sample.split_once('{') else { return Vec::new() };
    rest.split('"')
        .step_by(2)
        .filter_map(|part| part.trim_start_matches(',').strip_suffix('='))
        .map(Into::into)
        .collect()
}

/// The table for people.
fn documented() -> Names {
    let text = file("config/METRICS.md");
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `vipd_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (quoted(cells[1])[0].clone(), (cells[2].to_owned(), quoted(cells[3]).into_iter().collect()))
    };
    rows.map(row).collect()
}

/// Every metric that a query names, by the name it has in the table.
fn asked(query: &str, known: &Names) -> Vec<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let base = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
        let is_histogram = |base: &str| known.get(base).is_some_and(|(kind, _)| kind == "histogram");
        ends.filter(|base| is_histogram(base)).unwrap_or(word).to_owned()
    };
    words.filter(|word| word.starts_with("vipd_")).map(base).collect()
}

/// The page in Prometheus' older form, which is all that promtool reads: there a metric's head has its whole name, and
/// neither units nor an end are told.
fn as_older_text(page: &str) -> String {
    let types: BTreeMap<&str, &str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut text = String::new();
    for line in page.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let (Some("#"), Some(head), Some(name), Some(rest)) = (words.next(), words.next(), words.next(), words.next())
        else {
            text += &format!("{line}\n");
            continue;
        };
        let (suffix, kind) = match types[name] {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            kind => ("", kind),
        };
        text += &format!("# {head} {name}{suffix} {}\n", if head == "TYPE" { kind } else { rest });
    }
    text
}

#[test]
fn the_table_says_what_is_told_and_no_more() {
    let page = page();
    leave("page.txt", &as_older_text(&page));
    assert_eq!(told(&page), documented());
}

#[test]
fn every_reason_is_in_the_words_below_the_table() {
    let (page, text) = (page(), file("config/METRICS.md"));
    let reasons = page
        .lines()
        .filter(|line| line.contains("reason=\"") || line.contains("outcome=\"") || line.contains("kind=\""));
    let mut seen = 0;
    for line in reasons {
        for key in ["reason=\"", "outcome=\"", "kind=\""] {
            let Some((_, rest)) = line.split_once(key) else { continue };
            let value = rest.split('"').next().unwrap();
            assert!(text.contains(&format!("`{value}`")), "{value}: {line}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn every_query_of_the_dashboard_is_of_something_that_is_told() {
    let (known, text) = (told(&page()), file("config/grafana-dashboard.json"));
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    find("expr", &dashboard, &mut queries);
    find("definition", &dashboard, &mut queries);
    assert!(queries.len() >= 15, "{queries:?}");
    for query in &queries {
        let asked = asked(query, &known);
        assert!(!asked.is_empty(), "{query} asks for nothing of ours");
        asked.iter().for_each(|name| assert!(known.contains_key(name), "{name} in {query}"));
    }
    leave("dashboard-queries.yaml", &as_rules(queries.iter().filter(|query| !query.starts_with("label_values"))));
}

/// All texts of that key, however deep.
fn find(key: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            found.extend(map.get(key).and_then(|v| v.as_str()).map(ToOwned::to_owned));
            map.values().for_each(|v| find(key, v, found));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| find(key, v, found)),
        _ => {}
    }
}

/// Queries as recording rules, which promtool can parse, with Grafana's variables filled in.
fn as_rules<'q>(queries: impl Iterator<Item = &'q String>) -> String {
    let mut text = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (n, query) in queries.enumerate() {
        let query = query.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$vip", ".+");
        assert!(!query.contains('$'), "{query}");
        text += &format!("      - record: query{n}\n        expr: '{query}'\n");
    }
    text
}

#[test]
fn every_rule_is_about_something_that_is_told_and_has_its_words() {
    let (known, text) = (told(&page()), file("config/prometheus-rules.yaml"));
    let mut seen = BTreeSet::new();
    for rule in text.split("- alert: ").skip(1) {
        let (name, rule) = rule.split_once('\n').unwrap();
        let expression = rule.split("expr:").nth(1).unwrap().split("labels: {severity").next().unwrap();
        let asked = asked(expression, &known);
        asked.iter().for_each(|metric| assert!(known.contains_key(metric), "{metric} in {name}"));
        assert!(!asked.is_empty() || expression.contains("up{job"), "{name}");
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
        seen.extend(asked);
    }
    for must in ["vipd_holder_without_address", "vipd_address_without_lease"] {
        assert!(seen.contains(must) && seen.contains(&format!("{must}_seconds_total")), "nobody watches {must}");
    }
    let tests = file("tests/metrics/rules.yaml");
    for name in text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(name), "{name} is never tried");
    }
}
