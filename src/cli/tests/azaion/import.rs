//! `azaion import yolo --to rabbitmq-stream://...`, against real brokers and without one.

use crate::common::{azaion, last_line, yolo_folder};
use annotation::{Message, decode};
use broker::{Broker, PASSWORD, StreamOptions, USER, Version};
use predicates::{prelude::PredicateBooleanExt, str::contains};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const SECRET: &str = "correct-horse-battery";

fn secret(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("password");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// An import of `set` in the folder, with the broker's password.
fn import(folder: &Path, to: &str) -> assert_cmd::Command {
    let mut command = azaion(&["import", "yolo", "--json", "--to", to]);
    command.arg("--password-file").arg(secret(folder, PASSWORD));
    command.arg(folder.join("set"));
    command
}

fn address(port: u16) -> String {
    format!("rabbitmq-stream://{USER}@127.0.0.1:{port}/cells")
}

/// The first messages of the stream. The broker's own books on producers take offsets too.
fn messages(broker: &Broker, count: usize) -> Vec<Vec<u8>> {
    for until in count as u64.. {
        let chunks = broker.client().unwrap().read("cells", until).unwrap();
        let plain = chunks.iter().flat_map(|chunk| chunk.plain_messages().unwrap());
        let messages: Vec<_> = plain.map(<[u8]>::to_vec).collect();
        if messages.len() >= count {
            return messages;
        }
    }
    Vec::new()
}

fn names(messages: &[Vec<u8>]) -> Vec<String> {
    let name = |raw: &Vec<u8>| match decode(raw).unwrap().message {
        Message::Annotation(annotation) => annotation.name.to_string(),
        Message::Bulk(_) => panic!("a bulk message"),
    };
    messages.iter().map(name).collect()
}

#[test]
fn a_password_in_the_address_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    yolo_folder(&folder.path().join("set"), 1);
    let to = format!("rabbitmq-stream://ann:{SECRET}@127.0.0.1/cells");
    azaion(&["import", "yolo", "--to", &to])
        .arg(folder.path().join("set"))
        .assert()
        .code(64)
        .stderr(
            contains("holds a password")
                .and(contains("--password-file"))
                .and(contains(SECRET).not()),
        );
    azaion(&["import", "yolo", "--to", "rabbitmq-stream://ann@127.0.0.1/cells"])
        .arg(folder.path().join("set"))
        .assert()
        .code(1)
        .stderr(contains("give --password-file FILE or --config FILE"));
}

#[test]
fn a_broker_that_is_not_there_is_worth_another_try() {
    let folder = tempfile::tempdir().unwrap();
    yolo_folder(&folder.path().join("set"), 1);
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    import(folder.path(), &address(port))
        .assert()
        .code(75)
        .stderr(contains(format!("cannot reach the broker 127.0.0.1:{port}")));
}

#[test]
fn a_dataset_arrives_byte_for_byte_and_a_repeated_import_sends_nothing_twice() {
    let Some(broker) = Broker::for_test("a_dataset_arrives_byte_for_byte", Version::V4_0) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    yolo_folder(&folder.path().join("set"), 30);
    import(folder.path(), &address(broker.port()))
        .assert()
        .code(1)
        .stderr(contains("the stream cells does not exist; give --create"));

    let done = import(folder.path(), &address(broker.port()))
        .arg("--create")
        .assert()
        .success();
    let told = last_line(&done.get_output().stdout);
    assert_eq!(
        (&told["messages"], &told["known"]),
        (&30.into(), &0.into()),
        "{told}"
    );
    let arrived = messages(&broker, 30);
    azaion(&["import", "yolo", "--to"])
        .arg(folder.path().join("file.stream"))
        .arg(folder.path().join("set"))
        .assert()
        .success();
    assert_eq!(arrived, in_file(&folder.path().join("file.stream")));

    let done = import(folder.path(), &address(broker.port())).assert().success();
    let told = last_line(&done.get_output().stdout);
    assert_eq!(
        (&told["messages"], &told["known"]),
        (&0.into(), &30.into()),
        "{told}"
    );

    // Another list is another producer: all of it is sent, and the queue knows what it has.
    yolo_folder(&folder.path().join("set"), 31);
    let done = import(folder.path(), &address(broker.port())).assert().success();
    assert_eq!(last_line(&done.get_output().stdout)["messages"], 31);
    let all = names(&messages(&broker, 61));
    assert_eq!((all.len(), all[60].as_str()), (61, "s30"));
}

/// Every message of a stream file, by its documented layout.
fn in_file(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[16..];
    let mut messages = Vec::new();
    while let Some((head, behind)) = rest.split_at_checked(12) {
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        messages.push(behind[..length].to_vec());
        rest = &behind[length..];
    }
    messages
}

#[test]
fn an_image_larger_than_a_frame_of_the_protocol_arrives() {
    let Some(broker) = Broker::for_test("an_image_larger_than_a_frame", Version::V4_0) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    yolo_folder(&folder.path().join("set"), 2);
    let image = folder.path().join("set/images/s00.jpg");
    let mut large = fs::read(&image).unwrap();
    large.resize(3 << 20, 0);
    fs::write(&image, &large).unwrap();
    import(folder.path(), &address(broker.port()))
        .arg("--create")
        .assert()
        .success();
    let arrived = messages(&broker, 2);
    assert!(arrived[0].ends_with(&[0; 1000]) || arrived[0].len() > 3 << 20);
    assert_eq!(names(&arrived), ["s00", "s01"]);
}

