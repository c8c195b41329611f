//! `azaion config`: the configuration made from variables, checked, and explained.
//!
//! What is wrong is exit code 2, with every problem; a file that cannot be written is exit code 1. Where the passwords are
//! kept apart, their files are written first and the configuration last: a configuration never names a file that is not there.

use crate::{
    args::{ConfigCheckArgs, ConfigCommand, RenderArgs},
    place, program,
};
use anyhow::{Context, Result};
use serde_json::json;
use service::{
    Config, ConfigError,
    config::{self, Apart, Dotenv, DotenvError, Problem, Profile},
};
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

/// Exit code where problems were found.
const FOUND_PROBLEMS: u8 = 2;
/// The service's group reads the configuration, nobody else does (CFG-2).
const CONFIG_MODE: u32 = 0o640;
/// The service manager hands secrets on; nobody else reads them.
const SECRET_MODE: u32 = 0o600;

/// Runs the command.
pub fn run(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Render(args) => render(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Example => {
            program::answer(&config::example());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn render(args: &RenderArgs) -> Result<ExitCode> {
    let made = Dotenv::load(&args.env_file, args.profile).and_then(|env| {
        config::render(&env, args.profile).map_err(|problems| DotenvError::Invalid {
            path: args.env_file.clone(),
            problems,
        })
    });
    let config = match made {
        Ok(config) => config,
        Err(error @ DotenvError::Read { .. }) => return Err(error.into()),
        Err(error) => {
            eprintln!("azaion: {error}\nazaion: nothing was written");
            return Ok(FOUND_PROBLEMS.into());
        }
    };
    let config = match secrets_folder(args)? {
        Some(folder) => keep_apart(config, &folder)?,
        None => config,
    };
    let head = format!(
        "Made from {} by `azaion config render` for {}: what is changed here is lost the next time.",
        args.env_file.display(),
        args.profile
    );
    place::put(
        &args.output,
        config::commented(&config, &head).as_bytes(),
        CONFIG_MODE,
    )?;
    program::answer(&format!("{}\n", args.output.display()));
    Ok(ExitCode::SUCCESS)
}

/// Where the passwords go, if not into the configuration.
fn secrets_folder(args: &RenderArgs) -> Result<Option<PathBuf>> {
    let folder = match (&args.secrets, args.profile) {
        (Some(folder), _) => folder.clone(),
        (None, Profile::Production) => args.output.with_file_name("secrets"),
        (None, Profile::Development) => return Ok(None),
    };
    std::path::absolute(&folder)
        .map(Some)
        .with_context(|| format!("cannot tell where {} is", folder.display()))
}

fn keep_apart(config: Config, folder: &Path) -> Result<Config> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot create {}", folder.display()));
        }
        _ => {}
    }
    let Apart { config, files } = Apart::from(config, folder);
    for (path, secret) in files {
        // The reader takes one line end off: with one of its own, the secret may end in another.
        let mut line = Zeroizing::new(String::with_capacity(secret.expose().len() + 1));
        line.push_str(secret.expose());
        line.push('\n');
        place::put(&path, line.as_bytes(), SECRET_MODE)?;
    }
    Ok(config)
}

fn check(args: &ConfigCheckArgs) -> Result<ExitCode> {
    let path = fs::canonicalize(&args.config).unwrap_or_else(|_| args.config.clone());
    let (said, problems) = problems(&path);
    if args.json {
        let listed: Vec<_> = problems
            .iter()
            .map(|Problem { key, message }| json!({ "key": key, "message": message }))
            .collect();
        let told = json!({ "config": path, "problems": listed });
        program::answer(&format!("{told}\n"));
    } else if let Some(said) = said {
        eprintln!("azaion: {said}");
    } else {
        program::answer(&format!("{}: no problems\n", path.display()));
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        FOUND_PROBLEMS.into()
    })
}

/// Everything that is wrong with a configuration: as a text, and one by one. A problem of the file itself has no key.
pub fn problems(path: &Path) -> (Option<String>, Vec<Problem>) {
    let checked = Config::load(path).and_then(|config| match config.secret_files() {
        problems if problems.is_empty() => Ok(()),
        problems => Err(ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        }),
    });
    match checked {
        Ok(()) => (None, Vec::new()),
        Err(error) => {
            let said = error.to_string();
            let problems = match error {
                ConfigError::Invalid { problems, .. } => problems,
                _ => vec![Problem {
                    key: String::new(),
                    message: said.clone(),
                }],
            };
            (Some(said), problems)
        }
    }
}
