//! `azaion import yolo`: the command around [`import`].

use crate::{
    args::ImportYoloArgs,
    console::Task,
    import::{
        self, Address, Skip, Target,
        publish::{self, Login},
    },
    program::BAD_USAGE,
};
use anyhow::{Context, Result, bail};
use serde_json::json;
use service::{Config, Credentials, Secret, shutdown::Shutdown};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Exit code of an import that the same command may finish.
const TRY_AGAIN: u8 = 75;

/// Runs the command.
pub fn run(args: &ImportYoloArgs, shutdown: &Shutdown) -> Result<ExitCode> {
    match &args.to {
        Target::File(path) => to_file(args, path),
        Target::Broker(address) => match address.parse() {
            Ok(address) => to_broker(args, address, shutdown),
            Err(error) => {
                eprintln!("azaion: {error}");
                Ok(BAD_USAGE.into())
            }
        },
    }
}

fn to_file(args: &ImportYoloArgs, path: &Path) -> Result<ExitCode> {
    let task = Task::new("import", 0);
    let summary = import::yolo(&args.dir, path, |done, all| task.at_of(done as u64, all as u64))?;
    task.done(&format!(
        "{} messages with {} detections; {} files skipped",
        summary.messages,
        summary.detections,
        summary.skipped.len()
    ));
    if args.json {
        let skipped = reasons(&summary.skipped);
        println!(
            "{}",
            json!({ "messages": summary.messages, "detections": summary.detections, "skipped": skipped, "to": path })
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn to_broker(args: &ImportYoloArgs, address: Address, shutdown: &Shutdown) -> Result<ExitCode> {
    let login = login(args, address)?;
    let task = Task::new("import", 0);
    let published = publish::yolo(&args.dir, &login, &shutdown.flag(), |done, all| {
        task.at_of(done as u64, all as u64)
    });
    let published = match published {
        Err(error) if error.is_temporary() => {
            eprintln!("azaion: {error}");
            return Ok(TRY_AGAIN.into());
        }
        published => published?,
    };
    task.done(&format!(
        "{} messages confirmed, {} were there already, {} detections; {} files skipped",
        published.messages,
        published.known,
        published.detections,
        published.skipped.len()
    ));
    if args.json {
        println!(
            "{}",
            json!({
                "messages": published.messages, "known": published.known, "detections": published.detections,
                "skipped": reasons(&published.skipped), "stopped": published.stopped, "to": login.address.to_string(),
            })
        );
    }
    if published.stopped {
        eprintln!("Stopped. The same command goes on from here.");
        return Ok(TRY_AGAIN.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn reasons(skipped: &[(PathBuf, Skip)]) -> Vec<serde_json::Value> {
    let reason = |(path, why): &(PathBuf, Skip)| json!({ "path": path, "reason": why.to_string() });
    skipped.iter().map(reason).collect()
}

/// The account: by the address, what is missing there by the configuration.
fn login(args: &ImportYoloArgs, address: Address) -> Result<Login> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let password = match (&args.password_file, &config) {
        (Some(file), _) => Secret::from_file(file)?,
        (None, Some(config)) => config.rabbitmq_password(&Credentials::from_systemd())?,
        (None, None) => bail!("the broker wants a password: give --password-file FILE or --config FILE"),
    };
    let broker = config.map(|config| config.rabbitmq);
    let user = address
        .user
        .clone()
        .or_else(|| broker.as_ref().map(|broker| broker.user.clone()))
        .context("the address names no user: rabbitmq-stream://USER@HOST[:PORT]/STREAM")?;
    let ca_file = broker.as_ref().and_then(|broker| broker.tls_ca_file.clone());
    Ok(Login {
        address,
        user,
        password,
        virtual_host: broker.map_or_else(|| "/".to_owned(), |broker| broker.virtual_host),
        ca_file: args.ca_file.clone().or(ca_file),
        create: args.create,
    })
}
