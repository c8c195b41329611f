//! A mail server and a web server on loopback, which answer as they are told.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// How a server behaves.
#[derive(Clone, Debug, PartialEq)]
enum Manner {
    Answers(String),
    Hangs,
}

type Shared<T> = Arc<Mutex<T>>;

/// Takes mail.
pub struct Mail {
    port: u16,
    manner: Shared<Manner>,
    taken: Shared<Vec<String>>,
}

impl Mail {
    pub fn start() -> Self {
        Self::with(None)
    }

    /// One that offers STARTTLS with a certificate for `localhost`; and that certificate, in PEM.
    pub fn with_tls() -> (Self, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        (Self::with(Some(Arc::new(config))), certificate.pem())
    }

    fn with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mail = Self {
            port: listener.local_addr().unwrap().port(),
            manner: Arc::new(Mutex::new(Manner::Answers("250 fine".into()))),
            taken: Shared::default(),
        };
        let (manner, taken) = (Arc::clone(&mail.manner), Arc::clone(&mail.taken));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, taken) = (manner.lock().unwrap().clone(), Arc::clone(&taken));
                let tls = tls.clone();
                thread::spawn(move || serve(stream, &manner, tls, &taken));
            }
        });
        mail
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it says to the whole message.
    pub fn answer(&self, line: &str) {
        *self.manner.lock().unwrap() = Manner::Answers(line.into());
    }

    pub fn hang(&self) {
        *self.manner.lock().unwrap() = Manner::Hangs;
    }

    /// The messages that it took.
    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

/// What a client that was answered says next: its messages, until it wants TLS or leaves.
enum Next {
    Tls,
    End,
}

/// A connection, from its greeting on. What ends early is the client's affair.
fn serve(
    stream: TcpStream,
    manner: &Manner,
    tls: Option<Arc<ServerConfig>>,
    taken: &Shared<Vec<String>>,
) -> Option<()> {
    let Manner::Answers(verdict) = manner else {
        hang(stream);
        return None;
    };
    let mut plain = BufReader::new(stream);
    say(&mut plain, "220 mail.example.org ESMTP")?;
    if let Next::Tls = talk(&mut plain, verdict, tls.is_some(), taken)? {
        let link = ServerConnection::new(tls?).ok()?;
        let mut secret = BufReader::new(StreamOwned::new(link, plain.into_inner()));
        talk(&mut secret, verdict, false, taken)?;
    }
    Some(())
}

fn say(stream: &mut BufReader<impl Read + Write>, line: &str) -> Option<()> {
    let stream = stream.get_mut();
    stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
    stream.flush().ok()
}

fn hear(stream: &mut BufReader<impl Read + Write>) -> Option<String> {
    let mut line = String::new();
    (stream.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
}

/// RFC 5321 and 3207, as far as a client that sends needs them.
fn talk(
    stream: &mut BufReader<impl Read + Write>,
    verdict: &str,
    offers_tls: bool,
    taken: &Shared<Vec<String>>,
) -> Option<Next> {
    loop {
        let line = hear(stream)?;
        match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" if offers_tls => say(stream, "250-mail.example.org\r\n250 STARTTLS")?,
            "STAR" if offers_tls => {
                say(stream, "220 go on")?;
                return Some(Next::Tls);
            }
            "DATA" => {
                say(stream, "354 go on")?;
                let mut message = String::new();
                loop {
                    let line = hear(stream)?;
                    if line == "." {
                        break;
                    }
                    message += line.strip_prefix('.').unwrap_or(&line);
                    message.push('\n');
                }
                if verdict.starts_with('2') {
                    taken.lock().unwrap().push(decoded(&message));
                }
                say(stream, verdict)?;
            }
            "QUIT" => {
                say(stream, "221 bye")?;
                return Some(Next::End);
            }
            _ => say(stream, "250 fine")?,
        }
    }
}

/// Without the soft line ends of quoted-printable.
fn decoded(message: &str) -> String {
    message.replace("=\n", "").replace("=3D", "=")
}

fn hang(mut stream: TcpStream) {
    let mut nothing = Vec::new();
    let _ = stream.read_to_end(&mut nothing);
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: String,
    pub body: String,
}

/// Takes requests.
pub struct Web {
    port: u16,
    manner: Shared<Manner>,
    taken: Shared<Vec<Request>>,
}

impl Web {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self {
            port: listener.local_addr().unwrap().port(),
            manner: Arc::new(Mutex::new(Manner::Answers("200".into()))),
            taken: Shared::default(),
        };
        let (manner, taken) = (Arc::clone(&web.manner), Arc::clone(&web.taken));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (manner, taken) = (manner.lock().unwrap().clone(), Arc::clone(&taken));
                thread::spawn(move || take(stream, &manner, &taken));
            }
        });
        web
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn answer(&self, status: u16) {
        *self.manner.lock().unwrap() = Manner::Answers(status.to_string());
    }

    pub fn hang(&self) {
        *self.manner.lock().unwrap() = Manner::Hangs;
    }

    /// The requests that it got, those that it refused included.
    pub fn taken(&self) -> Vec<Request> {
        self.taken.lock().unwrap().clone()
    }
}

fn take(stream: TcpStream, manner: &Manner, taken: &Shared<Vec<Request>>) -> Option<()> {
    let Manner::Answers(status) = manner else {
        hang(stream);
        return None;
    };
    let mut out = stream.try_clone().ok()?;
    let mut input = BufReader::new(stream);
    let mut first = String::new();
    input.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut headers, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().ok()?;
        }
        headers += &line;
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    taken.lock().unwrap().push(Request { path, headers, body });
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    out.write_all(answer.as_bytes()).ok()
}
