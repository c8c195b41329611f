//! An import into a stream of a RabbitMQ broker, by the official client.
//!
//! A broken-off import can be repeated. The names that can be imported, in order, make the name of the producer, and the
//! place in that order is the message's publishing id: the broker remembers the last id of every producer, and what it has
//! is not sent again. Should another list hold names that are there already, the queue drops them (QUE-3).
//!
//! A message counts once the broker has confirmed it. As many are under way as fit into [`UNDER_WAY_KIB`]. The client
//! asks a broker which commands it knows when it connects, which those before 3.11 do not understand.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annotation::{Name, Status};
use rabbitmq_stream_client::error::{ClientError, ProducerCreateError, StreamCreateError};
use rabbitmq_stream_client::types::{Message, ResponseCode};
use rabbitmq_stream_client::{
    Client, ClientOptions, Dedup, Environment, OnClosed, Producer, TlsConfiguration,
};
use service::Secret;
use store::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{RootCertStore, crypto::ring};

use super::find::{Files, Pair};
use super::{Address, ImportError, Skip, log};

/// Kibibytes of messages that are sent and not yet confirmed.
const UNDER_WAY_KIB: u32 = 32 << 10;
/// How long the broker may take to answer, or to confirm what it was sent.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
const HEARTBEAT_S: u32 = 10;

/// Where to publish, and as whom.
#[derive(Debug, Clone)]
pub struct Login {
    /// The stream and its broker.
    pub address: Address,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// The broker's virtual host.
    pub virtual_host: String,
    /// Certificates (PEM) that vouch for the broker; needed with TLS.
    pub ca_file: Option<PathBuf>,
    /// Make the stream if it is not there.
    pub create: bool,
}

/// What an import into a broker did.
#[derive(Debug, Default)]
pub struct Published {
    /// Messages that the broker has confirmed.
    pub messages: usize,
    /// Messages that it had already.
    pub known: usize,
    /// Detections in both.
    pub detections: usize,
    /// Files that were left out, and why.
    pub skipped: Vec<(PathBuf, Skip)>,
    /// Whether it was interrupted: the same command goes on.
    pub stopped: bool,
}

/// Why an import into a broker failed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The folder cannot be imported from.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The runtime cannot be started.
    #[error("cannot start threads: {0}")]
    Runtime(std::io::Error),
    /// The certificates are none.
    #[error("the certificates in {} cannot be used: {problem}", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS without certificates.
    #[error(
        "the official client knows no authorities of its own: give --ca-file FILE, for instance the system's bundle"
    )]
    NoAuthority,
    /// The host is no name that a certificate can hold.
    #[error("{host} is no name that a certificate can be verified for")]
    HostName {
        /// The host.
        host: String,
    },
    /// The broker cannot be reached, or does not answer.
    #[error("cannot reach the broker {host}:{port}: {problem}")]
    Unreachable {
        /// The broker.
        host: String,
        /// Its port.
        port: u16,
        /// What went wrong, and what it may mean.
        problem: String,
    },
    /// The broker does not let us.
    #[error("the broker refuses: {problem}")]
    Refused {
        /// What it says, and what to do.
        problem: String,
    },
    /// There is no such stream.
    #[error("the stream {stream} does not exist; give --create to make it")]
    NoStream {
        /// The stream.
        stream: String,
    },
    /// The broker did not take a message.
    #[error("the broker did not take the message about {name}: {code}; {confirmed} before it are confirmed")]
    NotTaken {
        /// The annotation.
        name: Name,
        /// What the broker says.
        code: String,
        /// How many messages it has taken.
        confirmed: usize,
    },
    /// The connection broke, or the broker fell silent.
    #[error(
        "the connection to the broker was lost after {confirmed} messages were confirmed; run the same command again, what the broker has is not sent twice"
    )]
    Lost {
        /// How many messages it has taken.
        confirmed: usize,
    },
    /// A file changed while it was imported.
    #[error("{} {reason}, though it could be read when the import began; run the same command again", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it now.
        reason: Skip,
    },
}

impl PublishError {
    /// Whether the same command may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Changed { .. }
        )
    }
}

