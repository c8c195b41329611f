//! `azaion alert UNIT`: the record that stays of a failure.

use crate::common::{azaion, program};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn records(root: &Path) -> Vec<Value> {
    let mut paths: Vec<_> = fs::read_dir(root.join("status/alerts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect()
}

fn alert(root: &Path, path: &Path) -> assert_cmd::Command {
    let mut command = azaion(&["alert", "azaion-queue.service", "--root"]);
    command.arg(root).env("PATH", path);
    command
}

#[test]
fn what_the_service_manager_and_the_journal_say_is_kept_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tree");
    program(
        &folder.path().join("systemctl"),
        "case \"$*\" in *azaion-queue.service) ;; *) exit 9 ;; esac; \
         echo 'Result=watchdog'; echo 'ExecMainStatus=6'; echo 'NRestarts=2'",
    );
    program(
        &folder.path().join("journalctl"),
        // As the real one it gives the fields that it is asked for, and answers to nothing else.
        r#"case " $* " in
             *" --unit azaion-queue.service "*) ;; *) exit 9 ;;
           esac
           case " $* " in *" --lines 20 --output json "*) ;; *) exit 9 ;; esac
           fields=none
           for argument in "$@"; do
             case "$argument" in --output-fields=*) fields=",${argument#--output-fields=}," ;; esac
           done
           entry='"__CURSOR":"c"'
           case "$fields" in *,MESSAGE,*) entry="$entry,\"MESSAGE\":\"queue ended\"" ;; esac
           case "$fields" in *,PRIORITY,*) entry="$entry,\"PRIORITY\":\"3\"" ;; esac
           case "$fields" in none|*,_CMDLINE,*) entry="$entry,\"_CMDLINE\":\"x --password s3cret\"" ;; esac
           echo "{$entry}""#,
    );
    alert(&root, folder.path()).assert().success().stderr(
        contains("ERROR")
            .and(contains("unit=azaion-queue.service"))
            .and(contains("result=watchdog")),
    );
    let records = records(&root);
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record["unit"], "azaion-queue.service");
    assert_eq!(
        (&record["state"]["result"], &record["state"]["restarts"]),
        (&json!("watchdog"), &json!(2))
    );
    assert_eq!(
        record["journal"],
        json!([{ "priority": 3, "message": "queue ended" }])
    );
    assert_eq!(record["missing"], json!([]));
    assert!(!record.to_string().contains("s3cret"));
}

#[test]
fn without_a_service_manager_the_record_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (root, none) = (folder.path().join("tree"), folder.path().join("none"));
    alert(&root, &none).assert().success();
    alert(&root, &none).assert().success();
    let records = records(&root);
    assert_eq!(records.len(), 2, "each failure has its own record");
    let missing = records[0]["missing"].to_string();
    assert!(
        missing.contains("systemctl") && missing.contains("journalctl"),
        "{missing}"
    );
}

#[test]
fn a_name_that_is_none_and_a_tree_that_takes_nothing_are_said() {
    for unit in ["../x", "--all", "a b"] {
        azaion(&["alert", "--root", "/nowhere", "--", unit])
            .assert()
            .code(64);
    }
    alert(Path::new("/proc/azaion"), Path::new("/nowhere"))
        .assert()
        .code(1)
        .stderr(contains("unit failed").and(contains("/proc/azaion")));
}
