//! What a value must be, beyond its type. Every problem is collected, not only the first.

use std::path::{Component, Path};

use super::{Config, Hours, Problem, Training};

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Findings(Vec::new());
    let Config {
        root_dir,
        data_dir,
        data_seed_dir,
        data_deleted_dir,
        api,
        rabbitmq,
        training,
        export,
    } = config;

    found.unless(root_dir.is_absolute(), "root_dir", "must be an absolute path");
    let folders = [
        ("data_dir", data_dir),
        ("data_seed_dir", data_seed_dir),
        ("data_deleted_dir", data_deleted_dir),
    ];
    for (i, (key, folder)) in folders.iter().enumerate() {
        found.unless(
            is_inside(folder),
            key,
            "must be a relative path below root_dir, without `..`",
        );
        if let Some((other, _)) = folders[..i].iter().find(|(_, other)| other == folder) {
            found.add(
                key,
                format!("is the same folder as {other}; an annotation lives in one of them"),
            );
        }
    }

    found.unless(
        is_safe_url(&api.url),
        "api.url",
        "must begin with https:// (http:// only for this machine)",
    );
    found.unless(
        api.email.as_deref().is_none_or(|email| email.contains('@')),
        "api.email",
        "must hold an @",
    );
    found.one_source("api", api.password.is_some(), api.password_file.is_some());

    found.unless(
        !rabbitmq.host.trim().is_empty(),
        "rabbitmq.host",
        "must not be empty",
    );
    found.unless(rabbitmq.port != 0, "rabbitmq.port", "must be 1 to 65535");
    found.unless(!rabbitmq.user.is_empty(), "rabbitmq.user", "must not be empty");
    found.unless(
        !rabbitmq.queue_name.is_empty(),
        "rabbitmq.queue_name",
        "must not be empty",
    );
    found.unless(
        !rabbitmq.virtual_host.is_empty(),
        "rabbitmq.virtual_host",
        "must not be empty; the default one is /",
    );
    found.unless(
        rabbitmq.tls || rabbitmq.tls_ca_file.is_none(),
        "rabbitmq.tls_ca_file",
        "is set but rabbitmq.tls is not; set it to true",
    );
    found.within("rabbitmq.heartbeat_s", rabbitmq.heartbeat_s, 1, 300);
    found.within("rabbitmq.buffer_mb", rabbitmq.buffer_mb, 8, 65_536);
    found.one_source(
        "rabbitmq",
        rabbitmq.password.is_some(),
        rabbitmq.password_file.is_some(),
    );

    found.unless(
        !training.model.trim().is_empty(),
        "training.model",
        "must name a file or a model",
    );
    found.within("training.epochs", training.epochs, 1, 100_000);
    found.within("training.batch_size", training.batch_size, 1, 4096);
    found.image_size("training.imgsz", training.imgsz);
    found.within("training.save_period", training.save_period, 1, 100_000);
    found.within("training.workers", training.workers, 0, 1024);
    found.unless(
        is_device(&training.device),
        "training.device",
        "must be auto, cpu, cuda or cuda:N",
    );
    found.within("training.threads", training.threads, 0, 1024);
    found.within("training.keep_checkpoints", training.keep_checkpoints, 1, 1000);
    found.within("training.save_minutes", training.save_minutes, 1, 1440);
    for (key, value) in [
        ("training.step_limit_s", training.step_limit_s),
        ("training.validation_limit_s", training.validation_limit_s),
        ("training.export_limit_s", training.export_limit_s),
    ] {
        found.within(key, value, 1, 3600);
    }
    if let Err(error) = Hours::parse(&training.hours) {
        found.add("training.hours", error.to_string());
    }
    hyper_parameters(training, &mut found);
    found.image_size("export.onnx_imgsz", export.onnx_imgsz);
    found.0
}

