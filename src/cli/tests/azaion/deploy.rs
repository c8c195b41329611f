//! `azaion deploy` with a service manager and a journal of the test's own: what is decided on which answers, what is asked
//! and told, and what is left. The same on a real systemd is tested in src/suite.

use crate::common::{azaion, last_line, program};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

const QUEUE: &str = "azaion-queue.service";
/// Answers from files: `UNIT` for `show`, written anew by a restart from what the profile's generation holds. It refuses what the
/// real one would not know, and writes down all that it is told.
const SYSTEMCTL: &str = r#"
echo "$*" >> "$HERE/told"
case "$1" in
show)
  case "$2" in --property=LoadState,ActiveState,SubState,Job,Result,MainPID,InvocationID,*) ;; *) exit 9 ;; esac
  test "$3" = -- || exit 9
  cat "$HERE/units/$4" 2>/dev/null || echo LoadState=not-found
  ;;
restart)
  test "$2" = --no-block || exit 9
  cp "$HERE/profile/after-restart" "$HERE/units/$3"
  test ! -e "$HERE/profile/offset" || cp "$HERE/profile/offset" "$HERE/tree/offset.yaml"
  ;;
daemon-reload | reset-failed | kill) ;;
*) exit 9 ;;
esac"#;
/// Gives the fields that it is asked for, of the units that it is asked for.
const JOURNALCTL: &str = r#"
units= fields= lines=
while test $# -gt 0; do
  case "$1" in
  --unit) units="$units $2"; shift ;;
  --lines) lines=$2; shift ;;
  --output) test "$2" = json || exit 9; shift ;;
  --output-fields=*) fields="${1#*=}" ;;
  --no-pager | --quiet) ;;
  *) exit 9 ;;
  esac
  shift
done
test -n "$lines" || exit 9
for unit in $units; do
  cat "$HERE/journal/$unit" 2>/dev/null
done | sed "s/@NOW@/$(date +%s)999999/" | while read -r entry; do
  for field in MESSAGE PRIORITY _SYSTEMD_UNIT _SYSTEMD_INVOCATION_ID; do
    case ",$fields," in *,$field,*) ;; *) entry=$(echo "$entry" | sed "s/,\"$field\":\"[^\"]*\"//") ;; esac
  done
  echo "$entry"
done"#;

/// A machine with a profile of one generation, whose queue is active.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["bin", "units", "journal", "tree", "system"] {
            fs::create_dir(host.at(name)).unwrap();
        }
        let here = format!("HERE={}\n", host.folder.path().display());
        program(&host.at("bin/systemctl"), &format!("{here}{SYSTEMCTL}"));
        program(&host.at("bin/journalctl"), &format!("{here}{JOURNALCTL}"));
        // Nobody listens at port 1, so the broker says nothing and the queue's own word counts.
        let config = format!("root_dir: {}\nrabbitmq: {{port: 1}}\n", host.at("tree").display());
        fs::write(host.at("config.yaml"), config).unwrap();
        fs::write(host.at("tree/offset.yaml"), "version: 1\noffset: 5\n").unwrap();
        host.queue("active", "SubState=running\nInvocationID=one\nMainPID=11\n");
        host.generation("one", "active", "InvocationID=one-again\nMainPID=12\n", 6);
        std::os::unix::fs::symlink(host.at("one"), host.at("profile-1-link")).unwrap();
        std::os::unix::fs::symlink("profile-1-link", host.at("profile")).unwrap();
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn queue(&self, active: &str, more: &str) {
        let text = format!("LoadState=loaded\nActiveState={active}\n{more}");
        fs::write(self.at("units").join(QUEUE), text).unwrap();
    }

    /// A generation whose queue is so after a restart, and has come to this offset.
    fn generation(&self, name: &str, active: &str, more: &str, offset: u64) {
        let folder = self.at(name);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("lib/systemd/system")).unwrap();
        program(&folder.join("bin/azaion-queue"), "exit 1");
        self.check(name, r#"{"problems":0,"notes":0,"checks":[]}"#, 0);
        for unit in [QUEUE, "azaion.target"] {
            fs::write(folder.join("lib/systemd/system").join(unit), name).unwrap();
        }
        let state = format!(
            "LoadState=loaded\nActiveState={active}\nSubState=running\nResult=exit-code\n\
             StatusText=offset {offset}, 0.0 messages/s, lag 0, 0 in quarantine since the start\n{more}"
        );
        fs::write(folder.join("after-restart"), state).unwrap();
        fs::write(folder.join("offset"), format!("version: 1\noffset: {offset}\n")).unwrap();
    }

    /// What the generation's own `azaion check` says.
    fn check(&self, name: &str, report: &str, code: u8) {
        let script = format!(
            "case \"$*\" in \"check --json --skip labels --skip training --config \"*) ;; *) exit 64 ;; esac\n\
             echo '{report}'\nexit {code}"
        );
        program(&self.at(name).join("bin/azaion"), &script);
    }

    fn entry(&self, unit: &str, invocation: &str, priority: u8, message: &str) {
        let entry = format!(
            r#"{{"__REALTIME_TIMESTAMP":"@NOW@","MESSAGE":"{message}","PRIORITY":"{priority}","_SYSTEMD_UNIT":"{unit}","_SYSTEMD_INVOCATION_ID":"{invocation}","_CMDLINE":"--password s3cret"}}"#
        );
        let path = self.at("journal").join(unit);
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{before}{entry}\n")).unwrap();
    }

    fn deploy(&self, verb: &[&str]) -> Output {
        let mut command = azaion(&["deploy"]);
        command.args(verb).arg("--json");
        command.arg("--config").arg(self.at("config.yaml"));
        command.arg("--state").arg(self.at("state"));
        let path = format!("{}:/usr/bin:/bin", self.at("bin").display());
        command.env("PATH", path).output().unwrap()
    }

    /// `switch` to a generation: exit code, record, and what was said beside it.
    fn switch(&self, name: &str) -> (i32, Value, String) {
        let path = self.at(name);
        self.change(&["switch", path.to_str().unwrap()])
    }

    fn change(&self, verb: &[&str]) -> (i32, Value, String) {
        let (profile, units) = (self.at("profile"), self.at("system"));
        let places = [
            "--profile",
            profile.to_str().unwrap(),
            "--units",
            units.to_str().unwrap(),
        ];
        let (options, command) = match verb.iter().position(|word| *word == "--") {
            Some(at) => verb.split_at(at),
            None => (verb, &[][..]),
        };
        let mut all = azaion(&["deploy"]);
        all.args(options).args(places).args(["--within", "15s", "--json"]);
        all.arg("--config").arg(self.at("config.yaml"));
        all.arg("--state").arg(self.at("state")).args(command);
        let path = format!("{}:/usr/bin:/bin", self.at("bin").display());
        let done = all.env("PATH", path).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let told = match done.stdout.is_empty() {
            true => Value::Null,
            false => last_line(&done.stdout),
        };
        (done.status.code().unwrap(), told, said)
    }

    fn points_at(&self) -> PathBuf {
        fs::read_link(self.at("profile")).unwrap()
    }

    fn told(&self) -> String {
        fs::read_to_string(self.at("told")).unwrap_or_default()
    }
}