/// Publishes a dataset folder; `watch(done, all)` is called after each image. `stop` ends it between two messages.
pub fn yolo(
    dir: &Path,
    login: &Login,
    stop: &AtomicBool,
    watch: impl FnMut(usize, usize),
) -> Result<Published, PublishError> {
    let (list, skipped) = sendable(dir)?;
    skipped.iter().for_each(log);
    // More threads than one: the client waits for its own tasks when it is dropped.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(PublishError::Runtime)?;
    let mut published = runtime.block_on(publish(dir, login, &list, stop, watch))?;
    runtime.shutdown_background();
    published.skipped = skipped;
    Ok(published)
}

type Skipped = Vec<(PathBuf, Skip)>;

/// What can be published, by name: every label is read and every image is there. What becomes of a name here must not change
/// while its message is under way, for the ids are counted by it.
fn sendable(dir: &Path) -> Result<(Vec<(Name, Pair)>, Skipped), ImportError> {
    let Files { pairs, mut skipped } = Files::find(dir)?;
    let mut list = Vec::with_capacity(pairs.len());
    for (name, pair) in pairs {
        match pair.check() {
            Ok(()) => list.push((name, pair)),
            Err(skip) => skipped.push(skip),
        }
    }
    if list.is_empty() {
        return Err(ImportError::Nothing {
            dir: dir.to_owned(),
            skipped: skipped.len(),
        });
    }
    list.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok((list, skipped))
}

/// The producer of a list of names: the same list is the same producer.
fn producer_name(list: &[(Name, Pair)]) -> String {
    let names: String = list.iter().map(|(name, _)| format!("{name}\n")).collect();
    format!("azaion-import-{}", Digest::of(names.as_bytes()))
}

/// The client's form of [`annotation::encode::message`], of the same bytes.
fn message(body: Vec<u8>, id: u64) -> Message {
    Message::builder()
        .publishing_id(id)
        .application_properties()
        .insert("AnnotationStatus", i32::from(Status::Created.number()))
        .message_builder()
        .body(body)
        .build()
}

async fn publish(
    dir: &Path,
    login: &Login,
    list: &[(Name, Pair)],
    stop: &AtomicBool,
    mut watch: impl FnMut(usize, usize),
) -> Result<Published, PublishError> {
    let producer_name = producer_name(list);
    let environment = login.reach().await?;
    if login.create {
        login.create_stream(&environment).await?;
    }
    let (producer, known) = login.produce(&environment, &producer_name).await?;
    let way = Arc::new(Way::new());
    producer.set_on_closed(Box::new(Closed(Arc::clone(&way)))).await;
    let mut sender = Sender {
        dir,
        producer,
        known,
        way,
        published: Published::default(),
    };
    let mut sent = Ok(());
    for (index, (name, pair)) in list.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            sender.published.stopped = true;
            break;
        }
        sent = sender.send(index as u64 + 1, name, pair).await;
        if sent.is_err() {
            break;
        }
        watch(index + 1, list.len());
    }
    sender.finish(sent).await
}

impl Login {
    fn lost(&self, problem: impl Into<String>) -> PublishError {
        PublishError::Unreachable {
            host: self.address.host.clone(),
            port: self.address.port,
            problem: problem.into(),
        }
    }

