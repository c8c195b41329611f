//! What is searched: files of the tree as git lists them (also those that are new and not ignored), and every file and
//! message of the history behind HEAD, each of them once however many commits hold it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

/// A file of the history, or the message of a commit.
pub(super) struct Object {
    /// Its hash.
    pub(super) hash: String,
    /// Where it was once in the tree; empty for a commit.
    pub(super) path: String,
    /// What it holds.
    pub(super) data: Vec<u8>,
}

/// Files of the tree, from its root.
pub(super) fn tree(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = git(
        root,
        &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    )?;
    let files = listed
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()));
    // A link leads out of the tree, or to what is listed by itself.
    Ok(files
        .filter(|file| {
            root.join(file)
                .symlink_metadata()
                .is_ok_and(|meta| meta.is_file())
        })
        .collect())
}

/// Hands every object of the history to `each`.
pub(super) fn history(root: &Path, mut each: impl FnMut(&Object)) -> anyhow::Result<()> {
    if git(root, &["rev-parse", "--is-shallow-repository"])?.starts_with(b"true") {
        bail!("this clone is shallow, its history cannot be searched: git fetch --unshallow");
    }
    let listed = git(root, &["rev-list", "--objects", "HEAD"])?;
    let listed = String::from_utf8_lossy(&listed);
    let objects: Vec<(&str, &str)> = listed
        .lines()
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .collect();
    let mut asked = tempfile::tempfile()?;
    for (hash, _) in &objects {
        writeln!(asked, "{hash}")?;
    }
    asked.rewind()?;
    let mut reader = start(root, asked)?;
    for (hash, path) in objects {
        let (kind, data) = reader.next()?;
        if kind == "blob" || kind == "commit" {
            each(&Object {
                hash: hash.to_owned(),
                path: path.to_owned(),
                data,
            });
        }
    }
    Ok(())
}

/// The first commit that has an object, in short.
pub(super) fn first_commit(root: &Path, object: &Object) -> String {
    if object.path.is_empty() {
        return object.hash.chars().take(10).collect();
    }
    let find = format!("--find-object={}", object.hash);
    git(root, &["log", "--format=%h", "--reverse", &find, "HEAD"])
        .ok()
        .and_then(|said| String::from_utf8_lossy(&said).lines().next().map(str::to_owned))
        .unwrap_or_default()
}

fn git(root: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// `git cat-file --batch`, which answers in the order in which it is asked.
struct Objects {
    child: Child,
    answers: BufReader<ChildStdout>,
}

fn start(root: &Path, asked: File) -> anyhow::Result<Objects> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["cat-file", "--batch"])
        .stdin(asked)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start git")?;
    let answers = child.stdout.take().context("git cat-file gives no answers")?;
    Ok(Objects {
        child,
        answers: BufReader::new(answers),
    })
}

impl Objects {
    /// Kind and bytes of the next object: a line `HASH KIND SIZE`, so many bytes, a line's end.
    fn next(&mut self) -> anyhow::Result<(String, Vec<u8>)> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut words = line.split_whitespace().skip(1);
        let (Some(kind), Some(size)) = (
            words.next(),
            words.next().and_then(|size| size.parse::<u64>().ok()),
        ) else {
            bail!("git cat-file said `{}`", line.trim());
        };
        let mut data = Vec::new();
        self.answers.by_ref().take(size).read_to_end(&mut data)?;
        self.answers.by_ref().take(1).read_to_end(&mut Vec::new())?;
        Ok((kind.to_owned(), data))
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // It ends by itself when its last answer is read; after an error nobody reads it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
