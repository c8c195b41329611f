//! A broker: its settings, its data in a folder that is removed with it, its life and its ends.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use thiserror::Error;
use xtask::brokers::Version;
use xtask::workspace::{cache_dir, process_env};

use crate::client::{Client, ClientError};
use crate::ports::Ports;
use crate::publisher::Publisher;
use crate::room::Room;
use crate::tls::{self, TlsError};

/// Who may log in.
pub const USER: &str = "azaion_receiver";
/// With what.
pub const PASSWORD: &str = "a password of tests";

/// A busy machine takes half a minute.
const START: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_secs(60);
/// RabbitMQ registers its coordinator of streams with the first stream, in a table that it writes 3 seconds later. One
/// that is killed before never leads a stream again.
const REGISTERED: Duration = Duration::from_secs(5);
/// Lines of the broker's log in an error.
const TAIL: usize = 25;

/// Why there is no broker.
#[derive(Debug, Error)]
pub enum Error {
    /// This machine does not have it.
    #[error("{0} is not here: cargo xtask setup --brokers brings it, on Debian as root")]
    Missing(Version),
    /// It ended or did not answer in time.
    #[error("{version} did not come up: {why}; the end of its log:\n{log}")]
    Start {
        /// Which.
        version: Version,
        /// What was seen.
        why: String,
        /// What it wrote.
        log: String,
    },
    /// rabbitmqctl said no.
    #[error("rabbitmqctl {arguments} failed: {said}")]
    Ctl {
        /// What it was asked for.
        arguments: String,
        /// What it said.
        said: String,
    },
    /// A file, a process or a port.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The protocol.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Error {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// How a broker differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lines more for rabbitmq.conf.
    pub configuration: String,
    /// The port that the broker tells clients to use in its place, for one behind a [`crate::Proxy`].
    pub advertised_port: Option<u16>,
}

/// What a stream keeps; nothing said is all of it.
#[derive(Debug, Clone, Default)]
pub struct StreamOptions {
    /// Old segments are deleted when there are more bytes than this.
    pub max_length_bytes: Option<u64>,
    /// The size of a segment, the unit in which the broker deletes.
    pub segment_bytes: Option<u64>,
    /// Old segments are deleted after this time, for instance `1h`.
    pub max_age: Option<String>,
}

/// A RabbitMQ of our own. Dropping it ends its processes and removes its data.
pub struct Broker {
    // Dropped in this order: first the processes, then their folder and their ports.
    room: Option<Room>,
    data: TempDir,
    ports: Ports,
    version: Version,
    tree: PathBuf,
    /// When its first stream was made.
    settled: Instant,
}

