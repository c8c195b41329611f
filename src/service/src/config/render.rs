//! From the variables of `.env` to a configuration (CFG-1, CFG-3).
//!
//! Every name is looked at before anything is said: what is missing, what is unknown, what cannot be used. In development
//! the defaults stand in for what is missing, but for the API's account; in production all of [`VARIABLES`] are required, and
//! none may still hold the placeholder of `.env.example`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};

use super::keys::{nearest_variable, schema, variables};
use super::{API_CREDENTIAL, Config, Dotenv, Problem, RABBITMQ_CREDENTIAL, VARIABLES, check};
use crate::Secret;

/// What of the example stands for something that only the operator knows.
const PLACEHOLDERS: [&str; 3] = ["someone@example.com", "replace-me", "changeme"];

/// The environment that a configuration is for (CFG-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A local broker and a small sample.
    Development,
    /// The GPU server and the real broker.
    Production,
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        match text {
            "development" => Ok(Self::Development),
            "production" => Ok(Self::Production),
            _ => Err(UnknownProfile),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Production => "production",
        })
    }
}

/// There are two profiles, and this is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is development or production")]
pub struct UnknownProfile;

/// The configuration that the variables make, or everything that is wrong with them, by name.
pub fn render(env: &Dotenv, profile: Profile) -> Result<Config, Vec<Problem>> {
    let mut problems = missing(env, profile);
    problems.extend(unknown(env));
    let defaults = schema();
    let mut values = Map::new();
    let mut secrets = Vec::new();
    for (name, key) in variables() {
        let Some(text) = env.get(name) else { continue };
        match usable(text, key, profile, &defaults) {
            Ok(None) => secrets.push((key, text.clone())),
            Ok(Some(value)) => insert(&mut values, key, value),
            Err(message) => problems.push(about(name, message)),
        }
    }
    // Each value alone was read without an error; should all of them together not be, nothing is made of them.
    let mut config: Config = serde_json::from_value(Value::Object(values)).unwrap_or_else(|error| {
        problems.push(about("all variables together", error.to_string()));
        Config::default()
    });
    for (key, secret) in secrets {
        match key {
            "api.password" => config.api.password = Some(secret),
            _ => config.rabbitmq.password = Some(secret),
        }
    }
    problems.extend(check::problems(&config).into_iter().map(named));
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

fn about(name: &str, message: impl Into<String>) -> Problem {
    Problem {
        key: name.to_owned(),
        message: message.into(),
    }
}

fn missing(env: &Dotenv, profile: Profile) -> Vec<Problem> {
    let required = |name: &str| match profile {
        Profile::Production => true,
        Profile::Development => matches!(name, "AZAION_API_EMAIL" | "AZAION_API_PASSWORD"),
    };
    VARIABLES
        .iter()
        .filter(|(name, _)| required(name) && env.get(name).is_none())
        .map(|(name, _)| about(name, format!("is missing, and required in {profile}")))
        .collect()
}

fn unknown(env: &Dotenv) -> Vec<Problem> {
    env.names()
        .filter(|name| !variables().any(|(known, _)| known == *name))
        .map(|name| {
            let nearest = nearest_variable(name).unwrap_or_default();
            about(
                name,
                format!("unknown variable; the nearest known one is {nearest}"),
            )
        })
        .collect()
}

/// The value of a key by its type; none for a secret, which becomes no value that could be shown.
fn usable(text: &Secret, key: &str, profile: Profile, defaults: &Value) -> Result<Option<Value>, String> {
    let text = text.expose();
    if text.is_empty() {
        return Err("is empty; set it, or remove the line to keep the default".into());
    }
    if profile == Profile::Production && PLACEHOLDERS.contains(&text) {
        return Err("still holds the placeholder of .env.example".into());
    }
    if key.ends_with(".password") {
        return Ok(None);
    }
    let default = key.split('.').fold(defaults, |tree, part| &tree[part]);
    let value = match default {
        Value::Number(_) => Value::from(
            text.parse::<u64>()
                .map_err(|_| "is not a whole number from 0 up")?,
        ),
        Value::Bool(_) => Value::from(text.parse::<bool>().map_err(|_| "must be true or false")?),
        _ => Value::from(text),
    };
    let mut alone = Map::new();
    insert(&mut alone, key, value.clone());
    match serde_json::from_value::<Config>(Value::Object(alone)) {
        Ok(_) => Ok(Some(value)),
        Err(_) => Err("is larger than it can be".into()),
    }
}

fn insert(values: &mut Map<String, Value>, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(values.insert(key.to_owned(), value)),
        Some((section, key)) => {
            let section = values.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
    }
}

/// A problem of a key, told of the variable that it comes from.
fn named(problem: Problem) -> Problem {
    match variables().find(|(_, key)| *key == problem.key) {
        Some((name, _)) => about(name, problem.message),
        None => problem,
    }
}

/// A configuration without its secrets, and the files that hold them.
#[derive(Debug)]
pub struct Apart {
    /// It names the files.
    pub config: Config,
    /// Files to write, named as the credentials are.
    pub files: Vec<(PathBuf, Secret)>,
}

impl Apart {
    /// Moves the secrets of `config` into files of `folder`, an absolute path.
    pub fn from(mut config: Config, folder: &Path) -> Self {
        let mut files = Vec::new();
        let Config { api, rabbitmq, .. } = &mut config;
        for (password, file, name) in [
            (&mut api.password, &mut api.password_file, API_CREDENTIAL),
            (
                &mut rabbitmq.password,
                &mut rabbitmq.password_file,
                RABBITMQ_CREDENTIAL,
            ),
        ] {
            if let Some(secret) = password.take() {
                let path = folder.join(name);
                *file = Some(path.clone());
                files.push((path, secret));
            }
        }
        Self { config, files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../../.env.example");

    fn made(text: &str, profile: Profile) -> Result<Config, String> {
        render(&Dotenv::parse(text).unwrap(), profile)
            .map_err(|problems| problems.iter().map(|p| format!("{p}\n")).collect())
    }

    /// Every variable, filled in.
    fn filled() -> String {
        EXAMPLE
            .replace("someone@example.com", "trainer@example.org")
            .replace("replace-me", "api s3cret")
            .replace("changeme", "broker s3cret")
    }

    #[test]
    fn in_development_only_the_account_of_the_api_is_required() {
        let config = made(
            "AZAION_API_EMAIL=a@example.org\nAZAION_API_PASSWORD=s3cret\nTRAINING_EPOCHS=3\nRABBITMQ_TLS=true",
            Profile::Development,
        )
        .unwrap();
        assert_eq!(config.training.epochs, 3);
        assert!(config.rabbitmq.tls);
        assert_eq!(config.rabbitmq.port, 5552);
        assert_eq!(config.api.password.unwrap().expose(), "s3cret");
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let told = made("", Profile::Production).unwrap_err();
        for (name, _) in VARIABLES {
            assert!(told.contains(&format!("{name}: is missing")), "{name} in {told}");
        }
        let told = made("", Profile::Development).unwrap_err();
        assert_eq!(told.lines().count(), 2, "{told}");
    }

    #[test]
    fn the_example_is_for_development_and_filled_in_for_production() {
        assert!(made(EXAMPLE, Profile::Development).is_ok());
        let told = made(EXAMPLE, Profile::Production).unwrap_err();
        for name in ["AZAION_API_EMAIL", "AZAION_API_PASSWORD", "RABBITMQ_PASSWORD"] {
            assert!(
                told.contains(&format!("{name}: still holds the placeholder")),
                "{told}"
            );
        }
        let config = made(&filled(), Profile::Production).unwrap();
        assert_eq!(config.rabbitmq.password.unwrap().expose(), "broker s3cret");
    }

    #[test]
    fn everything_unusable_is_named_with_what_is_missing_and_without_its_value() {
        let text = "AZAION_API_EMAIL=s3cret\nRABBITMQ_PORT=70000\nTRAINING_EPOCHS=many\nTRAINING_IMGSZ=1000\n\
                    RABBITMQ_HOST=\nTRAINING_EPOCH=3\nRABBITMQ_TLS=maybe\nAZAION_ROOT_DIR=here\nTRAINING_DEVICE=gpu\n";
        let told = made(text, Profile::Development).unwrap_err();
        for expected in [
            "AZAION_API_PASSWORD: is missing",
            "AZAION_API_EMAIL: must hold an @",
            "RABBITMQ_PORT: is larger than it can be",
            "TRAINING_EPOCHS: is not a whole number",
            "TRAINING_IMGSZ: is 1000, must be a multiple of 32",
            "RABBITMQ_HOST: is empty",
            "TRAINING_EPOCH: unknown variable; the nearest known one is TRAINING_EPOCHS",
            "RABBITMQ_TLS: must be true or false",
            "AZAION_ROOT_DIR: must be an absolute path",
            "TRAINING_DEVICE: must be auto, cpu, cuda or cuda:N",
        ] {
            assert!(told.contains(expected), "{expected} in\n{told}");
        }
        assert!(!told.contains("s3cret") && told.lines().count() == 10, "{told}");
    }

    #[test]
    fn secrets_apart_leave_the_names_of_their_files() {
        let config = made(&filled(), Profile::Production).unwrap();
        let apart = Apart::from(config, Path::new("/etc/azaion/secrets"));
        assert_eq!(apart.config.rabbitmq.password, None);
        assert_eq!(
            apart.config.rabbitmq.password_file.as_deref(),
            Some(Path::new("/etc/azaion/secrets/rabbitmq-password"))
        );
        let written: Vec<_> = apart
            .files
            .iter()
            .map(|(path, secret)| (path.to_str().unwrap(), secret.expose()))
            .collect();
        assert_eq!(
            written,
            [
                ("/etc/azaion/secrets/api-password", "api s3cret"),
                ("/etc/azaion/secrets/rabbitmq-password", "broker s3cret")
            ]
        );
    }
}
