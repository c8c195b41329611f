//! `cargo xtask sbom`: what is shipped, part by part, as CycloneDX 1.6 in JSON: the three programs, the packages that are in
//! them (not those of tests, macros and build scripts), and the libtorch they are linked to, with licences and SHA-256.
//!
//! The same commit gives the same bytes: the time is the commit's, the serial number a hash of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::digest;
use crate::libtorch::Recipe;
use crate::packages::{Name, Packages, SHIPPED, name, parts};
use crate::workspace::Workspace;

/// The package through which libtorch is linked.
const LINKS_LIBTORCH: &str = "torch-sys";
/// Licences of what is kept of the wheels, by project: PyTorch's own text, NVIDIA's end user agreement.
const WHEEL_LICENCES: [(&str, &str); 3] = [
    ("torch", "BSD-3-Clause"),
    ("nvidia-cuda-runtime", "NVIDIA Proprietary Software"),
    ("nvidia-cuda-cupti", "NVIDIA Proprietary Software"),
];

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where it is written
    #[arg(long, value_name = "FILE", default_value = "target/sbom.cdx.json")]
    output: PathBuf,
}

/// Writes it where `options` say, relative to the workspace's root.
///
/// # Errors
/// cargo or git fails, or the file cannot be written.
pub fn run(options: &Options, workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let path = workspace.root().join(&options.output);
    write(workspace, &path)?;
    Ok(path)
}

/// Writes it to `path`.
///
/// # Errors
/// See [`run`].
pub fn write(workspace: &Workspace, path: &Path) -> anyhow::Result<()> {
    let bom = make(workspace)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, format!("{bom:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}

/// The list itself.
///
/// # Errors
/// cargo or git fails.
pub fn make(workspace: &Workspace) -> anyhow::Result<Value> {
    let packages = Packages::load(workspace)?;
    let mut shipped = BTreeSet::new();
    for program in SHIPPED {
        shipped.extend(parts(workspace, program.package)?);
    }
    let lock = fs::read_to_string(workspace.root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let (version, time) = version_and_time(workspace.root(), &packages, &shipped)?;
    let mut bom = Bom {
        packages: &packages,
        shipped: &shipped,
        checksums: checksums(&lock),
        recipe: Recipe::pinned(),
    }
    .value(&version, &time)?;
    let hash = digest::of_bytes(bom.to_string().as_bytes());
    bom["serialNumber"] = json!(serial_number(&hash));
    Ok(bom)
}

struct Bom<'a> {
    packages: &'a Packages,
    shipped: &'a BTreeSet<Name>,
    checksums: BTreeMap<Name, String>,
    recipe: Recipe,
}

impl Bom<'_> {
    fn value(&self, version: &str, time: &str) -> anyhow::Result<Value> {
        let found: Vec<(&str, &Value)> = self.packages.of(self.shipped).collect();
        if found.len() != self.shipped.len() {
            bail!(
                "cargo tree names {} packages, cargo metadata {}",
                self.shipped.len(),
                found.len()
            );
        }
        let references: BTreeMap<&str, String> = found
            .iter()
            .map(|(id, package)| (*id, reference(&name(package))))
            .collect();
        let wheels = self.recipe.wheels.iter();
        let wheel_references: Vec<String> = self
            .recipe
            .wheels
            .iter()
            .map(|wheel| purl(&wheel.project, &wheel.version))
            .collect();
        let components = found
            .iter()
            .map(|(_, package)| self.component(package))
            .chain(wheels.map(wheel_component))
            .collect::<Vec<_>>();
        let mut dependencies: Vec<Value> = found
            .iter()
            .map(|(id, package)| {
                let needed = self
                    .packages
                    .needs(id)
                    .iter()
                    .filter_map(|id| references.get(id.as_str()));
                let libtorch = (package["name"] == LINKS_LIBTORCH).then_some(&wheel_references);
                let needed: BTreeSet<&String> = needed.chain(libtorch.into_iter().flatten()).collect();
                json!({"ref": reference(&name(package)), "dependsOn": needed})
            })
            .collect();
        let programs: Vec<&String> = found
            .iter()
            .filter(|(_, package)| program(package).is_some())
            .filter_map(|(id, _)| references.get(id))
            .collect();
        dependencies.push(json!({"ref": "azaion", "dependsOn": programs}));
        Ok(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "timestamp": time,
                "component": {"type": "application", "bom-ref": "azaion", "name": "azaion", "version": version},
                "tools": {"components": [{"type": "application", "name": "cargo xtask sbom"}]},
            },
            "components": components,
            "dependencies": dependencies,
        }))
    }

    fn component(&self, package: &Value) -> Value {
        let (name, version) = name(package);
        let reference = reference(&(name.clone(), version.clone()));
        let mut component = json!({
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "scope": "required",
        });
        if let Some(program) = program(package) {
            component["type"] = json!("application");
            component["name"] = json!(program);
        }
        if let Some(licence) = package["license"].as_str() {
            // Older packages write a slash for "or".
            component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
        }
        if let Some(description) = package["description"].as_str() {
            component["description"] = json!(description.trim());
        }
        // Packages of the workspace are published nowhere: a package there of that name is another one.
        if package["source"].is_string() {
            component["purl"] = json!(reference);
        }
        if let Some(checksum) = self.checksums.get(&(name, version)) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    }
}

