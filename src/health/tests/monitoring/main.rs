//! What docs/monitoring/ offers to Prometheus and Grafana, held against what the programs write (MET-1).
//!
//! Queue and health write their files here as they do in service. The trainer needs libtorch, so its names are taken from its
//! source. Rules and files go through `promtool` where that is found (Debian: `prometheus`).

#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

mod dashboard;

use health::{catalog::KINDS, metrics, status::Status};
use queue::{Counters, Progress, standing::Writer};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};

/// The names that others rely on; nobody may rename them.
const MET_1: [&str; 13] = [
    "training_epoch",
    "training_loss",
    "training_mAP50",
    "training_mAP50_95",
    "gpu_utilization_pct",
    "gpu_memory_used_mb",
    "gpu_temperature_c",
    "disk_usage_azaion_gb",
    "disk_usage_datasets_gb",
    "disk_usage_models_gb",
    "queue_offset",
    "queue_messages_processed",
    "queue_messages_failed",
];
/// Names of ours in units like those above, for they are read side by side.
const LIKE_THOSE: [&str; 2] = ["disk_free_gb", "disk_full_in_hours"];
/// What the node exporter says of the files themselves.
const OF_THE_EXPORTER: &str = "node_textfile_scrape_error";
const TRAINER: &str = include_str!("../../../trainer/src/watched/status_file.rs");

fn docs(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(docs(name)).unwrap()
}

/// `health.prom` of a machine that has everything.
fn of_health() -> String {
    let unit = json!({"name": "azaion-queue.service", "active": "active", "sub": "running", "result": null, "says": null,
        "restarts": 0, "since": null});
    let gpu = json!({"name": "a GPU", "busy_pct": 97, "used_bytes": 8_000_000_000_u64, "total_bytes": 16_000_000_000_u64,
        "celsius": 71, "error": null});
    let status: Status = serde_json::from_value(json!({
        "version": 1, "at": "2026-03-28T14:30:00Z", "by": "azaion-health", "root": "/azaion",
        "verdict": {"grade": "ok", "line": "everything is well"},
        "readings": [{"check": "disk", "subject": "/azaion", "grade": "ok", "what": "40 % used"}],
        "alerts": [], "over": [],
        "queue": {"offset": 7, "lag": 0, "rate": 1.0, "quarantined": 2, "taken": []},
        "training": null, "gpus": [gpu],
        "disk": {"total": 100, "free": 60, "inodes_pct": 1.0, "full_in": "PT31H"},
        "folders": {"at": "2026-03-28T14:30:00Z", "bytes": [["datasets", 10], ["models", 20]]},
        "units": [unit], "model": null, "full_at": null,
        "backups": {
            "version": 1, "repository": "/srv/backup",
            "backup": {"at": 1, "snapshot": "a", "offset": 7, "files": 1, "bytes": 1, "added_bytes": 1, "duration_s": 1.0},
            "check": null,
            "drill": {"at": 2, "snapshot": "a", "files": 1, "same_in_tree": 1, "model": "asked", "problems": []},
            "error": null,
        },
    }))
    .unwrap();
    metrics::text(&status)
}

/// `queue.prom` of a queue at work.
fn of_the_queue() -> String {
    let root = tempfile::tempdir().unwrap();
    let progress = Progress {
        counters: Counters::default(),
        next_offset: 7,
        link: stream::Link {
            last_offset: Some(9),
            ..stream::Link::default()
        },
        attempts: 1,
        blocked: None,
    };
    Writer::new(root.path()).hear(&progress, 1.0, Instant::now());
    fs::read_to_string(root.path().join("status/metrics/queue.prom")).unwrap()
}

/// Every metric that is written.
fn written() -> BTreeSet<String> {
    let text = of_health() + &of_the_queue();
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let code = TRAINER.split("#[cfg(test)]").next().unwrap();
    let quoted = code.split('"').filter(|text| text.starts_with("training_"));
    typed
        .filter_map(|line| line.split(' ').next())
        .chain(quoted)
        .map(str::to_owned)
        .collect()
}

/// The metrics that an expression asks for: words with an underscore that are no function, outside of selectors and quotes.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(c) = rest.chars().next() {
        if let Some(end) = "{[".contains(c).then(|| rest.find(['}', ']']).unwrap()) {
            rest = &rest[end + 1..];
            continue;
        }
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length.max(c.len_utf8()));
        if word.contains('_') && !after.starts_with('(') {
            found.insert(word.to_owned());
        }
        rest = after;
    }
    found
}

