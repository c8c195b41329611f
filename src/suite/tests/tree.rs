//! User and tree as systemd makes them, in a root of their own: everything is there with its owner and mode, nothing that lies
//! in the tree is removed, and no line has an age.
#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use service::Config;
use suite::{missing, repository};
use tempfile::TempDir;

/// Runs one of systemd's tools on `root` with our file for it.
fn apply(root: &Path, program: &str, arguments: &[&str], file: &str) {
    let output = Command::new(program)
        .arg(format!("--root={}", root.display()))
        .args(arguments)
        .arg(repository().join("units").join(file))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// A root with the suite's user, or `None` where it cannot be made.
fn root_with_user(test: &str) -> Option<TempDir> {
    let programs = [("systemd-sysusers", "systemd"), ("systemd-tmpfiles", "systemd")];
    let root = (!nix::unistd::geteuid().is_root()).then(|| "that takes root".to_owned());
    if let Some(why) = missing(&programs).or(root) {
        eprintln!("skipped: {test}: {why}");
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    apply(root.path(), "systemd-sysusers", &[], "sysusers.d/azaion.conf");
    Some(root)
}

fn lines(file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(repository().join("units").join(file)).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn the_user_has_no_shell_and_no_password() {
    let Some(root) = root_with_user("the_user_has_no_shell_and_no_password") else {
        return;
    };
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user = passwd.lines().find(|line| line.starts_with("azaion:")).unwrap();
    let fields: Vec<&str> = user.split(':').collect();
    assert_eq!((fields[5], fields[6]), ("/azaion", "/usr/sbin/nologin"));
    let shadow = fs::read_to_string(root.path().join("etc/shadow")).unwrap();
    let password = shadow.lines().find(|line| line.starts_with("azaion:")).unwrap();
    assert!(password.starts_with("azaion:!"), "{password}");
    let group = fs::read_to_string(root.path().join("etc/group")).unwrap();
    assert!(group.lines().any(|line| line.starts_with("azaion:")));
}

#[test]
fn the_tree_is_made_with_its_owner_and_its_modes() {
    let Some(root) = root_with_user("the_tree_is_made_with_its_owner_and_its_modes") else {
        return;
    };
    apply(
        root.path(),
        "systemd-tmpfiles",
        &["--create"],
        "tmpfiles.d/azaion.conf",
    );
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user = passwd.lines().find(|line| line.starts_with("azaion:")).unwrap();
    let uid: u32 = user.split(':').nth(2).unwrap().parse().unwrap();
    let config = Config::default();
    let mut folders = vec![
        config.root_dir.clone(),
        config.root_dir.join("datasets"),
        config.root_dir.join("models"),
        config.root_dir.join("status/alerts"),
    ];
    let homes = [
        config.data(),
        config.data_seed(),
        config.data_deleted(),
        config.root_dir.join("data-corrupted"),
    ];
    folders.extend(
        homes
            .iter()
            .flat_map(|home| [home.join("images"), home.join("labels")]),
    );
    for folder in folders {
        let place = root.path().join(folder.strip_prefix("/").unwrap());
        let meta = fs::metadata(&place).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid()),
            (0o750, uid),
            "{}",
            folder.display()
        );
    }
    let quarantine = fs::metadata(root.path().join("azaion/quarantine")).unwrap();
    assert_eq!(
        quarantine.mode() & 0o7777,
        0o700,
        "whole messages hold addresses of people"
    );
}

#[test]
fn nothing_in_the_tree_is_removed_and_a_wrong_mode_is_put_right() {
    let Some(root) = root_with_user("nothing_in_the_tree_is_removed_and_a_wrong_mode_is_put_right") else {
        return;
    };
    let file = "tmpfiles.d/azaion.conf";
    apply(root.path(), "systemd-tmpfiles", &["--create"], file);
    let mut kept = Vec::new();
    for line in lines(file).iter().filter(|line| line[0] == "d") {
        let path = root.path().join(line[1].trim_start_matches('/')).join("kept.jpg");
        fs::write(&path, "an image").unwrap();
        kept.push(path);
    }
    let data = root.path().join("azaion/data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();

    for arguments in [
        ["--create"].as_slice(),
        &["--clean"],
        &["--remove"],
        &["--boot", "--create", "--clean", "--remove"],
    ] {
        apply(root.path(), "systemd-tmpfiles", arguments, file);
    }

    for path in kept {
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "an image",
            "{}",
            path.display()
        );
    }
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn configuration_and_secrets_have_their_places_and_what_is_there_stays() {
    let Some(root) = root_with_user("configuration_and_secrets_have_their_places_and_what_is_there_stays")
    else {
        return;
    };
    let file = "tmpfiles.d/azaion.conf";
    apply(root.path(), "systemd-tmpfiles", &["--create"], file);
    let etc = fs::metadata(root.path().join("etc/azaion")).unwrap();
    assert_eq!((etc.mode() & 0o7777, etc.uid()), (0o2750, 0));
    assert_ne!(
        etc.gid(),
        0,
        "what is rendered there belongs to the suite's group"
    );
    let secret = root.path().join("etc/credstore/azaion.rabbitmq-password");
    assert_eq!(
        fs::read_link(&secret).unwrap(),
        Path::new("/etc/azaion/secrets/rabbitmq-password")
    );

    fs::remove_file(&secret).unwrap();
    fs::write(&secret, "an administrator's own").unwrap();
    apply(root.path(), "systemd-tmpfiles", &["--create"], file);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "an administrator's own");
}

#[test]
fn the_file_can_only_create() {
    for line in lines("tmpfiles.d/azaion.conf") {
        assert!(
            ["d", "L"].contains(&line[0].as_str()),
            "{line:?}: what makes and nothing else"
        );
        assert_eq!(line.get(5).map(String::as_str), Some("-"), "{line:?}: no age");
        if line[1].starts_with("/azaion") {
            assert_eq!(&line[3..], ["azaion", "azaion", "-"], "{line:?}");
        }
    }
}
