//! The packages that cargo resolves: who depends on whom (`cargo metadata`), and what a program is made of (`cargo tree`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::workspace::Workspace;

/// What the suite runs on; packages for other systems are never built.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A program that is handed on, and the package of the workspace that builds it.
#[derive(Debug, Clone, Copy)]
pub struct Shipped {
    /// The package.
    pub package: &'static str,
    /// Its program.
    pub program: &'static str,
}

/// Every program that is handed on. The packages of `nixos-module/packages` are the same ones.
pub const SHIPPED: [Shipped; 5] = [
    Shipped {
        package: "cli",
        program: "azaion",
    },
    Shipped {
        package: "queue",
        program: "azaion-queue",
    },
    Shipped {
        package: "backup",
        program: "azaion-backup",
    },
    Shipped {
        package: "health",
        program: "azaion-health",
    },
    Shipped {
        package: "trainer",
        program: "azaion-train",
    },
];

/// A package, as name and version: cargo resolves no two that agree in both.
pub type Name = (String, String);

/// All packages, whoever needs them.
#[derive(Debug)]
pub struct Packages {
    by_id: BTreeMap<String, Value>,
    /// Packages that a package needs to run: no build scripts' and no tests' ones.
    needs: BTreeMap<String, Vec<String>>,
    /// Packages that it needs in any way.
    touches: BTreeMap<String, Vec<String>>,
    members: Vec<String>,
}

impl Packages {
    /// Asks cargo.
    ///
    /// # Errors
    /// cargo fails, or says something else than it should.
    pub fn load(workspace: &Workspace) -> anyhow::Result<Self> {
        let said = ask(
            workspace,
            &[
                "metadata",
                "--format-version=1",
                "--locked",
                "--filter-platform",
                TARGET,
            ],
        )?;
        Self::parse(&said).context("cargo metadata said something else than it should")
    }

    fn parse(json: &str) -> anyhow::Result<Self> {
        let said: Value = serde_json::from_str(json)?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().map(str::to_owned).context("a word is missing");
        let mut packages = Self {
            by_id: BTreeMap::new(),
            needs: BTreeMap::new(),
            touches: BTreeMap::new(),
            members: list(&said["workspace_members"])
                .iter()
                .map(word)
                .collect::<Result<_, _>>()?,
        };
        for package in list(&said["packages"]) {
            packages.by_id.insert(word(&package["id"])?, package);
        }
        for node in list(&said["resolve"]["nodes"]) {
            let (mut needs, mut touches) = (Vec::new(), Vec::new());
            for dependency in list(&node["deps"]) {
                let id = word(&dependency["pkg"])?;
                // A kind of null is a normal one.
                if list(&dependency["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
                {
                    needs.push(id.clone());
                }
                touches.push(id);
            }
            let id = word(&node["id"])?;
            packages.needs.insert(id.clone(), needs);
            packages.touches.insert(id, touches);
        }
        Ok(packages)
    }

    /// Ids and cargo's words on those packages of `wanted` that there are.
    pub fn of<'a>(&'a self, wanted: &'a BTreeSet<Name>) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.by_id
            .iter()
            .filter(|(_, package)| wanted.contains(&name(package)))
            .map(|(id, package)| (id.as_str(), package))
    }

    /// What the package `id` needs to run, by id.
    #[must_use]
    pub fn needs(&self, id: &str) -> &[String] {
        self.needs.get(id).map_or(&[], Vec::as_slice)
    }

    /// Names of the workspace's packages that can be built and tested without the package `left_out`.
    #[must_use]
    pub fn members_without(&self, left_out: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .members
            .iter()
            .filter(|id| !self.reaches(id, left_out))
            .filter_map(|id| self.by_id.get(id))
            .map(|package| name(package).0)
            .collect();
        names.sort();
        names
    }

    fn reaches(&self, id: &str, wanted: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self
                .by_id
                .get(id)
                .is_some_and(|package| package["name"] == wanted)
            {
                return true;
            }
            open.extend(self.touches.get(id).into_iter().flatten().map(String::as_str));
        }
        false
    }
}

/// The name and version of a package of `cargo metadata`.
#[must_use]
pub fn name(package: &Value) -> Name {
    let word = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    (word("name"), word("version"))
}

/// What is in the program of `package`: itself and what it needs to run, with the features that it is built with by itself.
/// Build scripts, macros and tests leave nothing in it but what they made.
///
/// # Errors
/// cargo fails, or says something else than it should.
pub fn parts(workspace: &Workspace, package: &str) -> anyhow::Result<BTreeSet<Name>> {
    let said = ask(
        workspace,
        &[
            "tree",
            "--locked",
            "--package",
            package,
            "--edges=normal,no-proc-macro",
            "--target",
            TARGET,
            "--prefix=none",
            "--format={p}",
        ],
    )?;
    tree(&said).with_context(|| format!("cargo tree --package {package} said something else than it should"))
}

/// Lines such as `lime v1.2.0 (/its/folder) (*)`.
fn tree(lines: &str) -> anyhow::Result<BTreeSet<Name>> {
    lines
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            match (
                words.next(),
                words.next().and_then(|version| version.strip_prefix('v')),
            ) {
                (Some(name), Some(version)) => Ok((name.to_owned(), version.to_owned())),
                _ => bail!("`{line}` names no package"),
            }
        })
        .collect()
}

fn ask(workspace: &Workspace, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = workspace.cargo();
    let output = command.args(arguments).output().context("cannot start cargo")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("cargo {}: {}", arguments.join(" "), why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tree_are_names_and_versions() {
        let parts = tree("queue v0.1.0 (/w/src/queue)\nbytes v1.12.1\n\nbytes v1.12.1 (*)\n").unwrap();
        let names: Vec<_> = parts
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        assert_eq!(names, ["bytes 1.12.1", "queue 0.1.0"]);
        assert!(tree("error: no such package\n").is_err());
    }

    #[test]
    fn what_tests_need_is_touched_and_not_needed() {
        let dependency =
            |id: &str, kind: &str| format!(r#"{{"pkg": "{id}", "dep_kinds": [{{"kind": {kind}}}]}}"#);
        let package = |name: &str| format!(r#"{{"id": "{name}", "name": "{name}", "version": "1.0.0"}}"#);
        let json = format!(
            r#"{{"workspace_members": ["queue", "store"], "packages": [{}, {}, {}],
                "resolve": {{"nodes": [{{"id": "queue", "deps": [{}, {}]}}, {{"id": "store", "deps": []}}]}}}}"#,
            package("queue"),
            package("store"),
            package("lime"),
            dependency("store", "null"),
            dependency("lime", "\"dev\""),
        );
        let packages = Packages::parse(&json).unwrap();
        assert_eq!(packages.needs("queue"), ["store"]);
        assert_eq!(packages.members_without("lime"), ["store"]);
        assert!(Packages::parse("{}").unwrap().members_without("lime").is_empty());
    }
}
