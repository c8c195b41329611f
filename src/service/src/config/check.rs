//! What a value must be, beyond its type. Every problem is collected, not only the first.

use std::path::{Component, Path};

use super::{Alerts, Backup, Config, Hours, Problem, Training};

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
        backup,
        alerts,
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
    backups(backup, root_dir, &mut found);
    telling(alerts, &mut found);
    found.0
}

fn backups(backup: &Backup, root: &Path, found: &mut Findings) {
    if let Some(repository) = &backup.repository {
        found.unless(
            is_repository(repository),
            "backup.repository",
            "must be an absolute path, s3:https://HOST/BUCKET/PREFIX (http only for this machine) or rclone:REMOTE:PATH",
        );
        found.unless(
            !Path::new(repository).starts_with(root),
            "backup.repository",
            "lies in root_dir, and would be lost with it; name another disk",
        );
    }
    let kept = [backup.keep_daily, backup.keep_weekly, backup.keep_monthly];
    found.unless(
        kept != [0; 3],
        "backup.keep_daily",
        "and keep_weekly and keep_monthly are 0: no backup would be kept",
    );
    for (key, value, most) in [
        ("backup.keep_daily", backup.keep_daily, 3660),
        ("backup.keep_weekly", backup.keep_weekly, 520),
        ("backup.keep_monthly", backup.keep_monthly, 1200),
        ("backup.check_parts", backup.check_parts, 3660),
        ("backup.drill_files", backup.drill_files, 1_000_000),
    ] {
        found.within(key, value, 0, most);
    }
}

fn telling(alerts: &Alerts, found: &mut Findings) {
    found.one_of(
        "alerts.smtp_security",
        &alerts.smtp_security,
        &["starttls", "tls", "none"],
    );
    found.one_of(
        "alerts.webhook_format",
        &alerts.webhook_format,
        &["json", "slack", "ntfy"],
    );
    found.unless(alerts.smtp_port != 0, "alerts.smtp_port", "must be 1 to 65535");
    if let Some(host) = &alerts.smtp_host {
        found.unless(
            alerts.smtp_security != "none" || is_loopback(host),
            "alerts.smtp_security",
            "is none, which is for a mail server on this machine only",
        );
        for (key, addresses) in [
            ("alerts.mail_from", &alerts.mail_from),
            ("alerts.mail_to", &alerts.mail_to),
        ] {
            found.unless(addresses.is_some(), key, "is needed where smtp_host is set");
        }
    }
    for (key, addresses) in [
        ("alerts.mail_from", &alerts.mail_from),
        ("alerts.mail_to", &alerts.mail_to),
    ] {
        let mut all = addresses.iter().flat_map(|all| all.split(','));
        found.unless(
            all.all(|one| one.contains('@')),
            key,
            "must be addresses with an @, with commas between them",
        );
    }
}

/// A place that backups can go to.
fn is_repository(place: &str) -> bool {
    if let Some(url) = place.strip_prefix("s3:") {
        let bucket = url
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map(|(_, path)| path.trim_matches('/'));
        return is_safe_url(url) && bucket.is_some_and(|bucket| !bucket.is_empty());
    }
    if let Some(remote) = place.strip_prefix("rclone:") {
        let plain = |c: char| !c.is_control() && !"'\"\\".contains(c);
        return remote.split_once(':').is_some_and(|(name, _)| !name.is_empty()) && remote.chars().all(plain);
    }
    Path::new(place).is_absolute()
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

/// Whether secrets may be sent to this address: HTTPS, or plain HTTP towards this machine.
pub fn is_safe_url(url: &str) -> bool {
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
    fn backups_go_to_a_folder_a_bucket_or_a_remote_and_not_into_the_tree() {
        let told = |repository: &str| {
            let mut config = Config::default();
            config.backup.repository = Some(repository.into());
            problems(&config).len()
        };
        for good in [
            "/srv/backup",
            "s3:https://s3.example.com/bucket/trees/one",
            "s3:http://127.0.0.1:9000/bucket",
            "rclone:nas:backup/azaion",
            "rclone:nas:",
        ] {
            assert_eq!(told(good), 0, "{good}");
        }
        for bad in [
            "backup",
            "",
            "/azaion/backup",
            "s3:http://s3.example.com/bucket",
            "s3:https://s3.example.com",
            "s3:https://key:secret@s3.example.com/bucket",
            "rclone:nas",
            "rclone::x",
            "rclone:nas:'; x",
            "rest:http://127.0.0.1/",
        ] {
            assert_eq!(told(bad), 1, "{bad}");
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