#[test]
fn a_version_that_works_is_confirmed_and_only_the_queue_is_restarted() {
    let host = Host::new();
    host.generation("two", "active", "InvocationID=two\nMainPID=21\n", 5);
    host.entry(QUEUE, "one", 3, "an error of the version before");
    host.entry(QUEUE, "two", 6, "queue is ready");
    let run = "LoadState=loaded\nActiveState=active\nMainPID=77\nInvocationID=run\n";
    fs::write(host.at("units/azaion-train.service"), run).unwrap();
    let (code, record, said) = host.switch("two");
    assert_eq!(code, 0, "{record:#}\n{said}");
    assert_eq!(
        record["training"],
        serde_json::json!({ "run": "untouched", "pid": 77 })
    );
    assert_eq!(host.points_at(), Path::new("profile-2-link"));
    let unit = host.at("system").join(QUEUE);
    assert_eq!(
        fs::read_to_string(unit).unwrap(),
        "two",
        "systemd finds the new unit"
    );
    let told: Vec<_> = host
        .told()
        .lines()
        .filter(|line| !line.starts_with("show"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        told,
        [
            "reset-failed azaion-queue.service azaion-config.service",
            "daemon-reload",
            "restart --no-block azaion-queue.service"
        ]
    );
    let (code, record, _) = host.change(&["rollback"]);
    assert_eq!((code, &record["outcome"]), (0, &"confirmed".into()), "{record:#}");
    assert_eq!(host.points_at(), Path::new("profile-1-link"));
}

#[test]
fn one_that_fails_is_rolled_back_and_its_journal_kept_without_what_is_not_to_be_shown() {
    let host = Host::new();
    host.generation("two", "failed", "InvocationID=two\n", 5);
    host.entry(QUEUE, "two", 3, "out of apples");
    host.entry("azaion-config.service", "check", 3, "no such fruit");
    let (code, record, said) = host.switch("two");
    assert_eq!(code, 3, "{record:#}\n{said}");
    assert_eq!(record["outcome"], "rolled-back");
    assert_eq!(host.points_at(), Path::new("profile-1-link"));
    let path = said
        .lines()
        .find_map(|line| line.strip_prefix("report: "))
        .unwrap();
    let kept = fs::read_to_string(path).unwrap();
    assert!(
        kept.contains("out of apples") && kept.contains("no such fruit"),
        "{kept}"
    );
    let text = fs::read_to_string(path.replace(".json", ".txt")).unwrap();
    assert!(text.contains("azaion-queue <3> out of apples"), "{text}");
    assert!(!kept.contains("s3cret") && !text.contains("s3cret"));
}

#[test]
fn errors_in_the_journal_refuse_a_version_that_runs() {
    let host = Host::new();
    host.generation("two", "active", "InvocationID=two\nMainPID=21\n", 5);
    host.entry(QUEUE, "two", 2, "the tree is gone");
    let (code, record, _) = host.switch("two");
    assert_eq!(code, 3, "{record:#}");
    assert!(
        record["attempt"]["confirmation"]
            .to_string()
            .contains("the tree is gone")
    );
}

#[test]
fn where_the_version_before_does_not_work_either_that_is_said() {
    let host = Host::new();
    host.generation("two", "failed", "InvocationID=two\n", 5);
    host.generation("one", "failed", "InvocationID=one-again\n", 5);
    let (code, record, _) = host.switch("two");
    assert_eq!(
        (code, &record["outcome"]),
        (4, &"rollback-failed".into()),
        "{record:#}"
    );
    let (code, record, said) = host.change(&["rollback", "--to", "2"]);
    assert_eq!(
        (code, &record["outcome"]),
        (1, &"failed".into()),
        "{record:#}\n{said}"
    );
}

#[test]
fn what_the_preflight_finds_changes_nothing() {
    let host = Host::new();
    host.generation("two", "active", "InvocationID=two\nMainPID=21\n", 5);
    host.check(
        "two",
        r#"{"problems":1,"notes":0,"checks":[{"check":"configuration","findings":[{"grade":"problem","place":"x","what":"no key fruits","next":null}]}]}"#,
        2,
    );
    for (name, why) in [("two", "no key fruits"), ("tree", "has no program")] {
        let (code, report, said) = host.switch(name);
        assert_eq!(code, 2, "{report:#}\n{said}");
        assert!(report.to_string().contains(why), "{report:#}");
    }
    // A report that is not understood, and one that does not say what the exit code does.
    for (report, code) in [
        ("rubbish", 0),
        ("rubbish", 2),
        (r#"{"problems":0,"notes":0,"checks":[]}"#, 2),
        ("", 1),
    ] {
        host.check("two", report, code);
        assert_eq!(host.switch("two").0, 2, "{report} {code}");
    }
    host.check("two", r#"{"problems":0,"notes":0,"checks":[]}"#, 0);
    fs::write(host.at("system").join(QUEUE), "an operator's").unwrap();
    let (code, report, _) = host.switch("two");
    assert!(
        code == 2 && report.to_string().contains("stands where"),
        "{report:#}"
    );
    assert_eq!(host.points_at(), Path::new("profile-1-link"));
    assert!(!host.told().contains("restart"));
    assert_eq!(
        fs::read_to_string(host.at("system").join(QUEUE)).unwrap(),
        "an operator's"
    );
}

#[test]
fn a_command_is_not_run_where_the_preflight_finds_something() {
    let host = Host::new();
    let ran = host.at("ran");
    let (code, report, _) = host.change(&["switch", "--", "touch", ran.to_str().unwrap()]);
    assert!(code == 2 && report.to_string().contains("broker"), "{report:#}");
    assert!(!ran.exists());
}

#[test]
fn a_second_deploy_is_told_who_is_at_it_and_bad_usage_is_64() {
    let host = Host::new();
    fs::create_dir(host.at("state")).unwrap();
    let lock = fs::File::create(host.at("state/lock")).unwrap();
    fs::write(
        host.at("state/lock"),
        "process 4, since noon: switch to /store/x\n",
    )
    .unwrap();
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    host.generation("two", "active", "InvocationID=two\nMainPID=21\n", 5);
    let (code, _, said) = host.switch("two");
    assert!(
        code == 75 && said.contains("process 4, since noon: switch to /store/x"),
        "{said}"
    );
    assert_eq!(host.change(&["rollback"]).0, 75);
    drop(held);
    for verb in [
        &["switch"][..],
        &["switch", "/a", "--", "true"],
        &["confirm", "--within", "soon"],
        &["rollback", "--to", "one"],
    ] {
        assert_eq!(host.deploy(verb).status.code(), Some(64), "{verb:?}");
    }
}

#[test]
fn a_deploy_that_was_cut_off_is_named_and_settled_by_a_confirmation() {
    let host = Host::new();
    fs::create_dir(host.at("state")).unwrap();
    let left = serde_json::json!({
        "time": "2026-01-02T03:04:05Z", "pid": 4, "profile": host.at("profile"), "to": "/store/pears",
        "from": { "number": 1, "path": host.at("one") },
    });
    fs::write(host.at("state/unfinished.json"), left.to_string()).unwrap();
    host.queue("failed", "InvocationID=one\nResult=signal\n");
    let done = host.deploy(&["confirm", "--within", "15s"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("/store/pears") && said.contains("was cut off"),
        "{said}"
    );

    host.queue(
        "active",
        "InvocationID=one\nMainPID=11\nStatusText=offset 5, lag 0, x\n",
    );
    let done = host.deploy(&["confirm", "--within", "30s"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(
        done.status.code(),
        Some(0),
        "{said}{}",
        String::from_utf8_lossy(&done.stdout)
    );
    assert!(said.contains("is confirmed now"), "{said}");
    assert!(!host.at("state/unfinished.json").exists());
}
