//! A process that measures when asked: a line `CASE COUNT` in, a line of JSON out.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Place;
use super::plan::{Program, Spec};

/// How much of what a failed process said is repeated.
const TAIL_LINES: usize = 12;

/// What was measured in one turn.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// Seconds of each repetition.
    pub seconds: Vec<f64>,
    /// Images in each.
    pub images: f64,
    /// Seconds of each repetition's parts by name; empty where it has none.
    pub parts: Vec<Vec<(String, f64)>>,
}

/// A running contender.
pub(super) struct Contender {
    /// What it says about itself.
    pub facts: Value,
    label: &'static str,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Contender {
    /// Starts the process and waits until it is ready. What it says beside its answers goes to a file.
    pub fn start(spec: &Spec, place: &Place<'_>) -> anyhow::Result<Self> {
        let slug = spec.label.replace([' ', ','], "-");
        let log = place.scratch.join(format!("{slug}.log"));
        let mut child = command(spec, place, &slug)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{}: cannot be started", spec.label))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{}: has no pipes", spec.label);
        };
        let mut contender = Self {
            facts: Value::Null,
            label: spec.label,
            child,
            requests: Some(requests),
            answers: BufReader::new(answers),
            log,
        };
        contender.facts = contender.line()?;
        Ok(contender)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has a case measured `count` times.
    pub fn ask(&mut self, case: &str, count: usize) -> anyhow::Result<Answer> {
        let sent = match &mut self.requests {
            Some(requests) => writeln!(requests, "{case} {count}").and_then(|()| requests.flush()),
            None => Ok(()),
        };
        let answer = self.line()?;
        sent?;
        parse(&answer).with_context(|| format!("{}: not an answer: {answer}", self.label))
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or(&[]);
            bail!("{}: ended early. It said:\n{}", self.label, tail.join("\n"));
        }
        serde_json::from_str(&line).with_context(|| format!("{}: not JSON: {line}", self.label))
    }
}

impl Drop for Contender {
    /// The end of its input is the end of its work.
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}

fn command(spec: &Spec, place: &Place<'_>, slug: &str) -> anyhow::Result<Command> {
    Ok(match spec.program {
        Program::Ours { arguments, scenes } => {
            let mut command = Command::new(place.ours);
            command.args(arguments).args(scenes.then_some(place.scenes));
            command
        }
        Program::Peer { script, how, scenes } => {
            let own = place.scratch.join(slug);
            std::fs::create_dir_all(&own)?;
            let mut command = Command::new(place.python);
            command
                .arg(place.scripts.join(script))
                .args(how)
                .arg(if scenes { place.scenes } else { &own })
                .env("YOLO_OFFLINE", "true")
                .env("PYTHONDONTWRITEBYTECODE", "1");
            command
        }
    })
}

fn parse(answer: &Value) -> Option<Answer> {
    let numbers = |values: &Value| {
        values
            .as_array()?
            .iter()
            .map(Value::as_f64)
            .collect::<Option<Vec<_>>>()
    };
    let part = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_f64()?));
    let parts = |one: &Value| one.as_array()?.iter().map(part).collect::<Option<Vec<_>>>();
    Some(Answer {
        seconds: numbers(&answer["seconds"])?,
        images: answer["images"].as_f64()?,
        parts: answer["parts"]
            .as_array()?
            .iter()
            .map(parts)
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A shell script in the place of our program.
    fn start(script: &str) -> (tempfile::TempDir, anyhow::Result<Contender>) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("bench");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place {
            ours: &program,
            python: Path::new("/nowhere"),
            scripts: Path::new("/nowhere"),
            scratch: dir.path(),
            scenes: Path::new("/nowhere"),
        };
        let spec = Spec {
            label: "stand in",
            program: Program::Ours {
                arguments: &["step"],
                scenes: false,
            },
        };
        let started = Contender::start(&spec, &place);
        (dir, started)
    }

    #[test]
    fn it_answers_what_it_is_asked() {
        let (_dir, started) = start(
            r#"echo '{"threads":2}'
            while read case count; do echo '{"seconds":[0.5],"images":8,"parts":[[["loss",0.1]]]}'; done"#,
        );
        let mut contender = started.unwrap();
        assert_eq!(contender.facts["threads"], 2);
        let answer = contender.ask("320", 1).unwrap();
        assert_eq!((answer.seconds, answer.images), (vec![0.5], 8.0));
        assert_eq!(answer.parts, [[("loss".to_owned(), 0.1)]]);
    }

    #[test]
    fn one_that_dies_is_quoted() {
        let (_dir, started) = start("echo 'no module named onnx' >&2; exit 1");
        let text = started.err().unwrap().to_string();
        assert!(
            text.contains("stand in") && text.contains("no module named onnx"),
            "{text}"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let (_dir, started) = start("echo '{}'; read line; echo '{\"seconds\":[\"fast\"]}'");
        let text = started.unwrap().ask("320", 1).unwrap_err().to_string();
        assert!(text.contains("not an answer"), "{text}");
    }
}