/// Every text that stands under this key, however deep.
fn texts(value: &Value, key: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == key => vec![text.clone()],
                other => texts(other, key),
            })
            .collect(),
        Value::Array(all) => all.iter().flat_map(|one| texts(one, key)).collect(),
        _ => Vec::new(),
    }
}

fn shown() -> Value {
    serde_json::from_str(&read("monitoring/azaion-dashboard.json")).unwrap()
}

fn rules() -> Value {
    serde_saphyr::from_str(&read("monitoring/azaion-rules.yml")).unwrap()
}

fn asked_by(document: &Value) -> BTreeSet<String> {
    texts(document, "expr")
        .iter()
        .flat_map(|text| metrics_in(text))
        .collect()
}

#[test]
fn an_expression_tells_which_metrics_it_asks_for() {
    let asked =
        metrics_in("max_over_time(a_b{x_y=\"c_d\"}[5m]) > 0 and on (instance) (e_f == 1) or time() - g_h");
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["a_b", "e_f", "g_h"]);
}

#[test]
fn every_name_of_met_1_is_written_and_on_the_dashboard() {
    let (written, shown) = (written(), asked_by(&shown()));
    for name in MET_1 {
        assert!(written.contains(name), "{name} is not written: {written:?}");
        assert!(shown.contains(name), "{name} is in no panel");
    }
}

#[test]
fn dashboard_and_rules_name_only_what_is_written_and_the_dashboard_names_all_of_it() {
    let (written, shown, ruled) = (written(), asked_by(&shown()), asked_by(&rules()));
    assert_eq!(shown, written);
    for name in &ruled {
        assert!(
            written.contains(name) || name == OF_THE_EXPORTER,
            "nobody writes {name}"
        );
    }
}

#[test]
fn the_dashboard_is_the_one_that_its_source_makes() {
    let (file, text) = (docs("monitoring/azaion-dashboard.json"), dashboard::text());
    if std::env::var_os("AZAION_WRITE_DOCS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        text,
        "AZAION_WRITE_DOCS=1 cargo test -p health --test monitoring writes it"
    );
}

#[test]
fn the_dashboard_takes_its_data_from_a_variable_and_its_panels_do_not_overlap() {
    let dashboard = shown();
    let sources: BTreeSet<String> = texts(&dashboard["panels"], "uid").into_iter().collect();
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), ["${DS_PROMETHEUS}"]);
    let names = texts(&dashboard["templating"], "name");
    assert!(names.contains(&"DS_PROMETHEUS".to_owned()), "{names:?}");
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for cell in (place("x")..place("x") + place("w"))
            .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(cell), "{} overlaps", panel["title"]);
        }
    }
}

/// A document's headings, as a link names them.
fn anchors(name: &str) -> BTreeSet<String> {
    read(name)
        .lines()
        .filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect()
}

#[test]
fn every_rule_leads_to_an_entry_that_is_there() {
    let rules = rules();
    let links = texts(&rules, "runbook");
    assert_eq!(links.len(), texts(&rules, "alert").len());
    for link in links.iter().filter(|link| !link.contains("{{")) {
        let (file, anchor) = link.split_once('#').unwrap();
        let file = file.strip_prefix("docs/").unwrap();
        assert!(anchors(file).contains(anchor), "no entry {link}");
    }
}

#[test]
fn every_link_within_the_runbook_leads_somewhere() {
    let (text, anchors) = (read("RUNBOOK.md"), anchors("RUNBOOK.md"));
    let links = text
        .split("](#")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    for link in links {
        assert!(anchors.contains(link), "no entry {link}");
    }
}

/// Asks promtool, or says that the test is skipped.
fn promtool(test: &str, folder: &Path, arguments: &[&str], input: Option<&str>) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.current_dir(folder).args(arguments);
    if let Some(text) = input {
        let file = folder.join("input");
        fs::write(&file, text).unwrap();
        command.stdin(fs::File::open(file).unwrap());
    }
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {test}: promtool cannot be run (Debian: package prometheus): {error}");
            None
        }
    }
}

#[test]
fn promtool_reads_the_files_and_has_nothing_against_them_but_names_that_are_given() {
    const TEST: &str = "promtool_reads_the_files_and_has_nothing_against_them_but_names_that_are_given";
    let folder = tempfile::tempdir().unwrap();
    for text in [of_health(), of_the_queue()] {
        let Some(output) = promtool(TEST, folder.path(), &["check", "metrics"], Some(&text)) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        // 3: read, and something about the style.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
        for line in said.lines() {
            let name = line.split(' ').next().unwrap();
            assert!(MET_1.contains(&name) || LIKE_THOSE.contains(&name), "{line}");
        }
    }
}

