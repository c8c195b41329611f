//! The configuration as an operator meets it: files with defaults, mistakes, and secrets.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows #[test] functions, not what they call"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use service::config::{LoginError, VARIABLES};
use service::{Config, ConfigError, Credentials};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("config.yaml"))
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn an_empty_file_means_the_defaults_of_the_table() {
    for text in ["", "# nothing yet\n", "{}", "training: {}"] {
        assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
    }
    let config = Config::default();
    assert_eq!(config.api.url, "https://api.azaion.com");
    assert_eq!(
        (config.rabbitmq.host.as_str(), config.rabbitmq.port),
        ("127.0.0.1", 5552)
    );
    assert_eq!(config.rabbitmq.user, "azaion_receiver");
    assert_eq!(config.rabbitmq.queue_name, "azaion-annotations");
    assert_eq!(config.data(), Path::new("/azaion/data"));
    assert_eq!(config.data_seed(), Path::new("/azaion/data-seed"));
    assert_eq!(config.data_deleted(), Path::new("/azaion/data_deleted"));
    let training = &config.training;
    assert_eq!(training.model, "yolo26m.pt");
    assert_eq!(
        (training.epochs, training.batch_size, training.imgsz),
        (120, 11, 1280)
    );
    assert_eq!((training.save_period, training.workers), (1, 24));
    assert_eq!(config.export.onnx_imgsz, 1280);
}

#[test]
fn what_is_written_is_read_and_the_rest_keeps_its_default() {
    let config = parse(
        "root_dir: /srv/cells\n\
         rabbitmq:\n  host: broker.test\n  port: 15552\n\
         training: {model: yolo26n.pt, epochs: 3, workers: 0}\n",
    )
    .unwrap();
    assert_eq!(config.root_dir, Path::new("/srv/cells"));
    assert_eq!(
        (config.rabbitmq.host.as_str(), config.rabbitmq.port),
        ("broker.test", 15552)
    );
    assert_eq!(config.rabbitmq.user, "azaion_receiver");
    assert_eq!(
        (
            config.training.epochs,
            config.training.workers,
            config.training.batch_size
        ),
        (3, 0, 11)
    );
}

#[test]
fn every_unknown_key_is_named_with_the_nearest_known_one() {
    let error = error("training: {epoch: 3}\nrabitmq: {host: x}\n");
    assert!(error.contains("config.yaml has 2 problems"), "{error}");
    assert!(
        error.contains("training.epoch: unknown key; the nearest known one is `training.epochs`"),
        "{error}"
    );
    assert!(
        error.contains("rabitmq: unknown key; the nearest known one is `rabbitmq`"),
        "{error}"
    );
}

#[test]
fn every_unusable_value_is_named_at_once() {
    let error = error(
        "root_dir: azaion\ndata_dir: ../data\ndata_seed_dir: data_deleted\n\
         api: {url: 'http://api.example.com', email: nobody}\n\
         rabbitmq: {port: 0, host: ' '}\n\
         training: {epochs: 0, batch_size: 0, imgsz: 1000, save_period: 0, model: ''}\nexport: {onnx_imgsz: 0}\n",
    );
    for key in [
        "root_dir",
        "data_dir",
        "data_deleted_dir",
        "api.url",
        "api.email",
        "rabbitmq.port",
        "rabbitmq.host",
        "training.epochs",
        "training.batch_size",
        "training.imgsz: is 1000, must be a multiple of 32",
        "training.save_period",
        "training.model",
        "export.onnx_imgsz",
    ] {
        assert!(
            error.contains(&format!("\n  {key}")),
            "{key} is missing in: {error}"
        );
    }
}

#[test]
fn a_wrong_type_or_broken_yaml_says_where() {
    for (text, expected) in [
        ("training:\n  epochs: many\n", "line 2"),
        ("training:\n  epochs: 3\n  epochs: 4\n", "line 3"),
        ("rabbitmq: {port: 70000}\n", "line 1"),
        ("rabbitmq: {port: -1}\n", "line 1"),
        ("training: {epochs: 1.5}\n", "line 1"),
        ("training: 3\n", "line 1"),
        ("- a\n- b\n", "line 1"),
        ("training: {epochs: 3\n", "line"),
    ] {
        let error = error(text);
        assert!(
            error.contains("config.yaml") && error.contains(expected),
            "{text:?} gave {error}"
        );
    }
}