#[test]
fn a_wrong_password_and_an_old_broker_are_told_apart() {
    let Some(broker) = Broker::for_test("a_wrong_password", Version::V4_0) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    yolo_folder(&folder.path().join("set"), 1);
    let to = address(broker.port());
    let mut wrong = azaion(&["import", "yolo", "--to", &to]);
    wrong.arg("--password-file").arg(secret(folder.path(), SECRET));
    wrong
        .arg(folder.path().join("set"))
        .assert()
        .code(1)
        .stderr(contains("the password is wrong").and(contains(SECRET).not()));
    drop(broker);

    let Some(old) = Broker::for_test("an_old_broker", Version::V3_10) else {
        return;
    };
    old.create_stream("cells", &StreamOptions::default()).unwrap();
    import(folder.path(), &address(old.port()))
        .assert()
        .code(75)
        .stderr(contains("before 3.11"));
}

#[test]
fn with_tls_only_a_broker_that_the_authority_vouches_for_gets_the_password() {
    let Some(broker) = Broker::for_test("with_tls_only_a_broker", Version::V4_0) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    yolo_folder(&folder.path().join("set"), 2);
    let to = format!(
        "rabbitmq-stream+tls://{USER}@localhost:{}/cells",
        broker.tls_port()
    );
    import(folder.path(), &to)
        .assert()
        .code(1)
        .stderr(contains("give --ca-file FILE"));

    let other = folder.path().join("other.pem");
    broker::write_authority(&other).unwrap();
    import(folder.path(), &to)
        .arg("--ca-file")
        .arg(&other)
        .assert()
        .code(75)
        .stderr(contains("certificate"));

    let done = import(folder.path(), &to)
        .arg("--create")
        .arg("--ca-file")
        .arg(broker.authority())
        .assert()
        .success();
    assert_eq!(last_line(&done.get_output().stdout)["messages"], 2);
}

#[test]
fn a_second_tree_from_a_broker_ends_where_the_first_one_is_and_without_one_at_the_end() {
    for version in Version::ALL {
        let Some(broker) = Broker::for_test("a_second_tree_from_a_broker", version) else {
            continue;
        };
        broker.create_stream("cells", &StreamOptions::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        yolo_folder(&folder.path().join("set"), 20);
        let file = folder.path().join("file.stream");
        azaion(&["import", "yolo", "--to"])
            .arg(&file)
            .arg(folder.path().join("set"))
            .assert()
            .success();
        let mut publisher = broker.publisher("cells").unwrap();
        publisher.send(&in_file(&file)).unwrap();
        publisher.confirm().unwrap();

        let root = folder.path().join("root");
        let config = folder.path().join("config.yaml");
        let broker_of = format!(
            "root_dir: {}\nrabbitmq: {{port: {}, user: {USER}, password_file: {}, queue_name: cells}}\n",
            root.display(),
            broker.port(),
            secret(folder.path(), PASSWORD).display()
        );
        fs::write(&config, broker_of).unwrap();
        let replay = |to: &str| {
            let mut command = azaion(&["queue", "replay", "--from", "2", "--json", "--config"]);
            command.arg(&config).arg("--to").arg(folder.path().join(to));
            last_line(&command.assert().success().get_output().stdout)
        };
        let told = replay("all");
        assert_eq!(
            (&told["next_offset"], &told["counters"]["created"]),
            (&20.into(), &18.into())
        );

        fs::create_dir(&root).unwrap();
        store::Tree::open(&root).unwrap().begin_at(13).unwrap();
        let told = replay("as-far");
        assert_eq!(
            (&told["next_offset"], &told["counters"]["created"]),
            (&13.into(), &11.into())
        );
    }
}

#[test]
fn an_import_that_was_killed_is_finished_by_the_same_command_with_every_name_once() {
    const COUNT: usize = 400;
    let Some(broker) = Broker::for_test("an_import_that_was_killed", Version::V4_0) else {
        return;
    };
    broker.create_stream("cells", &StreamOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    yolo_folder(&set, 1);
    let mut large = fs::read(set.join("images/s00.jpg")).unwrap();
    large.resize(200 << 10, 0);
    for n in 1..COUNT {
        fs::write(set.join(format!("images/c{n:03}.jpg")), &large).unwrap();
        fs::copy(
            set.join("labels/s00.txt"),
            set.join(format!("labels/c{n:03}.txt")),
        )
        .unwrap();
    }
    let command = import(folder.path(), &address(broker.port()));
    let mut first = std::process::Command::new(command.get_program())
        .args(command.get_args())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    messages(&broker, 20);
    first.kill().unwrap();
    if first.wait().unwrap().success() {
        eprintln!("the import was done before it could be killed");
    }

    let done = import(folder.path(), &address(broker.port())).assert().success();
    let told = last_line(&done.get_output().stdout);
    let known = told["known"].as_u64().unwrap();
    assert!(known >= 20, "{told}");
    assert_eq!(told["messages"].as_u64().unwrap() + known, COUNT as u64);
    let mut all = names(&messages(&broker, COUNT));
    assert_eq!(all.len(), COUNT);
    all.dedup();
    assert_eq!(all.len(), COUNT, "one arrived twice");
    assert!(all.is_sorted());
}