fn hyper_parameters(training: &Training, found: &mut Findings) {
    found.one_of(
        "training.precision",
        &training.precision,
        &["auto", "fp32", "bf16", "fp16"],
    );
    found.one_of(
        "training.optimizer",
        &training.optimizer,
        &["auto", "MuSGD", "AdamW", "SGD"],
    );
    found.within("training.nbs", training.nbs, 1, 65_536);
    for (key, value, most) in [
        ("training.lr0", training.lr0, 1e3),
        ("training.lrf", training.lrf, 1e3),
        ("training.momentum", training.momentum, 1.0),
        ("training.weight_decay", training.weight_decay, 1.0),
        ("training.warmup_epochs", training.warmup_epochs, 1e5),
        ("training.warmup_momentum", training.warmup_momentum, 1.0),
        ("training.warmup_bias_lr", training.warmup_bias_lr, 1e3),
        ("training.box", training.r#box, 1e3),
        ("training.cls", training.cls, 1e3),
        ("training.dfl", training.dfl, 1e3),
        ("training.hsv_h", training.hsv_h, 1.0),
        ("training.hsv_s", training.hsv_s, 1.0),
        ("training.hsv_v", training.hsv_v, 1.0),
        ("training.degrees", training.degrees, 180.0),
        ("training.translate", training.translate, 1.0),
        ("training.scale", training.scale, 1.0),
        ("training.shear", training.shear, 89.0),
        ("training.perspective", training.perspective, 0.01),
        ("training.flipud", training.flipud, 1.0),
        ("training.fliplr", training.fliplr, 1.0),
        ("training.mosaic", training.mosaic, 1.0),
        ("training.mixup", training.mixup, 1.0),
    ] {
        found.up_to(key, value, most);
    }
}

struct Findings(Vec<Problem>);

impl Findings {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Problem {
            key: key.to_owned(),
            message: message.into(),
        });
    }

    fn unless(&mut self, right: bool, key: &str, message: &str) {
        if !right {
            self.add(key, message);
        }
    }

    fn within(&mut self, key: &str, value: u32, low: u32, high: u32) {
        if !(low..=high).contains(&value) {
            self.add(key, format!("is {value}, must be {low} to {high}"));
        }
    }

    fn up_to(&mut self, key: &str, value: f64, most: f64) {
        if !(0.0..=most).contains(&value) {
            self.add(key, format!("is {value}, must be 0 to {most}"));
        }
    }

    fn one_of(&mut self, key: &str, value: &str, known: &[&str]) {
        if !known.contains(&value) {
            self.add(key, format!("is {value}, must be one of {}", known.join(", ")));
        }
    }

    /// The network's coarsest stride is 32 pixels.
    fn image_size(&mut self, key: &str, value: u32) {
        if value == 0 || !value.is_multiple_of(32) || value > 8192 {
            self.add(key, format!("is {value}, must be a multiple of 32 up to 8192"));
        }
    }

    fn one_source(&mut self, section: &str, inline: bool, file: bool) {
        if inline && file {
            self.add(
                &format!("{section}.password"),
                "is set beside password_file; keep one of them",
            );
        }
    }
}

fn is_inside(folder: &Path) -> bool {
    let mut parts = folder.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn is_device(device: &str) -> bool {
    matches!(device, "auto" | "cpu" | "cuda")
        || device
            .strip_prefix("cuda:")
            .is_some_and(|number| number.parse::<u8>().is_ok())
}

fn is_safe_url(url: &str) -> bool {
    let (host_of, plain) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = host_of.split(['/', '?', '#']).next().unwrap_or_default();
    // A user name before an @ would hide the true host.
    if authority.is_empty() || authority.contains('@') || url.contains(char::is_whitespace) {
        return false;
    }
    !plain || is_loopback(authority)
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in [
            "https://api.example.com",
            "http://127.0.0.1:8080/x",
            "http://localhost",
            "http://[::1]:80/",
        ] {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in [
            "http://api.example.com",
            "http://localhost@api.example.com",
            "http://127.0.0.1.example.com",
            "ftp://x",
            "api.example.com",
            "https://",
            "https://a b",
            "",
        ] {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_folder_stays_below_the_root() {
        for (folder, inside) in [
            ("data", true),
            ("a/b", true),
            ("", false),
            ("/data", false),
            ("../data", false),
            ("a/../b", false),
        ] {
            assert_eq!(is_inside(Path::new(folder)), inside, "{folder}");
        }
    }
}
