//! Files with secrets: may others read them? What the programs refuse anyway, told before the next start of one.

use super::{Context, Found, found};
use crate::{Reading, catalog};
use std::{fs, os::unix::fs::MetadataExt};

const CHECK: &str = "secrets";

pub(super) fn look(context: &Context) -> Found {
    let file = context.config_file.display();
    let mut readings = Vec::new();
    match fs::metadata(&context.config_file) {
        Ok(meta) if meta.mode() & 0o022 != 0 => {
            let what = format!("others may write it (mode {:04o})", meta.mode() & 0o777);
            readings.push(Reading::problem(CHECK, &file, what).about(catalog::SECRETS));
        }
        Ok(_) => readings.push(Reading::ok(CHECK, &file, "nobody else may write it").about(catalog::SECRETS)),
        Err(error) => readings.push(Reading::warning(CHECK, &file, error)),
    }
    let problems = context.config.secret_files();
    if problems.is_empty() {
        readings.push(Reading::ok(CHECK, "secrets", "nobody else may read them").about(catalog::SECRETS));
    }
    for problem in problems {
        readings.push(Reading::problem(CHECK, "secrets", problem).about(catalog::SECRETS));
    }
    found(readings)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_that_others_may_read_or_write_are_named() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        let secret = root.path().join("secret");
        fs::write(&secret, "squirrel").unwrap();
        fs::write(&context.config_file, "").unwrap();
        context.config.rabbitmq.password_file = Some(secret.clone());
        let with = |config: u32, file: u32| {
            fs::set_permissions(&context.config_file, fs::Permissions::from_mode(config)).unwrap();
            fs::set_permissions(&secret, fs::Permissions::from_mode(file)).unwrap();
            look(&context).readings
        };
        assert!(
            with(0o640, 0o600)
                .iter()
                .all(|reading| reading.grade == Grade::Ok)
        );
        let readings = with(0o666, 0o644);
        assert!(
            readings.iter().all(|reading| reading.grade == Grade::Problem),
            "{readings:?}"
        );
        assert!(
            readings[1].what.contains("rabbitmq.password_file"),
            "{readings:?}"
        );
        assert!(!format!("{readings:?}").contains("squirrel"));
    }
}