impl Broker {
    /// Starts a broker and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Missing`] where this machine does not have it; otherwise what went wrong, with the end of its log.
    pub fn start(version: Version) -> Result<Self, Error> {
        Self::start_with(version, &Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(version: Version, options: &Options) -> Result<Self, Error> {
        let cache = cache_dir(&process_env).map_err(|_| Error::Missing(version))?;
        if !version.is_here(&cache) {
            return Err(Error::Missing(version));
        }
        let data = tempfile::Builder::new()
            .prefix("azaion-broker-")
            .tempdir()
            .map_err(Error::io("make a folder for a broker"))?;
        let ports = Ports::take().map_err(Error::io("find ports for a broker"))?;
        tls::write_certificates(&data.path().join("tls"))?;
        write_settings(data.path(), &ports, options).map_err(Error::io("write a broker's settings"))?;
        let mut broker = Self {
            room: None,
            data,
            ports,
            version,
            tree: version.tree(&cache),
            settled: Instant::now(),
        };
        broker.run()?;
        let mut client = broker.client()?;
        client.create("first", &[])?;
        client.delete("first")?;
        broker.settled = Instant::now();
        Ok(broker)
    }

    /// A broker for the test `name`; where this machine has none of this version, it says that the test is skipped.
    ///
    /// # Panics
    /// The broker is here and does not start: that fails the test.
    #[must_use]
    #[expect(clippy::panic, reason = "a test fails where its broker does not start")]
    pub fn for_test(name: &str, version: Version) -> Option<Self> {
        match Self::start(version) {
            Ok(broker) => Some(broker),
            Err(missing @ Error::Missing(_)) => {
                eprintln!("skipped: {name}: {missing}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Which RabbitMQ it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The port of the stream protocol, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.stream()
    }

    /// The port of the stream protocol with TLS.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.ports.stream_tls()
    }

    /// The authority that vouches for the broker, as PEM.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.data.path().join("tls").join(tls::AUTHORITY)
    }

    /// Ends it at once: nothing that it has in memory is written. Waits for the end of its first five seconds.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kill(&mut self) -> Result<(), Error> {
        std::thread::sleep(REGISTERED.saturating_sub(self.settled.elapsed()));
        self.ending(Room::kill)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stop(&mut self) -> Result<(), Error> {
        self.ending(Room::stop)
    }

    /// Starts it again on the same data and ports; one that runs is stopped in order before.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        self.run()
    }

    /// Stops its processes where they are: connections stay open, nothing answers.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn thaw(&self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    /// A connection, logged in.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn client(&self) -> Result<Client, ClientError> {
        Client::connect(self.port(), USER, PASSWORD)
    }

    /// A publisher to `stream`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn publisher(&self, stream: &str) -> Result<Publisher, ClientError> {
        Publisher::new(self.client()?, stream)
    }

    /// Creates a stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn create_stream(&self, name: &str, options: &StreamOptions) -> Result<(), ClientError> {
        let length = options.max_length_bytes.map(|bytes| bytes.to_string());
        let segment = options.segment_bytes.map(|bytes| bytes.to_string());
        let arguments: Vec<(&str, &str)> = [
            ("max-length-bytes", length.as_deref()),
            ("stream-max-segment-size-bytes", segment.as_deref()),
            ("max-age", options.max_age.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        self.client()?.create(name, &arguments)
    }

    /// Waits until a stream can be written to and read: a broker that was just started again answers for a while that it
    /// does not exist, or that nobody leads it.
    ///
    /// # Errors
    /// [`ClientError`]: what the broker still says after a minute.
    pub fn await_stream(&self, name: &str) -> Result<(), ClientError> {
        const NO_STREAM: u16 = 2;
        const NOT_AVAILABLE: u16 = 6;
        let end = Instant::now() + SETTLE;
        loop {
            match self.publisher(name) {
                Err(ClientError::Refused {
                    code: NO_STREAM | NOT_AVAILABLE,
                    ..
                }) if Instant::now() < end => std::thread::sleep(POLL),
                other => return other.map(|_| ()),
            }
        }
    }

    /// Deletes a stream.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn delete_stream(&self, name: &str) -> Result<(), ClientError> {
        self.client()?.delete(name)
    }