    /// Waits for an answer.
    async fn answer<T, E: Into<Failure>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, PublishError> {
        match timeout(ANSWER, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.explain(error.into())),
            Err(_) => Err(self.lost(format!("no answer in {} s; {OLD}", ANSWER.as_secs()))),
        }
    }

    fn explain(&self, failure: Failure) -> PublishError {
        let refused = |problem: String| PublishError::Refused { problem };
        match failure {
            Failure::NoStream | Failure::Code(ResponseCode::StreamDoesNotExist) => PublishError::NoStream {
                stream: self.address.stream.clone(),
            },
            Failure::Code(
                ResponseCode::AuthenticationFailure | ResponseCode::AuthenticationFailureLoopback,
            ) => refused(format!("user {} or the password is wrong", self.user)),
            Failure::Code(ResponseCode::VirtualHostAccessFailure) => refused(format!(
                "user {} may not enter the virtual host {}, or there is none of that name",
                self.user, self.virtual_host
            )),
            Failure::Code(ResponseCode::AccessRefused) => refused(format!(
                "user {} may not write to, or not make, the stream {}",
                self.user, self.address.stream
            )),
            Failure::Code(ResponseCode::StreamNotAvailable) => {
                self.lost("the stream is not available at the moment")
            }
            Failure::Code(code) => refused(format!("{code:?}")),
            Failure::Client(ClientError::RequestError(code)) => self.explain(Failure::Code(code)),
            Failure::Client(ClientError::ConnectionClosed | ClientError::AlreadyClosed) => {
                self.lost(format!("it closed the connection; {OLD}"))
            }
            Failure::Client(error) => self.lost(error.to_string()),
        }
    }

    async fn reach(&self) -> Result<Environment, PublishError> {
        let Self {
            address,
            user,
            password,
            virtual_host,
            ..
        } = self;
        let environment = Environment::builder()
            .host(&address.host)
            .port(address.port)
            .username(user)
            .password(password.expose())
            .virtual_host(virtual_host)
            .heartbeat(HEARTBEAT_S)
            .tls(self.tls()?);
        self.answer(environment.build()).await
    }

    /// How the connection is protected. The client would panic over a certificate that is none.
    fn tls(&self) -> Result<TlsConfiguration, PublishError> {
        if !self.address.tls {
            return Ok(TlsConfiguration::Disabled);
        }
        let host = &self.address.host;
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(PublishError::HostName { host: host.clone() });
        }
        let path = self.ca_file.as_ref().ok_or(PublishError::NoAuthority)?;
        check_authorities(path)?;
        // Fails where it was done before, which is as good.
        let _ = ring::default_provider().install_default();
        Ok(TlsConfiguration::Trusted {
            root_certificates_path: path.clone(),
            client_certificates: None,
        })
    }

    async fn create_stream(&self, environment: &Environment) -> Result<(), PublishError> {
        let created = async {
            match environment.stream_creator().create(&self.address.stream).await {
                Err(StreamCreateError::Create {
                    status: ResponseCode::StreamAlreadyExists,
                    ..
                }) => Ok(()),
                created => created,
            }
        };
        self.answer(created).await
    }

    /// The producer of that name, and the last id that the broker has of it.
    async fn produce(
        &self,
        environment: &Environment,
        name: &str,
    ) -> Result<(Producer<Dedup>, u64), PublishError> {
        // A frame holds one message: the client fills them by number, and the broker's limit is one of bytes.
        let producer = environment
            .producer()
            .client_provided_name("azaion import")
            .batch_size(1)
            .name(name)
            .build(&self.address.stream);
        let producer = self.answer(producer).await?;
        let known = self.answer(self.last_id(name)).await?;
        Ok((producer, known))
    }

    async fn last_id(&self, producer: &str) -> Result<u64, Failure> {
        let tls = self
            .tls()
            .map_err(|error| ClientError::GenericError(Box::new(error)))?;
        let options = ClientOptions::builder()
            .host(&self.address.host)
            .port(self.address.port)
            .user(&self.user)
            .password(self.password.expose())
            .v_host(&self.virtual_host)
            .heartbeat(HEARTBEAT_S)
            .tls(tls)
            .build();
        let client = Client::connect(options).await?;
        let known = client
            .query_publisher_sequence(producer, &self.address.stream)
            .await;
        // The answer is there; how the connection ends says nothing about it.
        let _ = timeout(GOODBYE, client.close()).await;
        Ok(known?)
    }
}

/// What a broker that goes away without a word may be.
const OLD: &str = "a broker before 3.11 does that, which the official client does not work with: import into a file, or update the broker";

/// What the client says, in the few kinds that matter.
enum Failure {
    NoStream,
    Code(ResponseCode),
    Client(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<StreamCreateError> for Failure {
    fn from(error: StreamCreateError) -> Self {
        match error {
            StreamCreateError::Create { status, .. } => Self::Code(status),
            StreamCreateError::Client(error) => Self::Client(error),
        }
    }
}

impl From<ProducerCreateError> for Failure {
    fn from(error: ProducerCreateError) -> Self {
        match error {
            ProducerCreateError::StreamDoesNotExist { .. } => Self::NoStream,
            ProducerCreateError::Create { status, .. } => Self::Code(status),
            ProducerCreateError::Client(error) => Self::Client(error),
            other => Self::Client(ClientError::GenericError(Box::new(other))),
        }
    }
}

fn check_authorities(path: &Path) -> Result<(), PublishError> {
    let unusable = |problem: String| PublishError::Authority {
        path: path.to_owned(),
        problem,
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    Ok(())
}

/// What is between us and the broker.
struct Way {
    room: Arc<Semaphore>,
    confirmed: AtomicUsize,
    /// The first message that the broker did not take.
    refused: Mutex<Option<(Name, String)>>,
}

impl Way {
    fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(UNDER_WAY_KIB as usize)),
            confirmed: AtomicUsize::new(0),
            refused: Mutex::new(None),
        }
    }

