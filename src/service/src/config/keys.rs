//! Which keys there are: the variables they come from, and what an unknown key was probably meant to be.

use serde_json::{Map, Value};

use super::{Config, Problem};

/// Every variable of `.env` (REQUIREMENTS 1) and the key of `config.yaml` that it becomes.
pub const VARIABLES: [(&str, &str); 19] = [
    ("AZAION_API_URL", "api.url"),
    ("AZAION_API_EMAIL", "api.email"),
    ("AZAION_API_PASSWORD", "api.password"),
    ("RABBITMQ_HOST", "rabbitmq.host"),
    ("RABBITMQ_PORT", "rabbitmq.port"),
    ("RABBITMQ_USER", "rabbitmq.user"),
    ("RABBITMQ_PASSWORD", "rabbitmq.password"),
    ("RABBITMQ_QUEUE_NAME", "rabbitmq.queue_name"),
    ("AZAION_ROOT_DIR", "root_dir"),
    ("AZAION_DATA_DIR", "data_dir"),
    ("AZAION_DATA_SEED_DIR", "data_seed_dir"),
    ("AZAION_DATA_DELETED_DIR", "data_deleted_dir"),
    ("TRAINING_MODEL", "training.model"),
    ("TRAINING_EPOCHS", "training.epochs"),
    ("TRAINING_BATCH_SIZE", "training.batch_size"),
    ("TRAINING_IMGSZ", "training.imgsz"),
    ("TRAINING_SAVE_PERIOD", "training.save_period"),
    ("TRAINING_WORKERS", "training.workers"),
    ("EXPORT_ONNX_IMGSZ", "export.onnx_imgsz"),
];

/// Further variables, which none needs: for what a network between machines may want. Each has a default in every profile.
pub const MORE_VARIABLES: [(&str, &str); 7] = [
    ("RABBITMQ_VIRTUAL_HOST", "rabbitmq.virtual_host"),
    ("RABBITMQ_TLS", "rabbitmq.tls"),
    ("RABBITMQ_TLS_CA_FILE", "rabbitmq.tls_ca_file"),
    ("RABBITMQ_HEARTBEAT_S", "rabbitmq.heartbeat_s"),
    ("RABBITMQ_BUFFER_MB", "rabbitmq.buffer_mb"),
    ("RABBITMQ_ACCEPT_LOSS_BEFORE", "rabbitmq.accept_loss_before"),
    ("TRAINING_DEVICE", "training.device"),
];

/// Both, those that production requires first.
pub(super) fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    VARIABLES.into_iter().chain(MORE_VARIABLES)
}

/// The variable whose name is nearest to what was written.
pub(super) fn nearest_variable(written: &str) -> Option<&'static str> {
    variables()
        .map(|(name, _)| name)
        .max_by(|a, b| alike(written, a).total_cmp(&alike(written, b)))
}

/// One problem for each key of `tree` that [`Config`] does not have.
pub(super) fn unknown(tree: &Value) -> Vec<Problem> {
    let schema = schema();
    let mut known = Vec::new();
    paths(&schema, "", &mut known);
    let mut problems = Vec::new();
    compare(tree, &schema, "", &known, &mut problems);
    problems
}

/// The default configuration as a tree: it holds every key there is.
pub(super) fn schema() -> Value {
    // Serialising plain structs into a value cannot fail; an empty schema would only make every key unknown.
    serde_json::to_value(Config::default()).unwrap_or(Value::Object(Map::new()))
}

pub(super) fn paths(tree: &Value, prefix: &str, into: &mut Vec<String>) {
    let Value::Object(map) = tree else { return };
    for (key, value) in map {
        let path = join(prefix, key);
        paths(value, &path, into);
        into.push(path);
    }
}

fn compare(tree: &Value, schema: &Value, prefix: &str, known: &[String], problems: &mut Vec<Problem>) {
    let (Value::Object(tree), Value::Object(schema)) = (tree, schema) else {
        return;
    };
    for (key, value) in tree {
        let path = join(prefix, key);
        match schema.get(key) {
            Some(schema) => compare(value, schema, &path, known, problems),
            None => problems.push(Problem {
                message: message(&path, known),
                key: path,
            }),
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

fn message(path: &str, known: &[String]) -> String {
    match nearest(path, known) {
        Some(nearest) => format!("unknown key; the nearest known one is `{nearest}`"),
        None => "unknown key".into(),
    }
}

fn nearest<'a>(path: &str, known: &'a [String]) -> Option<&'a String> {
    known
        .iter()
        .max_by(|a, b| similarity(path, a).total_cmp(&similarity(path, b)))
}

/// How near a known key is to what was written: by its path, by its last part (a right key in the wrong section), or
/// by the name of its variable.
fn similarity(path: &str, known: &str) -> f64 {
    let variable = variables()
        .find(|(_, key)| *key == known)
        .map_or(0.0, |(name, _)| alike(path, name));
    let by_last_part = alike(last(path), last(known)) * 0.99;
    alike(path, known).max(by_last_part).max(variable)
}

fn alike(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&plain(a), &plain(b))
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn plain(key: &str) -> String {
    key.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_becomes_a_key_that_exists() {
        let mut known = Vec::new();
        paths(&schema(), "", &mut known);
        for (variable, key) in variables() {
            assert!(known.iter().any(|known| known == key), "{variable} -> {key}");
        }
    }

    #[test]
    fn an_unknown_key_is_told_its_nearest_known_one() {
        for (written, expected) in [
            (r#"{"trainig": {}}"#, "training"),
            (r#"{"training": {"batchsize": 1}}"#, "training.batch_size"),
            (r#"{"training": {"batch": 1}}"#, "training.batch_size"),
            (r#"{"training": {"onnx_imgsz": 1}}"#, "export.onnx_imgsz"),
            (r#"{"TRAINING_EPOCHS": 1}"#, "training.epochs"),
            (r#"{"AZAION_DATA_DELETED_DIR": 1}"#, "data_deleted_dir"),
            (r#"{"RABBITMQ_QUEUE_NAME": 1}"#, "rabbitmq.queue_name"),
            (r#"{"rabbitmq": {"usr": 1}}"#, "rabbitmq.user"),
            (r#"{"epochs": 1}"#, "training.epochs"),
        ] {
            let problems = unknown(&serde_json::from_str(written).unwrap());
            assert_eq!(problems.len(), 1, "{written}");
            assert!(
                problems[0].message.ends_with(&format!("`{expected}`")),
                "{written}: {}",
                problems[0]
            );
        }
    }
}