fn wheel_component(wheel: &crate::libtorch::pins::Wheel) -> Value {
    let licence = WHEEL_LICENCES
        .iter()
        .find(|(project, _)| *project == wheel.project)
        .map(|(_, licence)| *licence);
    let licence = match licence {
        Some(spdx @ "BSD-3-Clause") => json!({"license": {"id": spdx}}),
        Some(other) => json!({"license": {"name": other}}),
        None => json!({"license": {"name": "unknown"}}),
    };
    let name = if wheel.project == "torch" {
        "libtorch"
    } else {
        &wheel.project
    };
    let purl = purl(&wheel.project, &wheel.version);
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": wheel.version,
        "scope": "required",
        "description": format!("{}, of which only a part is shipped", wheel.file),
        "licenses": [licence],
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
    })
}

fn purl(project: &str, version: &str) -> String {
    format!("pkg:pypi/{project}@{version}")
}

/// How the list names a package within itself. A package URL, in which a plus is escaped.
fn reference((name, version): &Name) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// The program of a package of the workspace that is shipped.
fn program(package: &Value) -> Option<&'static str> {
    let shipped = SHIPPED
        .iter()
        .find(|shipped| package["name"] == shipped.package)?;
    package["source"].is_null().then_some(shipped.program)
}

/// SHA-256 of the packages' archives, as `Cargo.lock` has them.
fn checksums(lock: &str) -> BTreeMap<Name, String> {
    let value = |entry: &str, key: &str| {
        let line = entry
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
    };
    lock.split("[[package]]")
        .filter_map(|entry| {
            let name = (value(entry, "name")?, value(entry, "version")?);
            Some((name, value(entry, "checksum")?))
        })
        .collect()
}

/// The suite's version, with the commit where there is one, and the commit's time.
fn version_and_time(
    root: &Path,
    packages: &Packages,
    shipped: &BTreeSet<Name>,
) -> anyhow::Result<(String, String)> {
    let version = packages
        .of(shipped)
        .find(|(_, package)| program(package).is_some());
    let version = version
        .map(|(_, package)| name(package).1)
        .context("no program is shipped")?;
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args([
            "log",
            "-1",
            "--format=%h %cd",
            "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
        ])
        .env("TZ", "UTC")
        .output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Ok(match said.ok().as_deref().and_then(|said| said.split_once(' ')) {
        Some((commit, time)) => (format!("{version}+{commit}"), time.to_owned()),
        // Not a clone: an archive of the sources has neither.
        None => (version, "1970-01-01T00:00:00Z".to_owned()),
    })
}

/// A UUID of version 8 (RFC 9562: bits of one's own choice) from a hash.
fn serial_number(hash: &str) -> String {
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bom() -> Value {
        make(&Workspace::locate(&|_| None).unwrap()).unwrap()
    }

    fn names(bom: &Value) -> Vec<&str> {
        bom["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part["name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn what_ships_is_listed_and_what_tests_and_builds_use_is_not() {
        let bom = bom();
        let names = names(&bom);
        for part in [
            "azaion",
            "azaion-queue",
            "azaion-backup",
            "azaion-health",
            "azaion-train",
            "store",
            "tokio",
            "tch",
            "libtorch",
        ] {
            assert!(names.contains(&part), "{part} is missing");
        }
        for tool in [
            "xtask",
            "trial",
            "broker",
            "proptest",
            "assert_cmd",
            "clap_derive",
            "cc",
        ] {
            assert!(!names.contains(&tool), "{tool} is not shipped");
        }
    }

    #[test]
    fn every_part_is_named_once_and_every_dependency_is_a_part() {
        let bom = bom();
        let mut known = BTreeSet::from(["azaion"]);
        for part in bom["components"].as_array().unwrap() {
            let reference = part["bom-ref"].as_str().unwrap();
            assert!(known.insert(reference), "{reference} twice");
            assert!(part["licenses"].is_array(), "{reference} has no licence");
            assert_eq!(part["hashes"].is_array(), part["purl"].is_string(), "{reference}");
        }
        let dependencies = bom["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), known.len() - Recipe::pinned().wheels.len());
        for dependency in dependencies {
            let needed = dependency["dependsOn"]
                .as_array()
                .unwrap()
                .iter()
                .chain([&dependency["ref"]]);
            for reference in needed {
                assert!(known.contains(reference.as_str().unwrap()), "{reference}");
            }
        }
    }

    #[test]
    fn libtorch_hangs_on_what_links_it() {
        let bom = bom();
        let links = bom["dependencies"].as_array().unwrap();
        let torch_sys = links
            .iter()
            .find(|link| link["ref"].as_str().unwrap().starts_with("pkg:cargo/torch-sys@"));
        let needed = torch_sys.unwrap()["dependsOn"].as_array().unwrap();
        assert!(needed.contains(&json!("pkg:pypi/torch@2.13.0")), "{needed:?}");
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        assert_eq!(bom().to_string(), bom().to_string());
        let serial = serial_number(&digest::of_bytes(b"abc"));
        assert_eq!(serial, "urn:uuid:ba7816bf-8f01-8fea-8141-40de5dae2223");
    }

    #[test]
    fn checksums_are_those_of_the_lock_file() {
        let lock = "version = 4\n[[package]]\nname = \"lime\"\nversion = \"1.2.0\"\nchecksum = \"00ff\"\n\n[[package]]\nname = \"queue\"\nversion = \"0.1.0\"\n";
        let checksums = checksums(lock);
        assert_eq!(checksums.len(), 1);
        assert_eq!(checksums[&("lime".to_owned(), "1.2.0".to_owned())], "00ff");
    }
}
