//! A mail server and a web server on loopback, which answer as they are told.

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
                thread::spawn(move || serve(stream, &manner, &taken));
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

/// RFC 5321, as far as a client that sends needs it. What ends early is the client's affair.
fn serve(stream: TcpStream, manner: &Manner, taken: &Shared<Vec<String>>) -> Option<()> {
    let Manner::Answers(verdict) = manner else {
        hang(stream);
        return None;
    };
    let mut out = stream.try_clone().ok()?;
    let mut say = move |line: &str| out.write_all(format!("{line}\r\n").as_bytes()).ok();
    let mut lines = BufReader::new(stream).lines();
    say("220 mail.example.org ESMTP")?;
    loop {
        let line = lines.next()?.ok()?;
        match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "DATA" => {
                say("354 go on")?;
                let mut message = String::new();
                loop {
                    let line = lines.next()?.ok()?;
                    if line == "." {
                        break;
                    }
                    message += line.strip_prefix('.').unwrap_or(&line);
                    message.push('\n');
                }
                if verdict.starts_with('2') {
                    taken.lock().unwrap().push(decoded(&message));
                }
                say(verdict)?;
            }
            "QUIT" => {
                say("221 bye")?;
                return Some(());
            }
            _ => say("250 fine")?,
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