    fn lost(&self) -> PublishError {
        let confirmed = self.confirmed.load(Ordering::Relaxed);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        match refused {
            Some((name, code)) => PublishError::NotTaken {
                name,
                code,
                confirmed,
            },
            None => PublishError::Lost { confirmed },
        }
    }

    /// Room for so many kibibytes, once it is there.
    async fn room(&self, kib: u32) -> Result<OwnedSemaphorePermit, PublishError> {
        let room = Arc::clone(&self.room).acquire_many_owned(kib);
        match timeout(ANSWER, room).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.lost()),
        }
    }

    /// Nothing more gets through.
    fn end(&self) {
        self.room.close();
    }
}

/// Hears of the end of the connection.
struct Closed(Arc<Way>);

impl OnClosed for Closed {
    fn on_closed<'s, 'f>(&'s self, _: Vec<Message>) -> Pin<Box<dyn Future<Output = ()> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        self.0.end();
        Box::pin(std::future::ready(()))
    }
}

struct Sender<'d> {
    dir: &'d Path,
    producer: Producer<Dedup>,
    /// The broker has all ids up to this one.
    known: u64,
    way: Arc<Way>,
    published: Published,
}

impl Sender<'_> {
    /// Sends a message as soon as there is room for it.
    async fn send(&mut self, id: u64, name: &Name, pair: &Pair) -> Result<(), PublishError> {
        let changed = |(path, reason)| PublishError::Changed { path, reason };
        if id <= self.known {
            self.published.known += 1;
            self.published.detections += pair.detections().map_err(changed)?;
            return Ok(());
        }
        let (body, detections) = pair.body(self.dir, name).map_err(changed)?;
        let kib = u32::try_from(body.len() >> 10)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let permit = self.way.room(kib.min(UNDER_WAY_KIB)).await?;
        let (way, name) = (Arc::clone(&self.way), name.clone());
        let sent = self.producer.send(message(body, id), move |answer| {
            match answer {
                Ok(status) if status.confirmed() => {
                    way.confirmed.fetch_add(1, Ordering::Relaxed);
                }
                refused => {
                    let code = match refused {
                        Ok(status) => format!("{:?}", status.status()),
                        Err(error) => error.to_string(),
                    };
                    let mut first = way.refused.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert((name, code));
                    way.end();
                }
            }
            drop(permit);
            std::future::ready(())
        });
        match timeout(ANSWER, sent).await {
            Ok(Ok(())) => {
                self.published.detections += detections;
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(self.way.lost()),
        }
    }

    /// Waits until everything that was sent is confirmed, and says goodbye.
    async fn finish(mut self, sent: Result<(), PublishError>) -> Result<Published, PublishError> {
        let all = match sent {
            Ok(()) => self.way.room(UNDER_WAY_KIB).await.map(drop),
            Err(error) => Err(error),
        };
        // Marks it as closed first, so that dropping it waits for nothing.
        let _ = timeout(GOODBYE, self.producer.close()).await;
        all?;
        self.published.messages = self.way.confirmed.load(Ordering::Relaxed);
        Ok(self.published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<(Name, Pair)> {
        let pair = |name: &&str| {
            let pair = Pair {
                image: PathBuf::new(),
                label: PathBuf::new(),
            };
            (Name::new(name).unwrap(), pair)
        };
        names.iter().map(pair).collect()
    }

    #[test]
    fn the_same_list_is_the_same_producer_and_another_is_not() {
        let one = producer_name(&names(&["cell-a", "cell-b"]));
        assert_eq!(one, producer_name(&names(&["cell-a", "cell-b"])));
        for other in [&["cell-a"][..], &["cell-b", "cell-a"], &["cell-acell-b"]] {
            assert_ne!(one, producer_name(&names(other)));
        }
        // The protocol allows 255 bytes.
        assert!(one.starts_with("azaion-import-") && one.len() < 100, "{one}");
    }

    #[test]
    fn a_file_without_certificates_is_refused_and_does_not_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "no PEM", broken] {
            std::fs::write(&path, text).unwrap();
            let error = check_authorities(&path).unwrap_err().to_string();
            assert!(error.contains("ca.pem cannot be used"), "{error}");
        }
        assert!(check_authorities(Path::new("/nowhere/ca.pem")).is_err());
    }
}