#[test]
fn promtool_sees_the_rules_fire_as_they_should() {
    const TEST: &str = "promtool_sees_the_rules_fire_as_they_should";
    let folder = tempfile::tempdir().unwrap();
    let rules = docs("monitoring/azaion-rules.yml");
    fs::copy(&rules, folder.path().join("azaion-rules.yml")).unwrap();
    fs::write(folder.path().join("tests.yml"), rule_tests()).unwrap();
    for arguments in [
        ["check", "rules", "azaion-rules.yml"],
        ["test", "rules", "tests.yml"],
    ] {
        let Some(output) = promtool(TEST, folder.path(), &arguments, None) else {
            return;
        };
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&said)
        );
    }
}

/// promtool's own tests: an alert of every kind is passed on with a link to its entry, and silence is noticed.
fn rule_tests() -> String {
    let series = |name: &str, values: &str| json!({"series": name, "values": values});
    let kinds = KINDS.iter().map(|kind| {
        let labels = format!(
            "code=\"{}\", severity=\"{}\", title=\"{}\"",
            kind.code, kind.severity, kind.title
        );
        series(
            &format!("azaion_alert_firing{{{labels}, instance=\"cells\"}}"),
            "0 1 1 0",
        )
    });
    let passed_on = KINDS.iter().map(|kind| {
        json!({
            "exp_labels": {"code": kind.code, "severity": kind.severity, "title": kind.title, "instance": "cells"},
            "exp_annotations": {
                "summary": format!("{} {} on cells", kind.code, kind.title),
                "description": "`azaion alerts list` on that machine says what it is about, since when, and what to type next.",
                "runbook": format!("docs/RUNBOOK.md#{}", kind.anchor()),
            },
        })
    });
    let alert = |at: &str, name: &str, expected: Vec<Value>| json!({"eval_time": at, "alertname": name, "exp_alerts": expected});
    // Times in these tests begin at 0: a pass at 0 and none after it, a run that says nothing more but is under way.
    let stale = [
        series("health_updated_timestamp_seconds{instance=\"cells\"}", "0x60"),
        series("queue_updated_timestamp_seconds{instance=\"cells\"}", "0+60x60"),
        series("training_updated_timestamp_seconds{instance=\"cells\"}", "0x60"),
        series(
            "azaion_unit_active{instance=\"cells\", unit=\"azaion-queue.service\"}",
            "1x60",
        ),
        series(
            "azaion_unit_active{instance=\"cells\", unit=\"azaion-train.service\"}",
            "1x30 0x30",
        ),
    ];
    let counts = |expression: &str, value: u32| {
        let samples = match value {
            0 => json!([]),
            value => json!([{"labels": "{}", "value": value}]),
        };
        json!({"expr": expression, "eval_time": "30m", "exp_samples": samples})
    };
    let firing = |name: &str| format!("count(ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}})");
    json!({
        "rule_files": ["azaion-rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": kinds.collect::<Vec<_>>(),
                "alert_rule_test": [
                    alert("0m", "AzaionAlert", Vec::new()),
                    alert("2m", "AzaionAlert", passed_on.collect()),
                    alert("3m", "AzaionAlert", Vec::new()),
                ],
            },
            {
                "interval": "1m",
                "input_series": stale,
                "promql_expr_test": [
                    counts(&firing("AzaionHealthStale"), 1),
                    counts(&firing("AzaionTrainingStale"), 1),
                    counts(&firing("AzaionQueueStale"), 0),
                    counts(&firing("AzaionQueueAbsent"), 0),
                    counts(&firing("AzaionNothingHeard"), 0),
                ],
                "alert_rule_test": [alert("45m", "AzaionTrainingStale", Vec::new())],
            },
            {
                "interval": "1m",
                "input_series": [
                    series("azaion_unit_active{instance=\"cells\", unit=\"azaion-queue.service\"}", "1x60"),
                    series("health_updated_timestamp_seconds{instance=\"cells\"}", "0+60x5 stale"),
                ],
                "promql_expr_test": [
                    counts(&firing("AzaionMachineLost"), 1),
                    counts(&firing("AzaionQueueAbsent"), 1),
                    json!({"expr": firing("AzaionNothingHeard"), "eval_time": "40m",
                        "exp_samples": [{"labels": "{}", "value": 1}]}),
                ],
            },
        ],
    })
    .to_string()
}