    /// What rabbitmqctl prints; it takes seconds.
    ///
    /// # Errors
    /// [`Error::Ctl`] where it fails.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String, Error> {
        let room = self.room.as_ref().ok_or_else(|| self.failed("it does not run"))?;
        let Output {
            status,
            stdout,
            stderr,
        } = room
            .run("/usr/lib/rabbitmq/bin/rabbitmqctl", arguments)
            .map_err(Error::io("run rabbitmqctl"))?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        Err(Error::Ctl {
            arguments: arguments.join(" "),
            said: String::from_utf8_lossy(&[stdout, stderr].concat())
                .trim()
                .to_owned(),
        })
    }

    /// The end of what it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        let mut log = String::new();
        for name in ["console", "broker.log"] {
            let text = fs::read(self.data.path().join("log").join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(log, "{name}:\n{}", tail.join("\n"));
        }
        log
    }

    fn run(&mut self) -> Result<(), Error> {
        let room =
            Room::enter(&self.tree, self.data.path()).map_err(Error::io("start unshare (util-linux)"))?;
        self.room = Some(room);
        let end = Instant::now() + START;
        loop {
            let why = match self.client() {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if !self.room.as_mut().is_some_and(Room::is_running) {
                return Err(self.failed("it ended"));
            }
            if Instant::now() > end {
                return Err(self.failed(&why));
            }
            std::thread::sleep(POLL);
        }
    }

    fn failed(&self, why: &str) -> Error {
        Error::Start {
            version: self.version,
            why: why.to_owned(),
            log: self.log(),
        }
    }

    fn ending(&mut self, end: impl FnOnce(&mut Room) -> io::Result<()>) -> Result<(), Error> {
        match self.room.take() {
            Some(mut room) => end(&mut room).map_err(Error::io("end a broker")),
            None => Ok(()),
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        match &self.room {
            Some(room) => room.signal_all(signal).map_err(Error::io("signal a broker")),
            None => Ok(()),
        }
    }
}

/// What the broker reads, as it sees it in /srv. Few schedulers that do not spin: it shares the machine with what it tests.
fn write_settings(data: &Path, ports: &Ports, options: &Options) -> io::Result<()> {
    for folder in ["log", "mnesia"] {
        fs::create_dir_all(data.join(folder))?;
    }
    let (stream, tls) = (ports.stream(), ports.stream_tls());
    let advertised = options.advertised_port.unwrap_or(stream);
    let configuration = format!(
        "listeners.tcp = none\n\
         stream.listeners.tcp.1 = 127.0.0.1:{stream}\n\
         stream.listeners.ssl.1 = 127.0.0.1:{tls}\n\
         stream.advertised_host = 127.0.0.1\n\
         stream.advertised_port = {advertised}\n\
         stream.advertised_tls_port = {tls}\n\
         stream.frame_max = 0\n\
         ssl_options.cacertfile = /srv/tls/{}\n\
         ssl_options.certfile = /srv/tls/{}\n\
         ssl_options.keyfile = /srv/tls/{}\n\
         log.console = false\n\
         log.file = /srv/log/broker.log\n\
         log.file.level = info\n\
         disk_free_limit.absolute = 1MB\n\
         default_user = {USER}\n\
         default_pass = {PASSWORD}\n\
         {}\n",
        tls::AUTHORITY,
        tls::CERTIFICATE,
        tls::KEY,
        options.configuration,
    );
    fs::write(data.join("rabbitmq.conf"), configuration)?;
    fs::write(data.join("enabled_plugins"), "[rabbitmq_stream].\n")?;
    let cookie = data.join(".erlang.cookie");
    fs::write(&cookie, format!("{stream}{}", std::process::id()))?;
    fs::set_permissions(&cookie, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
    let environment = format!(
        "export HOME=/srv TMPDIR=/srv LC_ALL=C.UTF-8 PATH=/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin\n\
         export RABBITMQ_NODENAME=test{stream}@localhost RABBITMQ_BASE=/srv RABBITMQ_MNESIA_BASE=/srv/mnesia\n\
         export RABBITMQ_LOG_BASE=/srv/log RABBITMQ_CONFIG_FILE=/srv/rabbitmq.conf RABBITMQ_CONF_ENV_FILE=/dev/null\n\
         export RABBITMQ_ENABLED_PLUGINS_FILE=/srv/enabled_plugins RABBITMQ_DIST_PORT={}\n\
         export RABBITMQ_CTL_ERL_ARGS= ERL_EPMD_PORT={} ERL_EPMD_ADDRESS=127.0.0.1\n\
         export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=\"-kernel inet_dist_use_interface {{127,0,0,1}} +S 2:2 +SDio 4 \
         +sbwt none +sbwtdcpu none +sbwtdio none\"\n",
        ports.distribution(),
        ports.mapper(),
    );
    fs::write(data.join("env"), environment)
}
