//! A repository in a bucket of an S3 server, laid out as restic does it there.
//!
//! A request that fails is repeated with growing pauses, for three minutes at most. The server's certificate is verified
//! against those of the system; plain HTTP is for this machine only, which the configuration's check sees to.

use crate::{
    error::{Error, Result},
    target::S3,
};
use bytes::Bytes;
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use service::Secret;
use tokio::runtime::{Builder, Runtime};

/// Threads that wait for the server; the bytes come from the library's own.
const THREADS: usize = 2;

/// A prefix of a bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: AmazonS3,
    prefix: Path,
    runtime: Runtime,
    location: String,
}

impl Bucket {
    /// Reaches for nothing yet.
    pub(crate) fn new(at: &S3, region: &str, [access, secret]: &[Secret; 2]) -> Result<Self> {
        let unusable = |reason: String| Error::Address { reason };
        let store = AmazonS3Builder::new()
            .with_endpoint(&at.endpoint)
            .with_bucket_name(&at.bucket)
            .with_region(region)
            .with_access_key_id(access.expose())
            .with_secret_access_key(secret.expose())
            .with_allow_http(at.endpoint.starts_with("http://"))
            .with_virtual_hosted_style_request(false)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .map_err(|error| unusable(format!("cannot start threads for it: {error}")))?;
        Ok(Self {
            store,
            prefix: Path::from(at.prefix.as_str()),
            runtime,
            location: format!("s3:{}/{}/{}", at.endpoint, at.bucket, at.prefix),
        })
    }

    /// The object of a file: packs lie in folders by the first byte of their name.
    fn object(&self, kind: FileType, id: &Id) -> Path {
        let name = id.to_hex();
        match kind {
            FileType::Config => self.prefix.clone().join("config"),
            FileType::Pack => self.folder(kind).join(&name[..2]).join(&*name),
            _ => self.folder(kind).join(&*name),
        }
    }

    fn folder(&self, kind: FileType) -> Path {
        self.prefix.clone().join(kind.dirname())
    }

    /// The names in a folder of the repository that is not one of the library's.
    pub(crate) fn names_in(&self, folder: &str) -> object_store::Result<Vec<String>> {
        let found = self.list(&self.prefix.clone().join(folder))?;
        let name = |object: object_store::ObjectMeta| object.location.filename().map(str::to_owned);
        Ok(found.into_iter().filter_map(name).collect())
    }

    /// A file of such a folder.
    pub(crate) fn read_in(&self, folder: &str, name: &str) -> object_store::Result<Vec<u8>> {
        self.get(&self.prefix.clone().join(folder).join(name))
            .map(|bytes| bytes.to_vec())
    }

    /// Removes a file of such a folder.
    pub(crate) fn remove_in(&self, folder: &str, name: &str) -> object_store::Result<()> {
        let object = self.prefix.clone().join(folder).join(name);
        self.runtime.block_on(self.store.delete(&object))
    }

    /// The objects below a folder, with their sizes.
    fn list(&self, folder: &Path) -> object_store::Result<Vec<object_store::ObjectMeta>> {
        use futures::TryStreamExt as _;
        self.runtime.block_on(self.store.list(Some(folder)).try_collect())
    }

    fn get(&self, object: &Path) -> object_store::Result<Bytes> {
        self.runtime
            .block_on(async { self.store.get(object).await?.bytes().await })
    }
}

fn failed(action: &'static str, object: &Path) -> impl FnOnce(object_store::Error) -> Box<RusticError> {
    let object = object.to_string();
    move |error| {
        RusticError::with_source(ErrorKind::Backend, "cannot {action} {object}", error)
            .attach_context("action", action)
            .attach_context("object", object)
    }
}

impl ReadBackend for Bucket {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if kind == FileType::Config {
            let config = self.object(kind, &Id::default());
            return match self.runtime.block_on(self.store.head(&config)) {
                Ok(found) => Ok(vec![(
                    Id::default(),
                    u32::try_from(found.size).unwrap_or(u32::MAX),
                )]),
                Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(failed("look for", &config)(error)),
            };
        }
        let folder = self.folder(kind);
        let found = self.list(&folder).map_err(failed("list", &folder))?;
        Ok(found
            .into_iter()
            .filter_map(|object| {
                let id = object.location.filename()?.parse().ok()?;
                Some((id, u32::try_from(object.size).ok()?))
            })
            .collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let object = self.object(kind, id);
        self.get(&object).map_err(failed("read", &object))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let object = self.object(kind, id);
        let range = u64::from(offset)..u64::from(offset) + u64::from(length);
        self.runtime
            .block_on(self.store.get_range(&object, range))
            .map_err(failed("read", &object))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.object(kind, id).to_string()
    }
}

impl WriteBackend for Bucket {
    fn write_bytes(&self, kind: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let object = self.object(kind, id);
        let payload: PutPayload = content.into_vec().into_iter().collect();
        self.runtime
            .block_on(self.store.put(&object, payload))
            .map(drop)
            .map_err(failed("write", &object))
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let object = self.object(kind, id);
        self.runtime
            .block_on(self.store.delete(&object))
            .map_err(failed("remove", &object))
    }
}