#[test]
fn no_message_and_no_debug_output_holds_a_secret() {
    let config = parse("rabbitmq: {password: hunter2}\napi: {password: '12345678'}\n").unwrap();
    let debug = format!("{config:?}");
    assert!(
        !debug.contains("hunter2") && !debug.contains("12345678"),
        "{debug}"
    );
    for text in [
        "rabbitmq:\n  password: \"hunter2\n  port: x\n",
        "rabbitmq: {password: hunter2, port: many}\n",
        "rabbitmq: {password: {hunter2: 1}}\n",
        "rabbitmq: {password: [hunter2]}\n",
        "rabbitmq: {password: hunter2, password_file: /x}\n",
        "rabbitmq: {password: hunter2}\ntrainig: {}\n",
    ] {
        let error = error(text);
        assert!(!error.contains("hunter2"), "{text:?} gave {error}");
    }
}

#[test]
fn a_password_that_looks_like_a_number_or_a_word_of_yaml_stays_what_was_typed() {
    for password in ["12345", "007", "1e5", "true", "0x10"] {
        let config = parse(&format!("rabbitmq: {{password: {password}}}")).unwrap();
        assert_eq!(config.rabbitmq.password.unwrap().expose(), password);
    }
}

#[test]
fn a_file_that_holds_a_password_must_not_be_open_to_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let open = write(dir.path(), "open.yaml", "rabbitmq: {password: x}\n", 0o644);
    let error = Config::load(&open).unwrap_err().to_string();
    assert!(
        error.contains("mode 0644") && error.contains("chmod 0640"),
        "{error}"
    );

    let closed = write(dir.path(), "closed.yaml", "rabbitmq: {password: x}\n", 0o640);
    assert!(Config::load(&closed).is_ok());
    let harmless = write(dir.path(), "harmless.yaml", "rabbitmq: {port: 5552}\n", 0o644);
    assert!(Config::load(&harmless).is_ok());
    assert!(matches!(
        Config::load(&dir.path().join("absent.yaml")),
        Err(ConfigError::Read { .. })
    ));
}

#[test]
fn a_credential_wins_over_a_file_over_the_text_over_the_development_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "password", "from-file\n", 0o600);
    let none = Credentials::default();

    assert_eq!(
        Config::default().rabbitmq_password(&none).unwrap().expose(),
        "changeme"
    );
    let inline = parse("rabbitmq: {password: inline}").unwrap();
    assert_eq!(inline.rabbitmq_password(&none).unwrap().expose(), "inline");
    let named = parse(&format!("rabbitmq: {{password_file: {}}}", file.display())).unwrap();
    assert_eq!(named.rabbitmq_password(&none).unwrap().expose(), "from-file");

    write(dir.path(), "rabbitmq-password", "from-systemd", 0o400);
    let credentials = Credentials::in_directory(dir.path());
    assert_eq!(
        named.rabbitmq_password(&credentials).unwrap().expose(),
        "from-systemd"
    );

    // Rotation (SEC-3): the file changes, the next read has the new one.
    write(dir.path(), "password", "rotated\n", 0o600);
    assert_eq!(named.rabbitmq_password(&none).unwrap().expose(), "rotated");
}

#[test]
fn the_account_of_the_api_has_no_default() {
    let none = Credentials::default();
    assert!(matches!(
        Config::default().api_login(&none),
        Err(LoginError::NoEmail)
    ));

    let no_password = parse("api: {email: someone@example.com}").unwrap();
    let error = no_password.api_login(&none).unwrap_err().to_string();
    assert!(
        error.contains("api-password") && error.contains("api.password_file"),
        "{error}"
    );

    let login = parse("api: {email: someone@example.com, password: x}")
        .unwrap()
        .api_login(&none)
        .unwrap();
    assert_eq!(
        (login.email.as_str(), login.password.expose()),
        ("someone@example.com", "x")
    );
}

#[test]
fn the_example_environment_lists_every_variable_with_its_default() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example")).unwrap();
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| line.split_once('=').unwrap())
        .collect();
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, VARIABLES.map(|(name, _)| name));

    let defaults = serde_json::to_value(Config::default()).unwrap();
    for ((name, value), (_, key)) in lines.iter().zip(VARIABLES) {
        let default = key.split('.').fold(&defaults, |tree, part| &tree[part]);
        let default = default
            .as_str()
            .map_or_else(|| default.to_string(), str::to_owned);
        match *name {
            "AZAION_API_EMAIL" | "AZAION_API_PASSWORD" => {
                assert_eq!(default, "null", "{name} has no default")
            }
            "RABBITMQ_PASSWORD" => assert_eq!(*value, "changeme"),
            _ => assert_eq!(*value, default, "{name}"),
        }
    }
}
