//! Backups elsewhere: on a real S3 server in this process, and behind rclone, on loopback.

use crate::{
    common::{PASSWORD, Place, content, differences, secret},
    whole::{expected, furnished},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use std::{fs, process::Command};
use tokio::{net::TcpListener, runtime::Runtime};

const ACCESS: &str = "an-access-key";
const SECRET: &str = "a-secret-key-of-the-tests";

/// An S3 server with one bucket; gone with its runtime.
struct Server {
    address: String,
    _runtime: Runtime,
}

impl Server {
    fn start(place: &Place) -> Self {
        let folder = place.path("s3");
        fs::create_dir_all(folder.join("bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(&folder).unwrap());
        service.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
        let service = service.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

fn on_s3(place: &mut Place) -> Server {
    let server = Server::start(place);
    secret(&place.path("access"), ACCESS);
    secret(&place.path("secret"), SECRET);
    let backup = &mut place.config.backup;
    backup.repository = Some(format!("s3:http://{}/bucket/trees/one", server.address));
    backup.s3_access_key_file = Some(place.folder.path().join("access"));
    backup.s3_secret_key_file = Some(place.folder.path().join("secret"));
    server
}

#[test]
fn a_tree_goes_to_an_s3_server_and_comes_back_and_restic_reads_it_there_too() {
    let mut place = furnished();
    let server = on_s3(&mut place);
    let ran = place.run();
    assert_eq!(ran.check.problems, [""; 0]);
    let again = place.run();
    assert!(
        again.backup.added_bytes < ran.backup.added_bytes / 20,
        "{again:?}"
    );
    let restored = place.path("restored");
    place.restore_latest(&restored);
    assert_eq!(differences(&content(&restored), &expected(&place)), [""; 0]);
    assert_eq!(place.round().drill().unwrap().problems, [""; 0]);

    let mut restic = Command::new("restic");
    restic
        .args(["--no-cache", "--repo"])
        .arg(format!("s3:http://{}/bucket/trees/one", server.address))
        .args(["restore", "latest", "--target"])
        .arg(place.path("restored-by-restic"))
        .env("AWS_ACCESS_KEY_ID", ACCESS)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("RESTIC_PASSWORD", PASSWORD);
    match restic.output() {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            let restored = content(&place.path("restored-by-restic"));
            assert_eq!(differences(&restored, &expected(&place)), [""; 0]);
        }
        Err(_) => eprintln!("skipped: restic on S3: it is not installed (Debian: apt-get install restic)"),
    }
}

#[test]
fn a_key_that_the_server_does_not_take_is_told_of_without_it() {
    let mut place = furnished();
    let _server = on_s3(&mut place);
    secret(&place.path("secret"), "an0ther-secret");
    let error = place.round().run().unwrap_err().to_string();
    assert!(
        error.contains("look for one") && error.contains("s3:http://127.0.0.1"),
        "{error}"
    );
    assert!(!error.contains("an0ther") && !error.contains(ACCESS), "{error}");
}

#[test]
fn a_server_without_keys_is_told_of_before_anything_is_sent() {
    let mut place = furnished();
    place.config.backup.repository = Some("s3:http://127.0.0.1:9/bucket".into());
    let error = place.try_round().map(drop).unwrap_err().to_string();
    assert!(error.contains("backup-s3-access-key"), "{error}");
}

#[test]
fn a_tree_goes_behind_rclone_and_comes_back() {
    if Command::new("rclone").arg("version").output().is_err() {
        eprintln!("skipped: rclone: it is not installed (Debian: apt-get install rclone)");
        return;
    }
    let mut place = furnished();
    fs::create_dir(place.path("nas")).unwrap();
    let remote = format!("[nas]\ntype = alias\nremote = {}\n", place.path("nas").display());
    secret(&place.path("rclone.conf"), &remote);
    place.config.backup.repository = Some("rclone:nas:trees".into());
    place.config.backup.rclone_config_file = Some(place.path("rclone.conf"));
    let ran = place.run();
    assert_eq!(ran.check.problems, [""; 0]);
    assert!(place.path("nas/trees/config").exists());
    let restored = place.path("restored");
    place.restore_latest(&restored);
    assert_eq!(differences(&content(&restored), &expected(&place)), [""; 0]);
}
